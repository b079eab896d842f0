import json

import pytest
from spacy.cli._util import app
from typer.testing import CliRunner

import spacy_bioie.cli.evaluate  # noqa: F401  (registers the command)

RECORD = {"start_idx": 0, "end_idx": 3, "location": "title", "text_span": "mice"}


@pytest.fixture
def files(tmp_path):
    right = {**RECORD, "label": "animal"}
    wrong = {**RECORD, "label": "human"}
    gold = {str(i): {"entities": [right]} for i in range(4)}
    contents = {
        "gold.json": gold,
        "pred.json": {**gold, "0": {"entities": [right, wrong, wrong]}, "x": {}},
        "worse.json": {"0": {"entities": [right]}},
        "illegal.json": {**gold, "2": {"entities": [{**RECORD, "label": "mouse"}]}},
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(json.dumps(content), encoding="utf8")
    return tmp_path


def run(folder, *names, **options):
    paths = (name if name.startswith("-") else str(folder / name) for name in names)
    arguments = ["bioie", "evaluate", *paths]
    for name, value in options.items():
        arguments += [f"--{name}", str(value)]
    return CliRunner().invoke(app, arguments)


def test_table_and_figures(files):
    output = files / "out.json"
    result = run(files, "gold.json", "pred.json", task="ner", rules="strict", json=output)
    assert result.exit_code == 0, result.output
    assert "ner, strict" in result.stdout
    assert "4 documents, 4 gold items, 5 predictions counted" in result.stdout
    assert "1 predictions repeat another one" in result.stdout
    assert "1 predicted documents are not in gold" in result.stdout
    assert "animal" in result.stdout
    figures = json.loads(output.read_text(encoding="utf8"))
    assert figures["averages"]["micro_p"] == pytest.approx(0.8)
    assert figures["per_class"]["human"]["false_positives"] == 1


def test_official_rules_by_default(files):
    result = run(files, "gold.json", "pred.json", task="ner")
    assert "ner, official-2025" in result.stdout
    assert "2 predictions ignored" in result.stdout


def test_comparison(files):
    options = {"task": "ner", "rules": "strict", "resamples": 100, "seed": 1}
    result = run(files, "gold.json", "pred.json", compare=files / "worse.json", **options)
    assert result.exit_code == 0, result.output
    assert "A - B" in result.stdout
    again = run(files, "gold.json", "pred.json", compare=files / "worse.json", **options)
    assert again.stdout == result.stdout


def test_progress_bar(files):
    options = {"task": "ner", "compare": files / "worse.json", "resamples": 50}
    result = run(files, "gold.json", "pred.json", **options)
    # of the intervals, and of both systems of the comparison
    assert result.stderr.count("50/50") == 3 and "Bootstrap" in result.stderr
    assert "Bootstrap" not in result.stdout
    quiet = run(files, "gold.json", "pred.json", "--quiet", **options)
    assert quiet.stderr == "" and quiet.stdout == result.stdout


@pytest.mark.parametrize(
    "name, message",
    [
        ("illegal.json", "illegal.json: PMID 2: entities[0]: field 'label': 'mouse' is not one of"),
        ("absent.json", "absent.json: No such file or directory."),
    ],
)
def test_errors_are_one_line(files, name, message):
    result = run(files, "gold.json", name, task="ner", json=files / "out.json")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (files / "out.json").exists()


@pytest.fixture
def tables(tmp_path):
    gold = "document_id\ttext\tentity_type\tspans\tUMLS_CUI\n"
    gold += "1_en\tlung\tANATOMY\t4-8\tC2\n2_en\txyz\tCHEM\t0-3\tCUILESS\n"
    pred = "document_id\tspans\trank\tprediction\n1_en\t4-8\t1\tC1\n1_en\t4-8\t2\tC2\n"
    (tmp_path / "gold.tsv").write_text(gold, encoding="utf8")
    (tmp_path / "pred.tsv").write_text(pred + "3_en\t4-8\t1\tC1\n", encoding="utf8")
    (tmp_path / "bad.tsv").write_text(pred + "1_en\t4-8\t2\tC3\n", encoding="utf8")
    return tmp_path


def test_bionne_l(tables):
    output = tables / "out.json"
    result = run(tables, "gold.tsv", "pred.tsv", task="bionne-l", json=output)
    assert result.exit_code == 0, result.output
    assert "2 documents, 2 gold mentions" in result.stdout
    assert "1 gold mentions have no prediction" in result.stdout
    assert "1 predicted mentions are not in gold" in result.stdout
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line.strip()}
    assert rows["ANATOMY"] == ["ANATOMY", "1", "0.0000", "1.0000", "0.5000"]
    assert rows["all"][:3] == ["all", "2", "0.0000"] and "[0.0000, 1.0000]" in result.stdout
    assert json.loads(output.read_text(encoding="utf8"))["mrr"] == 0.25
    options = {"task": "bionne-l", "compare": tables / "pred.tsv", "resamples": 20}
    assert "A - B" in run(tables, "gold.tsv", "pred.tsv", **options).stdout


