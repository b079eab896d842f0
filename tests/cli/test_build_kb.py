"""The command ``python -m spacy bioie build-kb``."""

import json

import pytest
from spacy.tokens import DocBin
from spacy.vocab import Vocab
from typer.testing import CliRunner

from spacy_bioie.annotation import Mention, set_mentions
from spacy_bioie.cli import app
from spacy_bioie.kb import load_knowledge_base
from tests.tiny_encoder import make_tiny_bert


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "concepts.jsonl"
    records = [
        {"concept_id": "A", "name": "alpha", "synonyms": ["first"], "types": ["DDF"]},
        {"concept_id": "B", "names": ["beta", "first"]},
        {"id": "A", "name": "Alpha"},
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf8")
    return path


def run(*args):
    return CliRunner().invoke(app, ["build-kb", *map(str, args)])


def test_build_from_concepts_and_mentions(source, nlp, tmp_path):
    doc = nlp.make_doc("the alphas")
    set_mentions(doc, "other", [Mention(1, 2, "DDF", kb_id="A")])
    DocBin(docs=[doc]).to_disk(tmp_path / "train.spacy")
    result = run(
        *(tmp_path / "kb", source, "--no-encoder", "--json", tmp_path / "new" / "report.json"),
        *("--mentions", tmp_path / "train.spacy", "--spans-key", "other"),
    )
    assert result.exit_code == 0, result.output
    assert "Reading concepts.jsonl" in result.stderr
    assert "duplicate ids" in result.stdout and "ambiguous names" in result.stdout
    report = json.loads((tmp_path / "new" / "report.json").read_text())
    assert (report["concepts"], report["names"], report["duplicate_ids"]) == (2, 4, 1)
    assert (report["training_mentions"], report["ambiguous_names"]) == (1, 1)
    kb = load_knowledge_base(tmp_path / "kb", check="full")(Vocab())
    assert kb.search(["Alphas"], ["DDF"])[0][0][0] == "A"


def test_build_with_encoder_and_other_index(source, tmp_path):
    encoder = make_tiny_bert(tmp_path / "encoder")
    result = run(
        *(tmp_path / "kb", source, "--encoder", encoder, "--index", "SQ8", "--quiet"),
        *("--lexical-weight", "0", "--pooling", "cls", "--batch-size", "2", "--mixed-precision"),
    )
    assert (result.exit_code, result.stdout) == (0, "")
    kb = load_knowledge_base(tmp_path / "kb")(Vocab())
    assert kb.entity_vector_length == 32 and not kb.index.is_exact
    assert kb.vectorizer.encoder.pooling == "cls" and kb.vectorizer.encoder.mixed_precision
    assert kb.search(["beta"])[0][0][0] == "B"


def test_recall_of_an_index_that_is_not_exact(tmp_path):
    source = tmp_path / "names.csv"
    source.write_text("id,name\n" + "".join(f"C{i},name {i * 7} of it\n" for i in range(200)))
    result = run(
        *(tmp_path / "kb", source, "--no-encoder", "--index", "IVF8,SQ8", "--seed", "1"),
        *("--search-parameters", "nprobe=8", "--train-sample", "150", "--recall-queries", "50"),
    )
    assert result.exit_code == 0, result.output
    assert "Recall@10 against exact search, for misspelt names: 0.9" in result.stdout
    result = run(tmp_path / "kb", source, "--no-encoder")
    assert result.exit_code == 0 and "Recall@10" not in result.stdout
    assert run(tmp_path / "kb", source, "--no-encoder", "--train-sample", "0").exit_code == 2


def test_sources_of_other_forms_are_filtered_and_merged(source, tmp_path):
    table = tmp_path / "names.txt"
    table.write_text(
        "CUI\tconcept_name\tlang\tsab\ttype\txrefs\n"
        "C\tgamma\tENG\tMSH\tDDF\tB\nC\tgamme\tFRE\tMSH\tDDF\t\n"
        "D\tdelta\tENG\tNCI\tDDF\t\nE\tgamma\tENG\tMSH\tCHEM\t\n"
    )
    result = run(
        *(tmp_path / "kb", table, "--no-encoder", "--form", "table", "--language", "ENG"),
        *("--source", "MSH", "--semantic-type", "DDF", "--semantic-type", "gene"),
    )
    assert result.exit_code == 0, result.output
    assert "C: gamme; D: delta; E: gamma" in result.stdout  # left out
    assert len(load_knowledge_base(tmp_path / "kb")(Vocab())) == 1
    result = run(tmp_path / "kb", source, table, "--no-encoder", "--merge-xrefs", "--language=ENG")
    assert result.exit_code == 0, result.output
    kb = load_knowledge_base(tmp_path / "kb")(Vocab())
    assert kb.concept("C") == kb.concept("B") and kb.concept("B").alt_ids == ("C",)
    result = run(tmp_path / "kb", source, "--no-encoder", "--keep-suppressed")
    assert result.exit_code == 1 and "can be filtered by keep_suppressed" in result.output
    result = run(tmp_path / "kb", source, "--no-encoder", "--form", "xml")
    assert result.exit_code == 1 and "The form is 'xml': expected one of" in result.output


def test_mentions_alone_are_enough(nlp, tmp_path):
    doc = nlp.make_doc("low mood")
    set_mentions(doc, "sc", [Mention(0, 2, "DDF", kb_id="N")])
    DocBin(docs=[doc]).to_disk(tmp_path / "train.spacy")
    assert run(tmp_path / "kb", "--no-encoder", "-m", tmp_path / "train.spacy").exit_code == 0
    assert load_knowledge_base(tmp_path / "kb")(Vocab()).concept("N").name == "low mood"


def test_wrong_usage(source, tmp_path):
    for args, message in (
        ((source,), "--encoder NAME or --no-encoder"),
        ((source, "--encoder", "x", "--no-encoder"), "--encoder NAME or --no-encoder"),
        (("--no-encoder",), "at least one SOURCE"),
    ):
        result = run(tmp_path / "kb", *args)
        assert result.exit_code == 2 and message in result.output
    assert run(tmp_path / "kb", source, "--no-encoder", "--batch-size", "0").exit_code == 2


def test_failures_name_the_file_and_write_nothing(source, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"concept_id": "A"}\n{"concept_id": 1}\n')
    for args, message in (
        ((bad, "--no-encoder"), "line 2"),
        ((tmp_path / "absent.jsonl", "--no-encoder"), "absent.jsonl"),
        ((source, "--no-encoder", "--unique-ids"), "the first is 'A'"),
        ((source, "--no-encoder", "--index", "Magic"), "Magic"),
        ((source, "--no-encoder", "--lexical-weight", "0"), "expected no negative weight"),
        ((source, "--encoder", str(tmp_path / "no" / "such" / "encoder")), "encoder"),
        ((source, "--no-encoder", "-m", bad), "expected a DocBin"),
    ):
        result = run(tmp_path / "kb", *args, "--quiet")
        assert result.exit_code == 1, (args, result.output)
        assert message in result.output
        assert not (tmp_path / "kb").exists()
    (tmp_path / "kb").mkdir()
    (tmp_path / "kb" / "thesis.txt").write_text("x")
    result = run(tmp_path / "kb", source, "--no-encoder")
    assert result.exit_code == 1 and "holds files, but no knowledge base" in result.output
    assert [path.name for path in (tmp_path / "kb").iterdir()] == ["thesis.txt"]


def test_help():
    result = run("--help")
    assert result.exit_code == 0 and "faiss index factory" in result.output
