import json

import pytest

from spacy_bioie.scoring.files import evaluate_files, read_json, write_json

from .builders import entities, entity


@pytest.fixture
def files(tmp_path):
    gold = {str(i): {"entities": [entity(0, 3), entity(5, 9)]} for i in range(10)}
    pred = {str(i): {"entities": [entity(0, 3), entity(5, 9)][: 1 + i % 2]} for i in range(10)}
    write_json(tmp_path / "gold.json", gold)
    write_json(tmp_path / "pred.json", pred)
    return tmp_path / "gold.json", tmp_path / "pred.json"


def test_all_figures(files, tmp_path):
    gold, pred = files
    output = tmp_path / "out.json"
    figures = evaluate_files(gold, pred, "ner", "strict", compare=gold, resamples=50, output=output)
    assert figures["averages"]["micro_r"] == pytest.approx(0.75)
    assert figures["intervals"]["micro_r"]["value"] == figures["averages"]["micro_r"]
    difference = figures["comparison"]["differences"]["micro_r"]
    assert difference["difference"] == pytest.approx(-0.25)
    assert difference["high"] < 0
    assert figures["comparison"]["report"]["averages"]["micro_f"] == pytest.approx(1.0)
    assert json.loads(output.read_text(encoding="utf8")) == figures


def test_without_resamples(files):
    figures = evaluate_files(*files, "ner", resamples=0)
    assert "intervals" not in figures
    with pytest.raises(ValueError, match="at least 1 for a comparison"):
        evaluate_files(*files, "ner", resamples=0, compare=files[0])


def test_errors_name_the_file(files, tmp_path):
    gold, _ = files
    wrong = tmp_path / "wrong.json"
    write_json(wrong, {"3": {"entities": [entity(0, 3, label="ddf")]}})
    output = tmp_path / "out.json"
    with pytest.raises(ValueError, match=r"wrong\.json: PMID 3: entities\[0\]: field 'label'"):
        evaluate_files(gold, wrong, "ner", output=output)
    with pytest.raises(ValueError, match=r"wrong\.json: PMID 3"):
        evaluate_files(gold, gold, "ner", compare=wrong, output=output)
    assert not output.exists()
    assert evaluate_files(gold, wrong, "ner", check_labels=False)["ignored_predictions"] == 1


@pytest.mark.parametrize(
    "content, message",
    [
        (b'{"1": {"entities": [}', r"a\.json: not valid JSON, line 1 column 21"),
        (b"", r"a\.json: not valid JSON"),
        (b"[]", r"a\.json: expected one object with a PMID for each key, found a list"),
        (b'{"1": {}, "1": {}}', r"a\.json: the key '1' occurs more than once"),
        (b'{"\xff": 1}', r"a\.json: not UTF-8 text, byte 2"),
    ],
)
def test_malformed_files(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_json(tmp_path / "a.json")


def test_nothing_half_written(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, entities(entity(0, 3)))
    with pytest.raises(TypeError):
        write_json(path, {"a": [1] * 1000, "b": object()})
    assert read_json(path) == entities(entity(0, 3))
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    with pytest.raises(FileNotFoundError, match="no such folder"):
        write_json(tmp_path / "absent" / "a.json", {})
