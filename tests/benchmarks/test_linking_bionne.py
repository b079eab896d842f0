import json

import pytest

from tests.tiny_encoder import make_tiny_bert

HEADER = "document_id\ttext\tentity_type\tspans\tUMLS_CUI\n"
TEXT = "depression in rats lowered serotonin of rats"
MENTIONS = [("depression", "DISO", 0), ("serotonin", "CHEM", 27)]


def write_table(path, documents, concepts):
    """The same text in each document; its two mentions have these concepts."""
    (path.parent / "texts" / path.stem.split("_")[-1]).mkdir(parents=True)
    rows = ""
    for number in range(documents):
        for (text, label, start), concept in zip(MENTIONS, concepts, strict=True):
            end = start + len(text)
            rows += f"{number}_en\t{text}\t{label}\t{start}-{end}\t{concept}\n"
        folder = path.parent / "texts" / path.stem.split("_")[-1]
        (folder / f"{number}_en.txt").write_text(TEXT, encoding="utf8")
    path.write_text(HEADER + rows, encoding="utf8")


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A corpus of one language, results in a folder of their own, and a small encoder."""
    import linking_bionne
    import linking_peers
    import readme
    import results

    folder = tmp_path / "bionne_l" / "en"
    folder.mkdir(parents=True)
    write_table(folder / "bionnel_en_train.tsv", 3, ["C1", "C2"])
    write_table(folder / "bionnel_en_dev.tsv", 2, ["C1", "CUILESS"])
    for module in (results, linking_bionne, readme):
        monkeypatch.setattr(module, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(readme, "PATH", tmp_path / "README.md")
    encoder = make_tiny_bert(tmp_path / "bert")
    for module in (linking_bionne, linking_peers):
        monkeypatch.setattr(module, "ENCODER", encoder)
    monkeypatch.setattr(linking_bionne, "DOCUMENTS", 2)
    return tmp_path


def run(folder, monkeypatch, *arguments):
    import linking_bionne

    command = ["x", "--data", str(folder), "--cache", str(folder / "cache"), "--languages", "en"]
    monkeypatch.setattr("sys.argv", [*command, *arguments])
    linking_bionne.main()


def test_every_system_and_what_was_cut(data, monkeypatch, capsys):
    import linking_bionne
    import readme

    run(data, monkeypatch)
    assert capsys.readouterr().out.count("epoch ") == linking_bionne.EPOCHS
    for system in linking_bionne.SYSTEMS:
        path = data / "results" / f"linking_bionne_en_{system}.json"
        result = json.loads(path.read_text("utf8"))
        metrics = result["metrics"]
        assert (metrics["mentions"], metrics["mentions_left_out_no_id"]) == (2, 2)
        assert metrics["acc1"] == metrics["seen_concepts_mrr"] == 1.0
        assert metrics["unseen_names_acc1"] is None
        learns = system == "contextual"
        assert ("context_alone_acc5" in metrics) == ("cut" in result["config"]) == learns
        assert ("learned_from" in result["data"]["bionnel_en_train.tsv"]) == learns
    assert result["config"]["documents"] == 2 and result["seeds"] == [11]
    readme.main()
    text = (data / "README.md").read_text(encoding="utf8")
    assert "| MiniLM name vectors | 1.0000 |" in text and ", context alone | " in text
    # nothing is done again
    before = {path: path.stat().st_mtime_ns for path in (data / "results").iterdir()}
    run(data, monkeypatch)
    assert {path: path.stat().st_mtime_ns for path in (data / "results").iterdir()} == before


def test_only_the_first_five_concepts_are_scored(data):
    import linking_bionne
    from linking_peers import CachedEncoder

    corpus = linking_bionne.read("en", data, CachedEncoder(data / "cache"))
    wrong = [(f"X{i}", 0.5) for i in range(5)]
    late = linking_bionne.score(corpus, {"": [[*wrong, ("C1", 0.1)], [("C1", 1.0)]]})
    assert (late["acc1"], late["acc5"], late["mrr"]) == (0.5, 0.5, 0.5)
    early = linking_bionne.score(corpus, {"": [[*wrong[:3], ("C1", 0.1)]] * 2})
    assert early["acc5"] == 1 and early["mrr"] == 0.25
