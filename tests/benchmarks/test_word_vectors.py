import numpy
import pytest
import spacy

from .spans_corpora import options, result_of


def test_vectors_are_learned_once(spans_folder):
    import spans
    import word_vectors

    pytest.importorskip("floret", reason="needs the package floret")
    folder, calls = spans_folder
    systems = ["tagger_vectors", "tagger_forms_vectors", "tagger"]
    arguments = [*options(folder, systems), "--seeds", "1"]
    assert spans.main(arguments) == 0
    result = result_of(folder, "spans_gutbrainie_8steps_tagger_vectors_seed1")
    plain = result_of(folder, "spans_gutbrainie_8steps_tagger_seed1")
    before = result["config"]["vectors_before"]
    # two abstracts, three silver documents and one of bronze
    lengths = [len(text.split()) for text in word_vectors.read_texts(folder)]
    assert len(lengths) == 6 and before["words"] > sum(lengths)
    assert before["settings"]["dim"] == 8 and before["seconds"] > 0
    assert set(result["data"]) - set(plain["data"]) == {
        *("biomedical_abstracts.jsonl.gz", "gut_brain_abstracts.jsonl.gz", "train_bronze.json"),
    }
    assert "vectors_before" not in plain["config"]
    models = folder / "work" / "models" / "gutbrainie_8steps"
    for name in systems[:2]:
        vectors = spacy.load(models / f"{name}_seed1" / "model-best").vocab.vectors
        assert vectors.shape[1] == 8 and vectors.mode == "floret"
        strings = vectors.strings
        known, other = vectors.get_batch([strings.add("gut"), strings.add("unheard")])
        assert numpy.any(known) and numpy.any(other)

    # the texts may be those of documents that are scored
    with pytest.raises(SystemExit):
        spans.parse([*options(folder, ["tagger_forms_vectors_consistent"]), "--corpus", "anatem"])

    # neither learned nor trained again; of other texts, they are
    calls.clear()
    assert spans.main([*arguments, "--again"]) == 0
    assert [command for command, _ in calls] == ["evaluate"] * 3
    first, _ = word_vectors.prepare_vectors(folder, folder / "work")
    (folder / word_vectors.ABSTRACTS[0]).write_bytes(
        (folder / word_vectors.ABSTRACTS[1]).read_bytes()
    )
    second, made = word_vectors.prepare_vectors(folder, folder / "work")
    assert second != first and made["words"] != before["words"]
    (folder / word_vectors.ABSTRACTS[0]).unlink()
    with pytest.raises(FileNotFoundError, match="biomedical_abstracts.jsonl.gz' is absent"):
        word_vectors.prepare_vectors(folder, folder / "work")