def test_bionne_l_errors(tables):
    result = run(tables, "gold.tsv", "bad.tsv", task="bionne-l", json=tables / "out.json")
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert "bad.tsv: line 4 (1_en): rank: found 2 again" in result.stderr
    assert not (tables / "out.json").exists()
    options = {"task": "bionne-l", "rules": "strict"}
    result = run(tables, "gold.tsv", "pred.tsv", **options)
    assert result.exit_code == 2 and "not for the task bionne-l" in result.stderr


def test_wrong_usage(files):
    assert run(files, "gold.json", "pred.json").exit_code == 2
    result = run(files, "gold.json", "pred.json", task="re")
    assert result.exit_code == 2
    assert "m-re" in result.stderr


def test_help():
    result = CliRunner().invoke(app, ["bioie", "evaluate", "--help"])
    assert result.exit_code == 0
    for name in ("--task", "--rules", "--json", "--compare", "--resamples", "--seed"):
        assert name in result.stdout
    assert "Exit codes" in result.stdout


def test_choices_are_those_of_the_scorer():
    from spacy_bioie.cli.evaluate import RulesName, TaskName
    from spacy_bioie.scoring import RULES, TASKS
    from spacy_bioie.scoring.coding_files import CODING_TASKS

    assert {task.value for task in TaskName} == {*TASKS, "bionne-l", *CODING_TASKS}
    assert tuple(rules.value for rules in RulesName) == RULES


@pytest.fixture
def letters(tmp_path):
    text, mention = "gout and angina", {"label": "DX"}
    gout = {**mention, "start": 0, "end": 4, "concept_id": "M10"}
    angina = {**mention, "start": 9, "end": 15, "concept_id": "I20"}
    plain = {**mention, "start": 0, "end": 4}
    contents = {
        "gold.jsonl": [{"id": "1", "mentions": [gout, angina]}, {"id": "2", "mentions": [plain]}],
        "pred.jsonl": [{"id": "1", "mentions": [gout], "codes": [{"code": "I20"}]}],
        "bad.jsonl": [{"id": "1", "codes": [{"code": "I20"}, {"code": "I20"}]}],
    }
    for name, rows in contents.items():
        lines = (json.dumps({"text": text, **row}) + "\n" for row in rows)
        (tmp_path / name).write_text("".join(lines), encoding="utf8")
    return tmp_path


def test_codes_of_mentions_and_of_documents(letters):
    output = letters / "out.json"
    result = run(letters, "gold.jsonl", "pred.jsonl", task="el", json=output)
    assert result.exit_code == 0, result.output
    assert "el, strict" in result.stdout
    assert "1 documents, 2 gold items, 1 predictions counted" in result.stdout
    assert "1 gold documents do not say the codes that are scored" in result.stdout
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line.strip()}
    assert rows["M10"] == ["M10", "1.0000", "1.0000", "1.0000", "1", "0", "0"]
    assert rows["spans"] == ["spans", "alone", "1.0000", "0.5000", "0.6667"]
    assert json.loads(output.read_text(encoding="utf8"))["total"]["false_negatives"] == 1
    options = {"task": "mlc-x", "compare": letters / "gold.jsonl", "resamples": 10}
    result = run(letters, "gold.jsonl", "pred.jsonl", **options)
    assert "mlc-x, strict" in result.stdout and "A - B" in result.stdout
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line.strip()}
    assert rows["M10"][-1] == "1" and rows["I20"][4] == "1"


def test_errors_of_coding_tasks(letters):
    output = letters / "out.json"
    result = run(letters, "gold.jsonl", "bad.jsonl", task="mlc-x", json=output)
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert "bad.jsonl: line 1 (id 1): codes[1].code: found 'I20' again" in result.stderr
    assert not output.exists()
    for options in ({"task": "el", "rules": "strict"}, {"task": "ner", "spans-key": "dx"}):
        assert run(letters, "gold.jsonl", "pred.jsonl", **options).exit_code == 2
