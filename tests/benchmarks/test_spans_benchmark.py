import gzip
import json
from pathlib import Path

import numpy
import pytest
import spacy

from spacy_bioie.annotation import META_KEY, Mention, get_tier, set_mentions, set_tier

from ..tiny_encoder import make_tiny_bert

TITLE = "Gut bacteria of mice"
ABSTRACT = "Depression of rats and serotonin of the gut change bacteria. Anxiety of mice did not."
ENTITIES = [("Gut", 0, "bacteria"), ("bacteria", 4, "bacteria"), ("mice", 16, "animal")]
LATER = [("Depression", 0, "DDF"), ("rats", 14, "animal"), ("serotonin", 23, "chemical")]
HELD_OUT = ["1", "4"]
IOB = [("BRCA1", "B-Disease"), ("mutations", "I-Disease"), ("in", "O"), ("mice", "O"), (".", "O")]


def article(with_abstract=True):
    found = [("title", *entity) for entity in ENTITIES]
    found += [("abstract", *entity) for entity in LATER] if with_abstract else []
    entities = [
        {
            "start_idx": start,
            "end_idx": start + len(text) - 1,
            "location": location,
            "text_span": text,
            "label": label,
        }
        for location, text, start, label in found
    ]
    metadata = {"title": TITLE, "abstract": ABSTRACT, "author": "", "journal": "", "year": ""}
    metadata["annotator"] = ""
    return {"metadata": metadata, "entities": entities, "relations": []}


def write_vocabularies(folder):
    """One concept in each vocabulary."""
    import spans_data

    for path, names in spans_data.VOCABULARIES.items():
        (folder / path).parent.mkdir(exist_ok=True)
        with gzip.open(folder / path, "wt", encoding="utf8") as file:
            for name in names:
                concept = {"id": f"{name}:1", "name": f"serotonin {name}", "source": name}
                print(json.dumps(concept), file=file)


