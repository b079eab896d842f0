import json

import numpy
import pytest

from spacy_bioie.annotation import Mention
from spacy_bioie.kb.training_names import TrainingNames
from spacy_bioie.pipeline import linker_reranking
from tests.kb.builders import ids, make_kb
from tests.tiny_encoder import make_tiny_bert

NAMES = ["depression", "serotonin", "stress", "mice"]
# as many names of each as the 3-grams of the TF-IDF have to occur in
CONCEPTS = [
    {"concept_id": f"C:{name}", "names": [name, *(f"{name} {letter}" for letter in "abcdefghi")]}
    for name in NAMES
]
ALWAYS = ("exact", "tfidf", "minilm", "search", "reranker")


def article(number):
    """Each name twice, with its concept."""
    title = " and ".join(NAMES)
    entities = []
    for location, text in (("title", title), ("abstract", f"In {title}.")):
        for name in NAMES:
            start = text.index(name)
            entities.append(
                {
                    "start_idx": start,
                    "end_idx": start + len(name) - 1,
                    "location": location,
                    "text_span": name,
                    "label": "DDF",
                    "uri": f"C:{name}",
                }
            )
    metadata = {"title": title, "abstract": f"In {title}.", "annotator": "expert_1"}
    metadata.update(author="A", journal="J", year="2026")
    return {str(number): {"metadata": metadata, "entities": entities, "relations": []}}


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of data, results in a folder of their own, and small encoders."""
    import linking_gutbrainie
    import linking_gutbrainie_systems as systems
    import linking_peers
    import readme
    import results
    from gutbrainie_data import DEV, ENTITIES, TRAIN

    files = {
        TRAIN.format("platinum"): {**article(1), **article(2)},
        TRAIN.format("gold"): {**article(3), **article(4)},
        DEV: article(5),
        ENTITIES: article(5),
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf8")
    (tmp_path / "kb").mkdir()
    lines = "".join(json.dumps(concept) + "\n" for concept in CONCEPTS)
    (tmp_path / linking_gutbrainie.CONCEPTS).write_text(lines, encoding="utf8")
    for module in (results, linking_gutbrainie, readme):
        monkeypatch.setattr(module, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(readme, "PATH", tmp_path / "README.md")
    encoder = make_tiny_bert(tmp_path / "bert")
    for module in (systems, linking_peers):
        monkeypatch.setattr(module, "ENCODER", encoder)
    monkeypatch.setitem(systems.CROSS_ENCODER, "name", encoder)
    monkeypatch.setattr(systems, "CROSS_ENCODER_DOCUMENTS", 2)
    monkeypatch.setattr(systems, "ADAPT", {"steps": 2, "batch_size": 4, "learn_rate": 1e-4})
    monkeypatch.setattr(linker_reranking, "MIN_MENTIONS", 4)
    return tmp_path


def run(folder, monkeypatch, *arguments):
    import linking_gutbrainie

    command = ["x", "--data", str(folder), "--cache", str(folder / "cache"), *arguments]
    monkeypatch.setattr("sys.argv", command)
    linking_gutbrainie.main()
    paths = (folder / "results").glob("*.json")
    found = {path.stem: json.loads(path.read_text("utf8")) for path in paths}
    return {name.removeprefix("linking_gutbrainie_"): result for name, result in found.items()}


def test_systems_that_need_no_adapted_encoder(data, monkeypatch):
    found = run(data, monkeypatch)
    assert sorted(found) == sorted(ALWAYS) and not list((data / "cache").glob("adapted*"))
    for result in found.values():
        metrics = result["metrics"]
        assert metrics["mentions"] == metrics["mentions_repeated"] == 8
        assert metrics["mentions_unseen_names"] == 0 and metrics["gold_unseen_names_acc1"] is None
        if result["seeds"] != [0]:
            assert metrics["gold_acc1"] == metrics["gold_repeated_acc1"] == 1.0
    for system in ("pipeline", "projection"):
        with pytest.raises(SystemExit):
            run(data, monkeypatch, "--systems", system)


def test_coherence_shares_what_is_fitted(data, monkeypatch):
    import linking_gutbrainie_systems as systems
    import readme

    fitted = []
    component = systems.component

    def counted(*args, **config):
        fitted.append(config)
        return component(*args, **config)

    monkeypatch.setattr(systems, "component", counted)
    found = run(data, monkeypatch, "--systems", *systems.ADAPTED)
    assert sorted(found) == sorted(systems.ADAPTED)
    assert fitted == [{}, {"reranker": systems.CROSS_ENCODER}]
    # names alone are read, so that nothing tells the mentions of one name apart
    assert found["adapted"]["metrics"] == found["adapted_coherence"]["metrics"]
    cut = found["cross_encoder"]["config"]
    assert cut["cut"].startswith("cross-encoder fitted to 2 of 4 training documents (16 mentions)")
    assert cut["reranker"]["n_rerank"] == 3 and cut["adapt"]["steps"] == 2
    assert "cut" not in found["adapted"]["config"]
    readme.main()
    text = (data / "README.md").read_text(encoding="utf8")
    assert text.count("\nCut: cross-encoder fitted to 2 of 4") == 1
    assert text.count("over the 8 gold mentions that share text and label") == 3
    assert "Coherence whatever the contexts say in `spacy_bioie, faiss_entity_linker with a" in text
    # nothing is done again
    run(data, monkeypatch, "--systems", *systems.ADAPTED)
    assert len(fitted) == 2


def test_mentions_of_a_shared_encoder_search_names(data, monkeypatch):
    import linking_gutbrainie_systems as systems

    nlp = systems.rules_pipeline()
    model = {"@architectures": "spacy_bioie.TransformerModel.v1", "name": str(data / "bert")}
    nlp.add_pipe("transformer", config={"model": model}).initialize(lambda: [], nlp=nlp)
    nlp.to_disk(data / "pipeline")
    monkeypatch.setattr(systems, "PROJECTION", {**systems.PROJECTION, "epochs": 30})
    distances, update = [], systems.FaissEntityLinker.update

    def noted(linker, examples, **options):
        losses = {}
        update(linker, examples, losses=losses, **options)
        distances.append(losses["faiss_entity_linker"])

    monkeypatch.setattr(systems.FaissEntityLinker, "update", noted)
    options = ("--pipeline", str(data / "pipeline"), "--systems", "projection")
    found = run(data, monkeypatch, *options)["projection"]
    assert found["config"]["projection"]["epochs"] == 30 and found["seeds"] == [0]
    assert found["metrics"]["gold_acc1"] == 1.0
    assert len(distances) == 30 and distances[-1] < distances[0] / 2


def test_adapted_encoder_is_kept_by_what_it_learned(data, monkeypatch):
    import linking_gutbrainie_systems as systems

    def folder(*mentions):
        names = TrainingNames()
        for text, concept in mentions:
            names.add(text, "DDF", concept)
        return systems.adapted_folder(data / "cache", concepts, names)

    concepts = data / "kb" / "gutbrainie_concepts.jsonl"
    one, other = ("low mood", "C:depression"), ("mouse", "C:mice")
    found = [folder(one, other)]
    assert folder(other, one) == found[0] and found[0].parent == data / "cache"
    found.append(folder(one))
    monkeypatch.setitem(systems.ADAPT, "steps", 3)
    found.append(folder(one))
    monkeypatch.setattr(systems, "ENCODER", "another")
    found.append(folder(one))
    concepts.write_text(json.dumps(CONCEPTS[0]) + "\n", encoding="utf8")
    found.append(folder(one))
    assert len(set(found)) == 5


class Readings:
    """A reranker to which the first of two mentions is C1, and the second rather C3."""

    is_fitted = True

    def __init__(self, kb, second):
        first, other = (kb.tables.concept_row(name) for name in ("C1", "C3"))
        self.known = {(0, first): 1.0, (0, other): 0.0, (1, first): 0.0, (1, other): second}

    def scores(self, rows):
        pairs = zip(rows.groups.tolist(), rows.concepts.tolist(), strict=True)
        return numpy.asarray([self.known.get(pair, -20.0) for pair in pairs])


@pytest.mark.parametrize(
    "second, margin, shared", [(0.01, None, True), (0.9, None, False), (0.9, 1.0, True)]
)
def test_coherence_is_of_one_call(second, margin, shared):
    from linking_gutbrainie_systems import coherent, component, rules_pipeline

    kb = make_kb()
    doc = rules_pipeline()("Depression and depression.")
    mentions = [[Mention(0, 1, "x"), Mention(2, 3, "x")]]
    linker = component(kb, [doc], reranker=None)
    linker.reranker = Readings(kb, second)

    def best(link):
        return [ids(found)[0] for found in link([doc], mentions)[0]]

    assert best(linker.link) == ["C1", "C3"]
    assert best(coherent(linker, margin)) == (["C1", "C1"] if shared else ["C1", "C3"])
    assert best(linker.link) == ["C1", "C3"] and linker.cfg["coherence"] is False
