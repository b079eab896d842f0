import json

import numpy
import pytest
import spacy

from spacy_bioie.annotation import Mention, set_mentions
from spacy_bioie.models.window_cutter import WindowCutter

from ..span_pipeline import make_examples, make_transformer_nlp
from ..tiny_encoder import make_tiny_bert

SENTENCE = "Gut bacteria of mice change anxiety."


@pytest.fixture
def nlp(tmp_path):
    nlp = make_transformer_nlp(make_tiny_bert(tmp_path / "bert", max_positions=64))
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    return nlp


def test_windows_that_overlap_by_three_quarters(nlp):
    from long_documents import set_windows

    doc = nlp.make_doc(" ".join(SENTENCE for _ in range(8)))
    half = set_windows(nlp, 32)
    assert type(half) is WindowCutter
    few = half.cut([doc]).spans[0]
    many = set_windows(nlp, 32, 0.75).cut([doc]).spans[0]
    assert len(few) < len(many) <= 2 * len(few) + 1
    assert many[0].start == 0 and many[-1].end == len(doc)
    gaps = [numpy.diff([span.start for span in spans]).mean() for spans in (few, many)]
    assert gaps[1] < 0.6 * gaps[0]
    assert nlp.get_pipe("transformer").model.cutter.share == 0.25
    short = set_windows(nlp, 32, 0.75).cut([nlp.make_doc("Gut bacteria.")]).spans[0]
    assert len(short) == 1


def test_distance_to_the_edge_of_the_window(nlp):
    from long_documents import edge_distances, set_windows

    cutter = set_windows(nlp, 32)
    short = nlp.make_doc("Gut bacteria\nGut bacteria of mice.")
    assert numpy.isinf(edge_distances(short, cutter)).all()
    doc = nlp.make_doc("Title\n" + " ".join(SENTENCE for _ in range(8)))
    distances = edge_distances(doc, cutter)
    assert numpy.isinf(distances[:2]).all()  # the title has a window of its own
    # half overlap: a token lies a quarter of a window inside, but for the width of words
    assert 5 <= distances[2:].min() <= 8
    # the borders of the section count as none
    assert distances[2] > 16 and distances[-1] > 16


def test_documents_in_a_row(nlp):
    from long_documents import row_of

    docs = [nlp.make_doc("Gut\nbacteria"), nlp.make_doc("mice\nof rats")]
    set_mentions(docs[1], "sc", [Mention(0, 1, "animal"), Mention(3, 4, "animal")])
    tokenizer = nlp.get_pipe("transformer").model.tokenizer
    text, gold = row_of(docs, tokenizer, 4)
    assert text == "Gut bacteria mice of rats "
    assert sorted(text[start:end] for start, end, _ in gold) == ["mice", "rats"]
    assert len(row_of(docs, tokenizer, 20).text) > 2 * len(text)


def test_result(nlp, tmp_path, monkeypatch):
    import long_documents
    import results

    nlp.to_disk(tmp_path / "pipeline")
    dev = tmp_path / long_documents.DEV
    dev.parent.mkdir(parents=True)
    entity = {"start_idx": 0, "end_idx": 2, "location": "title", "text_span": "Gut", "label": "DDF"}
    metadata = {"title": SENTENCE, "abstract": SENTENCE * 2, "author": "", "journal": ""}
    metadata.update(year="", annotator="")
    article = {"metadata": metadata, "entities": [entity], "relations": []}
    dev.write_text(json.dumps({"1": article, "2": article}), encoding="utf8")
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    small = {"LENGTH": 60, "ORDERS": 1, "WINDOWS": (64, 32), "SMALLER": (16,), "SIZES": (20, 40)}
    for name, value in small.items():
        monkeypatch.setattr(long_documents, name, value)

    monkeypatch.setattr(long_documents, "in_own_process", long_documents.one_text)
    arguments = [str(tmp_path / "pipeline"), "--data", str(tmp_path), "--name", "tiny"]
    long_documents.main(arguments)
    found = json.loads((tmp_path / "results" / "long_documents_tiny.json").read_text("utf8"))
    metrics = found["metrics"]
    assert 0 <= metrics["window 32: f1_of_both"] <= 1
    assert metrics["documents in one window"] == 2 and metrics["40 pieces: cpu_seconds"] > 0
    shares = [v for k, v in metrics.items() if k.startswith("window 16") and "agreement" in k]
    assert all(0 <= share <= 1 for share in shares)
    assert spacy.load(tmp_path / "pipeline").pipe_names == ["transformer", "nested_spancat"]
