import json
import pickle
import shutil

import numpy
import pytest
import spacy
from spacy.vocab import Vocab

from spacy_bioie.annotation import Mention, set_mentions
from spacy_bioie.kb import Concept, FaissKnowledgeBase, TransformerNameEncoder

from .builders import CONCEPTS, ids, make_kb

TEXTS = ["Depression", "gut flora", "E. coli", "hollows", ""]


@pytest.fixture(scope="module")
def kb(encoder_dir):
    return make_kb(
        mentions=[("Low mood", "DDF", "C1")], name_encoder=TransformerNameEncoder(encoder_dir)
    )


def test_lookups(kb):
    assert len(kb) == 5 and not kb.is_empty()
    assert "C1" in kb and "X4" in kb and "C9" not in kb and 5 not in kb
    assert kb.concept("X4") == CONCEPTS[3]
    assert (kb.training_mentions("C1"), kb.training_mentions("C9")) == (1, 0)
    with pytest.raises(KeyError, match="C9"):
        kb.concept("C9")


@pytest.mark.parametrize("index", ["Flat", "SQ8"])
@pytest.mark.parametrize("mmap", [True, False])
def test_save_and_load(encoder_dir, tmp_path, index, mmap):
    kb = make_kb(name_encoder=TransformerNameEncoder(encoder_dir), index=index)
    kb.to_disk(tmp_path / "kb")
    loaded = FaissKnowledgeBase(Vocab()).from_disk(tmp_path / "kb", mmap=mmap)
    shutil.rmtree(tmp_path / "kb")
    assert loaded.search(TEXTS) == kb.search(TEXTS)
    assert loaded.entity_vector_length == kb.entity_vector_length == 256 + 32
    assert loaded.concept("C4") == CONCEPTS[3]
    loaded.to_disk(tmp_path / "again")  # the files it was loaded from are gone
    again = FaissKnowledgeBase(Vocab()).from_disk(tmp_path / "again", check="full")
    assert again.search(TEXTS) == kb.search(TEXTS)


def test_the_encoder_is_saved_once(kb, tmp_path):
    kb.to_disk(tmp_path / "kb")
    weights = [p for p in (tmp_path / "kb").rglob("*") if p.suffix in {".safetensors", ".bin"}]
    assert [path.parent.name for path in weights] == ["encoder"]
    FaissKnowledgeBase(Vocab()).from_disk(tmp_path / "kb").to_disk(tmp_path / "copy")
    for path in (tmp_path / "kb").rglob("*"):
        if path.is_file():
            assert (
                tmp_path / "copy" / path.relative_to(tmp_path / "kb")
            ).read_bytes() == path.read_bytes()


def test_building_twice_gives_the_same_files(encoder_dir, tmp_path):
    for name, concepts in (("a", CONCEPTS), ("b", CONCEPTS[::-1])):
        make_kb(concepts, name_encoder=TransformerNameEncoder(encoder_dir)).to_disk(tmp_path / name)
    assert (tmp_path / "a" / "meta.json").read_text() == (tmp_path / "b" / "meta.json").read_text()


def test_bytes_and_pickle(kb):
    kb.device = "cpu"
    again = FaissKnowledgeBase(Vocab()).from_bytes(kb.to_bytes())
    unpickled = pickle.loads(pickle.dumps(kb))
    assert unpickled.search(TEXTS) == again.search(TEXTS) == kb.search(TEXTS)
    assert (unpickled.device, again.device) == ("cpu", "auto")
    with pytest.raises(ValueError, match="Expected the bytes of a FaissKnowledgeBase"):
        FaissKnowledgeBase(Vocab()).from_bytes(b"\x80")