def write_iob(folder, n_sentences, before=""):
    """Files of sentences of five tokens; each second one has a mention."""
    for name in ("train", "devel"):
        sentences = (
            "\n".join(f"{token}\t{label if i % 2 else 'O'}" for token, label in IOB)
            for i in range(n_sentences)
        )
        path = folder / "iob" / "NCBI-disease-IOB" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(before + "\n\n".join(sentences) + "\n\n", encoding="utf8")


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A small GutBrainIE, results in a folder of their own, and runs in this process."""
    import readme
    import results
    import spans
    import spans_data
    import spans_run

    for number, path in enumerate(spans_data.source_files(tmp_path, "gutbrainie")):
        path.parent.mkdir(parents=True)
        ids = range(3 * number, 3 * number + 3)
        path.write_text(json.dumps({str(i): article(i % 2 == 0) for i in ids}), encoding="utf8")
    write_vocabularies(tmp_path)
    held_out = tmp_path / "held_out.txt"
    held_out.write_text("\n".join(HELD_OUT), encoding="utf8")
    monkeypatch.setattr(spans_data, "HELD_OUT", held_out)
    for module in (results, readme):
        monkeypatch.setattr(module, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(readme, "PATH", tmp_path / "README.md")
    calls = []

    def measured(cost, *arguments):
        calls.append((arguments[0], cost.parent.name))
        spans_run.main(arguments)
        cost.write_text(json.dumps({"seconds": 1.0, "peak_memory_mb": 2000}), encoding="utf8")

    monkeypatch.setattr(spans, "measured", measured)
    make_tiny_bert(tmp_path / "bert")
    return tmp_path, calls


def options(folder, systems, *more):
    systems = ["--systems", ",".join(systems), "--seeds", "1,2", "--steps", "8"]
    paths = ["--data", str(folder), "--work", str(folder / "work")]
    return [*paths, *systems, "--encoder", str(folder / "bert"), *more]


def result_of(folder, name):
    return json.loads((folder / "results" / f"{name}.json").read_text("utf8"))


def test_queue_results_and_report(data, capsys):
    import readme
    import spans

    folder, calls = data
    systems = ["stock_ner", "tagger_3", "tagger", "tagger_adaptive"]
    assert spans.main(options(folder, systems)) == 0
    result = result_of(folder, "spans_gutbrainie_8steps_tagger_seed2")
    assert result["config"]["documents"] == {"train": 7, "best": 4, "held_out": 2, "test": 3}
    assert set(result["details"]["counts"]) == {"9", "10", "11"}
    assert result["metrics"]["steps_per_second"] > 0
    assert {"strict_f animal", "official-2025_macro_f"} <= set(result["metrics"])
    numbers = [
        [int(n) for n in text.split("/")]
        for row in result["details"]["counts"].values()
        for text in row.values()
    ]
    hits, _, missed = numpy.sum(numbers, axis=0)
    assert hits + missed == 3 + 6 + 3 and result["metrics"]["strict_micro_r"] == round(hits / 12, 4)
    alpha = result_of(folder, "spans_gutbrainie_8steps_tagger_adaptive_seed1")["details"]["alpha"]
    assert [step for step, _ in alpha] == list(range(8)) and alpha[0] != alpha[-1]
    ensemble = result_of(folder, "spans_gutbrainie_8steps_tagger_3_seed1_2")
    assert ensemble["config"]["members"] == [["tagger", 1], ["tagger", 2]]
    trained = [name for command, name in calls if command == "train"]
    assert len(trained) == 6 and len(calls) == 6 + 7

    calls.clear()
    assert spans.main(options(folder, systems)) == 0 and not calls
    (folder / "results" / "spans_gutbrainie_8steps_tagger_seed1.json").unlink()
    assert spans.main(options(folder, systems)) == 0
    assert calls == [("evaluate", "tagger_seed1")]  # the model is there

    readme.main()
    text = (folder / "README.md").read_text("utf8")
    assert "| spaCy `ner` (`stock_ner`) | 1, 2 |" in text
    assert "The best single of ours by held-out documents is `tagger" in text
    assert "| `tagger_adaptive`, seed 1 |" in text
    assert "`gutbrainie`, dev: 7 training documents, 8 updates" in text


def test_what_fails_is_told_and_the_rest_goes_on(data, capsys):
    import spans

    folder, _ = data
    assert spans.main(options(folder, ["gutuzh_3", "gut_instincts"], "--documents", "3")) == 1
    said = capsys.readouterr().out
    assert "left out: its members are not trained: spans_gutbrainie_3docs_8steps_gutuzh" in said
    result = result_of(folder, "spans_gutbrainie_3docs_8steps_gut_instincts_seed1")
    assert result["config"]["documents"]["train"] == 3
    assert (
        "7.5e-05 x 1, 0.00015 x 1" in result["config"]["differs"]["training.optimizer.learn_rate"]
    )
    with pytest.raises(SystemExit):
        spans.parse(options(folder, ["unheard_of"]))


def test_vocabularies_are_read_by_the_system_that_names_them(data):
    import spans
    from spans_data import VOCABULARIES
    from spans_systems import SYSTEMS, make_config

    folder, calls = data
    arguments = [*options(folder, ["tagger_names"]), "--seeds", "1"]
    assert spans.main(arguments) == 0
    sources = result_of(folder, "spans_gutbrainie_8steps_tagger_names_seed1")["data"]
    for path, names in VOCABULARIES.items():
        assert sources[path.split("/")[1]]["documents"] == len(names)
    models = folder / "work" / "models" / "gutbrainie_8steps"
    nlp = spacy.load(models / "tagger_names_seed1" / "model-best")
    (layer,) = (x for x in nlp.get_pipe("nested_spancat").model.walk() if "table" in x.attrs)
    table = layer.attrs["table"]
    assert sorted(table.kinds) == sorted(n for names in VOCABULARIES.values() for n in names)
    found = table.find(nlp.make_doc("The serotonin Pfam of mice")).any(axis=1)
    assert found.tolist() == [False, True, True, False, False]

    # neither trained nor split again; other systems do not know of the folder
    calls.clear()
    split = (folder / "work" / "names" / "GO.jsonl").stat().st_mtime_ns
    assert spans.main([*arguments, "--again"]) == 0
    assert calls == [("evaluate", "tagger_names_seed1")]
    assert (folder / "work" / "names" / "GO.jsonl").stat().st_mtime_ns == split
    config = make_config(SYSTEMS["tagger"], 8, 1, Path("a"), Path("b"), "c")
    assert config["paths"] == {"train": "a", "dev": "b"}


def test_encoder_learns_mentions_of_other_corpora(data, monkeypatch):
    import mention_encoder
    import spans

    folder, calls = data
    write_iob(folder, 60)
    path = "iob/NCBI-disease-IOB/train.tsv"
    monkeypatch.setattr(mention_encoder, "CORPORA", {"ncbi_disease": ("conll", path)})
    settings = {"epochs": 0, "max-steps": 2, "window": 32, "held-out": 0.1}
    monkeypatch.setattr(mention_encoder, "SETTINGS", settings)
    arguments = [*options(folder, ["tagger_mentions"]), "--seeds", "1"]
    assert spans.main(arguments) == 0
    result = result_of(folder, "spans_gutbrainie_8steps_tagger_mentions_seed1")
    assert result["data"][path]["documents"] == 60
    before = result["config"]["encoder_before"]
    assert before["steps"] == 2 and before["settings"] == settings and before["seconds"] > 0
    model = folder / "work" / "models" / "gutbrainie_8steps" / "tagger_mentions_seed1"
    config = spacy.util.load_config(model / "config.cfg")
    (encoder,) = (folder / "work" / "mentions").glob("*/encoder")
    assert config["vars"]["encoder"] == str(encoder)
    # of other corpora it may have seen what is scored
    with pytest.raises(SystemExit):
        spans.parse([*arguments, "--corpus", "ncbi_disease"])

    # neither trained again, nor where its settings are the same
    calls.clear()
    written = (encoder / "config.json").stat().st_mtime_ns
    assert spans.main([*arguments, "--again"]) == 0
    assert calls == [("evaluate", "tagger_mentions_seed1")]
    assert (encoder / "config.json").stat().st_mtime_ns == written
    (folder / path).unlink()
    with pytest.raises(FileNotFoundError, match="train.tsv' is absent: expected a corpus"):
        mention_encoder.prepare_encoder(folder, folder / "work", "other")


def test_vocabularies_are_split_by_source(tmp_path):
    from spans_data import VOCABULARIES, prepare_names

    write_vocabularies(tmp_path)
    folder, sources = prepare_names(tmp_path, tmp_path / "work")
    names = sorted(name for names in VOCABULARIES.values() for name in names)
    assert sorted(path.stem for path in folder.glob("*.jsonl")) == names
    assert json.loads((folder / "GO-CC.jsonl").read_text("utf8"))["name"] == "serotonin GO-CC"

    union = next(iter(VOCABULARIES))
    with gzip.open(tmp_path / union, "wt", encoding="utf8") as file:
        file.write(json.dumps({"id": "1", "name": "gut", "source": "CL"}) + "\n")
    with pytest.raises(ValueError, match=r"its concepts are of \['CL'\]. Expected all of"):
        prepare_names(tmp_path, tmp_path / "work")
    assert not (folder / "done.json").exists()
    assert "serotonin CL" in (folder / "CL.jsonl").read_text("utf8")  # nothing half written
    assert not list(folder.glob(".*"))


def test_corpus_of_iob_files(data):
    import readme
    import spans

    folder, _ = data
    write_iob(folder, 40)
    arguments = ["--corpus", "ncbi_disease", "--seeds", "1"]
    systems = ["tagger_adaptive_sequence", "stock_ner"]
    assert spans.main([*options(folder, systems), *arguments]) == 0
    result = result_of(folder, "spans_ncbi_disease_8steps_tagger_adaptive_sequence_seed1")
    assert result["config"]["documents"] == {"train": 3, "best": 3, "held_out": 1, "test": 4}
    rows = [row["Disease"].split("/") for row in result["details"]["counts"].values()]
    hits, _, missed = numpy.asarray(rows, dtype=int).sum(axis=0)
    assert hits + missed == 20
    metrics = result["metrics"]
    assert 0 <= metrics["token_macro_f"] <= 1 and metrics["token_accuracy"] * 200 == pytest.approx(
        round(metrics["token_accuracy"] * 200), abs=0.02
    )  # of the tokens of the file
    readme.main()
    text = (folder / "README.md").read_text("utf8")
    assert "| token accuracy | token macro-F1 | token micro-F1 without O |" in text
    assert "official 2025" not in text and "ten sentences in succession" in text
    assert "would end at about 0.510; one that each lowered, at 0.490." in text
    (row,) = [line for line in text.split("\n") if "adaptive_sequence`, seed 1" in line]
    assert row.endswith(" of 7 |")


def test_corpus_that_is_not_there(data):
    import spans

    folder, _ = data
    with pytest.raises(SystemExit, match="JNLPBA-IOB' has no train.tsv. Expected the corpus 'jnlp"):
        spans.main([*options(folder, ["tagger"]), "--corpus", "jnlpba"])
    assert spans.parse([*options(folder, [])[:4], "--corpus", "jnlpba"]).systems == [
        *("tagger", "tagger_adaptive_sequence", "tagger_adaptive", "tagger_mix_fixed"),
        *("tagger_mix_bounded", "tagger_mix_uncertainty", "tagger_mix_gradnorm", "stock_ner"),
    ]


def test_sentences_are_joined_where_the_file_has_no_documents(tmp_path):
    from spans_data import read

    write_iob(tmp_path, 12)
    train, test = read(tmp_path, "ncbi_disease")
    assert [len(list(doc.sents)) for doc in train] == [10, 2]
    assert [len(doc) for doc in test] == [50, 10]
    assert [span.text for span in train[1].spans["sc"]] == ["BRCA1 mutations"]
    assert [(ent.start, ent.end) for ent in train[1].ents] == [(5, 7)]
    assert train[1].text == "BRCA1 mutations in mice . " + "BRCA1 mutations in mice ."
    ids = [doc.user_data[META_KEY]["id"] for doc in (*train, *test)]
    assert len(set(ids)) == 4

    write_iob(tmp_path, 12, before="-DOCSTART- (7)\tO\n\n")
    train, _ = read(tmp_path, "ncbi_disease")
    assert [(doc.user_data[META_KEY]["id"], len(doc)) for doc in train] == [("7", 60)]


@pytest.mark.parametrize(
    "corpus,n_train,n_test,mentions",
    [("ncbi_disease", 543, 93, 787), ("bionlp13ge", 245, 274, 4132)],
)
def test_corpora_of_iob_files(data_dir, corpus, n_train, n_test, mentions):
    from spans_data import Part, read, split

    train, test = read(data_dir, corpus)
    assert (len(train), len(test)) == (n_train, n_test)
    assert sum(len(doc.spans["sc"]) for doc in test) == mentions
    assert sum(len(doc.ents) for doc in test) == mentions
    parts = split(train, test, Part(corpus))
    assert len(parts["held_out"]) == n_train // 10
    assert len(parts["train"]) == n_train - n_train // 10


@pytest.mark.slow
def test_speed_by_turns(data, monkeypatch):
    import readme
    import spans
    import spans_speed

    folder, calls = data
    monkeypatch.setattr(spans_speed, "TURNS", 2)
    monkeypatch.setattr(spans_speed, "UPDATES", 3)
    with pytest.raises(SystemExit, match="Train these"):
        spans_speed.main(options(folder, spans_speed.NAMES))
    assert spans.main([*options(folder, spans_speed.NAMES), "--seeds", "1"]) == 0
    calls.clear()
    spans_speed.main(options(folder, spans_speed.NAMES))
    assert [name for command, name in calls if command == "train"] == 2 * spans_speed.NAMES
    metrics = result_of(folder, "spans_speed_gutbrainie_8steps")["metrics"]
    ratio = metrics["stock_ner documents_per_second"] / metrics["tagger documents_per_second"]
    assert metrics["tagger/stock_ner inference_time"] == pytest.approx(ratio, rel=1e-3)
    readme.main()
    assert "| `pointer_8` / `stock_spancat` |" in (folder / "README.md").read_text("utf8")


@pytest.mark.slow
def test_every_system_trains(data):
    import spans
    from spans_systems import SYSTEMS

    folder, _ = data
    # an encoder that learns from other corpora has a test of its own
    names = [name for name, system in SYSTEMS.items() if not system.mentions]
    assert spans.main([*options(folder, names), "--seeds", "1", "--steps", "3"]) == 0
    for name in names:
        result = result_of(folder, f"spans_gutbrainie_3steps_{name}_seed1")
        assert result["metrics"]["strict_micro_f"] >= 0 and result["config"]["name"] == name


def make_docs(tiers):
    nlp = spacy.blank("en")
    docs = []
    for i, tier in enumerate(tiers):
        doc = nlp.make_doc("gut bacteria  of mice")
        doc.user_data[META_KEY] = {"id": str(i)}
        set_tier(doc, tier)
        docs.append(doc)
    return docs


def test_cut_takes_the_best_tiers_first_and_each_by_its_share():
    from spans_data import cut_documents

    docs = make_docs(["platinum"] * 4 + ["gold"] * 8 + ["silver"] * 10)
    tiers = [get_tier(doc) for doc in cut_documents(docs, 6)]
    assert (tiers.count("platinum"), tiers.count("gold")) == (2, 4)
    tiers = [get_tier(doc) for doc in cut_documents(docs, 15)]
    assert len(tiers) == 15 and tiers.count("silver") == 3
    assert cut_documents(docs, None) == docs


def test_folds_share_no_documents(data):
    from spans_data import Part, read, split

    folder, _ = data
    train, test = read(folder, "gutbrainie")
    scored = []
    for fold in (1, 2):
        parts = split(train, test, Part(fold=fold, folds=2))
        ids = {
            name: {str(doc.user_data[META_KEY]["id"]) for doc in docs}
            for name, docs in parts.items()
        }
        assert not ids["test"] & (ids["train"] | ids["held_out"])
        assert ids["held_out"] == set(HELD_OUT) and ids["best"] < ids["train"]
        scored += ids["test"]
    assert sorted(scored) == ["0", "2", "3", "5"]


def test_entities_of_ner_do_not_overlap():
    from spans_data import flat_entities

    (doc,) = make_docs(["gold"])
    set_mentions(doc, "sc", [Mention(0, 3, "bacteria"), Mention(0, 1, "organ"), Mention(4, 5, "x")])
    found = [(span.start, span.end, span.label_) for span in flat_entities(doc)]
    assert found == [(0, 2, "bacteria"), (4, 5, "x")]  # the third token is white space


def test_rates_of_gut_instincts():
    from spans_systems import RATE, gut_instincts

    rates = numpy.asarray(gut_instincts(60)[RATE]) / 0.0003
    numpy.testing.assert_allclose(rates[[0, 6, 12, 18, 23]], [0.25, 0.5, 0.75, 1, 1])
    numpy.testing.assert_allclose(rates[[24, 28, 59]], [0.8, 0.64, 0.8**9])


def test_repository_has_the_held_out_documents():
    from spans_data import HELD_OUT as path

    assert len(Path(path).read_text("utf8").split()) == 56
