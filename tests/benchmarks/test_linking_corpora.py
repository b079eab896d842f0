import json

import numpy
import pytest

from tests.kb.builders import ids, make_kb
from tests.tiny_encoder import make_tiny_bert

CONCEPTS = [
    {"id": f"MESH:D{i}", "name": f"disease {word}", "synonyms": [f"{word} disorder"]}
    for i, word in enumerate("liver kidney heart lung brain skin bone eye ear mouth gut".split())
]
DOCUMENT = """{0}|t|Disease of liver and kidney disorder
{0}|a|Also heart-disorder (HD), all disorders.
{0}\t11\t16\tliver\tDisease\tD0
{0}\t21\t36\tkidney disorder\tDisease\tMESH:D1
{0}\t42\t56\theart-disorder\tDisease\tD2
{0}\t58\t60\tHD\tDisease\tD2
{0}\t63\t76\tall disorders\tDisease\t{1}

"""


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of data for one corpus, and results in a folder of their own."""
    import linking_corpora
    import linking_peers
    import results

    (tmp_path / "train.txt").write_text(DOCUMENT.format(1, "D0|D1"), encoding="utf8")
    dev = DOCUMENT.format(2, "-1") + DOCUMENT.format(3, "C99")
    (tmp_path / "dev.txt").write_text(dev, encoding="utf8")
    lines = "".join(json.dumps(concept) + "\n" for concept in CONCEPTS)
    (tmp_path / "kb.jsonl").write_text(lines, encoding="utf8")
    corpus = linking_corpora.Corpus("train.txt", "dev.txt", "kb.jsonl", "")
    monkeypatch.setattr(linking_corpora, "CORPORA", {"tiny": corpus})
    for module in (results, linking_corpora):
        monkeypatch.setattr(module, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(linking_peers, "ENCODER", make_tiny_bert(tmp_path / "bert"))
    return tmp_path


def run(folder, monkeypatch, *arguments):
    import linking_corpora

    command = ["x", "--data", str(folder), "--cache", str(folder / "cache"), "--corpora", "tiny"]
    monkeypatch.setattr("sys.argv", [*command, *arguments])
    linking_corpora.main()


def test_every_system_on_the_same_mentions(data, monkeypatch):
    import linking_corpora

    run(data, monkeypatch)
    found = {}
    for system in linking_corpora.SYSTEMS:
        result = json.loads((data / "results" / f"linking_tiny_{system}.json").read_text("utf8"))
        found[system] = result["metrics"]
        assert result["benchmark"] == "linking_corpora" and result["data"]["dev.txt"]
        assert result["data"]["kb.jsonl"]["documents"] == len(CONCEPTS)
    for metrics in found.values():
        assert metrics["mentions"] == 9 and metrics["mentions_left_out_no_id"] == 1
        assert metrics["mentions_wrong_not_in_kb"] == 1
        # "all disorders" has several ids in training, and is left out there
        assert metrics["mentions_unseen_names"] == metrics["mentions_unseen_concepts"] == 1
        assert metrics["train_unseen_concepts_acc5"] == 0
    exact = found["exact"]
    assert (exact["kb_acc1"], exact["train_acc1"]) == (0.4444, 0.8889)
    assert exact["train_disambiguation_acc1"] == 1
    # the abbreviation is written out by the component alone
    assert found["linker"]["kb_acc1"] > found["search"]["kb_acc1"]


def test_results_that_exist_are_left_alone(data, monkeypatch, capsys):
    run(data, monkeypatch, "--systems", "exact")
    path = data / "results" / "linking_tiny_exact.json"
    path.write_text("{}")
    run(data, monkeypatch, "--systems", "exact", "search")
    assert path.read_text() == "{}" and path.with_name("linking_tiny_search.json").is_file()
    assert "encoded" in capsys.readouterr().out.splitlines()[0]
    run(data, monkeypatch, "--systems", "exact", "--again")
    assert path.read_text() != "{}"
    assert "encoded" not in capsys.readouterr().out  # its vectors are in the cache


def test_cached_vectors_are_those_of_the_encoder(data, monkeypatch):
    import linking_peers

    monkeypatch.setattr(linking_peers, "CHUNK", 2)
    names = ["liver", "heart disease", "bone", "eye", "gut"]
    linking_peers.CachedEncoder(data / "cache").fill(names[:3])
    encoder = linking_peers.CachedEncoder(data / "cache")
    assert sorted(encoder.rows) == sorted(names[:3])
    encoder.fill(names[1:4])
    again = linking_peers.CachedEncoder(data / "cache")
    assert sorted(again.rows) == sorted(names[:4])
    expected = again.encoder.encode(names)
    numpy.testing.assert_allclose(again.encode(names), expected, atol=1e-5)


def test_ties_go_to_the_concept_with_more_training_mentions():
    from linking_peers import Setting, exact_names, link_by_names

    for mentions, first in (
        ((), "C1"),
        ([("depression", "", "C3")], "C3"),
        ([("depression", "", "C3"), ("sad", "", "C1"), ("low", "", "C1")], "C3"),
        ([("hollow", "", "C3")], "C3"),
    ):
        kb = make_kb(mentions=mentions)
        setting = Setting(kb, None, [], [], ["Depression", "unknown"], ["", ""])
        found = link_by_names(setting, exact_names)
        assert ids(found[0])[0] == first and set(ids(found[0])) == {"C1", "C3"}
        assert found[1] == []