def test_every_damaged_file_is_refused_by_name(kb, tmp_path):
    kb.to_disk(tmp_path / "kb")
    files = [p for p in (tmp_path / "kb").rglob("*") if p.is_file()]
    assert {"names.faiss", "meta.json", "model.safetensors"} <= {file.name for file in files}
    for file in files:
        content = file.read_bytes()
        for damaged in (content[: len(content) // 2], content[:-1] + b"\x00\x01", b"", None):
            if damaged == content:
                continue
            if damaged is None:
                file.unlink()
            else:
                file.write_bytes(damaged)
            with pytest.raises((ValueError, FileNotFoundError)) as error:
                FaissKnowledgeBase(Vocab()).from_disk(tmp_path / "kb")
            assert file.name in str(error.value)
        file.write_bytes(content)
    assert FaissKnowledgeBase(Vocab()).from_disk(tmp_path / "kb").search(TEXTS) == kb.search(TEXTS)


def test_changed_settings_are_refused_by_name(tmp_path):
    make_kb().to_disk(tmp_path / "kb")
    file = tmp_path / "kb" / "meta.json"
    good = json.loads(file.read_text())
    without = {key: value for key, value in good.items() if key != "sha256"}
    for key, value in (("lexical_weight", 0.4), ("lexical_dims", 300), ("lexical_dims", "x")):
        settings = {**good["settings"], key: value}
        file.write_text(json.dumps({**good, "settings": settings}))
        with pytest.raises(ValueError, match="meta.json' is damaged: its settings"):
            FaissKnowledgeBase(Vocab()).from_disk(tmp_path / "kb")
        # of an earlier release: what cannot be right is refused all the same
        file.write_text(json.dumps({**without, "settings": settings}))
        if key == "lexical_weight":
            FaissKnowledgeBase(Vocab()).from_disk(tmp_path / "kb")
            continue
        with pytest.raises(ValueError, match="kb(/meta.json)?' is damaged"):
            FaissKnowledgeBase(Vocab()).from_disk(tmp_path / "kb")
    files = {name: said for name, said in good["files"].items() if name != "names.faiss"}
    file.write_text(json.dumps({**without, "files": files}))
    (tmp_path / "kb" / "names.faiss").unlink()
    with pytest.raises(ValueError, match="names.faiss' is missing"):
        FaissKnowledgeBase(Vocab()).from_disk(tmp_path / "kb")


def test_foreign_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent' is no knowledge base"):
        FaissKnowledgeBase(Vocab()).from_disk(tmp_path / "absent")
    (tmp_path / "meta.json").write_text('{"lang": "en", "name": "core_web_sm"}')
    with pytest.raises(ValueError, match="meta.json' is foreign"):
        FaissKnowledgeBase(Vocab()).from_disk(tmp_path)


@pytest.mark.parametrize("with_encoder", [True, False])
def test_no_concepts(tmp_path, with_encoder, encoder_dir):
    encoder = TransformerNameEncoder(encoder_dir) if with_encoder else None
    for concepts in ([], [Concept("C1")]):
        kb = make_kb(concepts, name_encoder=encoder)
        assert kb.is_empty() == (not concepts) and bool(kb)
        assert kb.search(TEXTS) == [[]] * 5
        kb.to_disk(tmp_path / f"kb{len(concepts)}")
        loaded = FaissKnowledgeBase(Vocab()).from_disk(tmp_path / f"kb{len(concepts)}")
        assert loaded.search(TEXTS) == [[]] * 5
        assert not loaded.get_vector("C1").any()
        assert loaded.context_dims == kb.context_dims


def test_one_concept(tmp_path):
    make_kb([Concept("C1", "depression")]).to_disk(tmp_path / "kb")
    loaded = FaissKnowledgeBase(Vocab()).from_disk(tmp_path / "kb")
    found = loaded.search(["Depression", "x"])
    assert found[0] == [("C1", 0.9)] and ids(found[1]) in (["C1"], [])


def test_blank_knowledge_base_has_no_concepts():
    kb = FaissKnowledgeBase(Vocab())
    assert kb.is_empty() and kb.search(["x"]) == [[]]
    assert "faiss" not in kb.__dict__


def test_concept_vectors_are_means_of_name_vectors(kb):
    rows = kb.tables.concept_names[0]
    names = kb.index.vectors(rows)
    expected = names.mean(axis=0)
    numpy.testing.assert_allclose(
        kb.get_vector("C1"), expected / numpy.linalg.norm(expected), atol=1e-5
    )
    semantic = expected[256:]
    numpy.testing.assert_allclose(
        kb.concept_vectors(numpy.asarray([4, 0]))[1],
        semantic / numpy.linalg.norm(semantic),
        atol=1e-5,
    )
    assert not kb.concept_vectors(numpy.asarray([4, 0]))[0].any()  # C5 has no name
    assert kb.concept_vectors(numpy.asarray([], dtype="int64")).shape == (0, kb.context_dims)
    assert not kb.get_vector("C9").any()
    assert len(list(kb.get_vectors(["C1", "C9"]))) == 2


def test_known_names_are_not_encoded_again(encoder_dir):
    kb = make_kb(name_encoder=TransformerNameEncoder(encoder_dir))
    encoded = []
    vectors = kb.vectorizer.vectors
    kb.vectorizer.vectors = lambda names, *args: encoded.extend(names) or vectors(names, *args)
    kb.search(["Depression", "gut-microbiota", "gut flora", "GUT FLORA", ""])
    kb.search(["gut flora"])
    assert encoded == ["gut flora"]


def test_candidates_of_spans(kb):
    nlp = spacy.blank("en")
    doc = nlp.make_doc("Depression and E. coli")
    set_mentions(doc, "sc", [Mention(0, 1, "DDF"), Mention(2, 4, "bacteria")])
    one, two = kb.get_candidates_batch(doc.spans["sc"])
    assert one[0].entity_ == "C1" and one[0].alias_ == "Depression"
    assert two[0].entity_ == "C4" and two[0].prior_prob == pytest.approx(0.9, abs=0.02)
    assert len(two[0].entity_vector) == kb.entity_vector_length
    assert [c.entity_ for c in kb.get_candidates(doc.spans["sc"][1])] == [c.entity_ for c in two]


def test_works_in_the_stock_entity_linker():
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    linker = nlp.add_pipe("entity_linker", config={"incl_context": False})
    linker.set_kb(lambda vocab: make_kb(vocab=vocab))
    doc = nlp.make_doc("E. coli lives there.")
    doc.ents = [doc.char_span(0, 7, label="bacteria")]
    assert [ent.kb_id_ for ent in nlp(doc).ents] == ["C4"]


def test_wrong_device(kb):
    with pytest.raises(ValueError, match="device is 'tpu'"):
        kb.device = "tpu"


def test_index_of_another_size_is_refused(kb):
    with pytest.raises(ValueError, match="expected one for each of the 0 names"):
        FaissKnowledgeBase(Vocab(), None, kb.vectorizer, kb.index)
