import json

import pytest
from spacy.training import Example

from spacy_bioie.annotation import META_KEY, Mention, document_codes, set_codes, set_mentions
from spacy_bioie.formats import FormatError, convert, write_docbin, write_jsonl
from spacy_bioie.scoring.coding import score_coding
from spacy_bioie.scoring.coding_files import evaluate_coding_files

TEXT = "Υπέρταση, διαβήτης και high blood pressure."
GOLD = {
    "a": [(0, 1, "I10"), (2, 3, "E11"), (4, 7, "I10")],
    "b": [(0, 1, "I10")],
    "c": [(2, 3, "E11|E14")],
}
PRED = {
    "a": [(0, 1, "I10"), (2, 3, "I50"), (4, 6, "I10")],
    "c": [(2, 3, "E14"), (2, 3, "E14"), (4, 7, "")],
    "x": [(0, 1, "I10")],
}


def make_doc(nlp, name, mentions, codes=None, key="sc"):
    doc = nlp.make_doc(TEXT)
    doc.user_data[META_KEY] = {"id": name}
    set_mentions(doc, key, [Mention(s, e, "DX", kb_id=code) for s, e, code in mentions])
    if codes is not None:
        set_codes(doc, codes, key)
    return doc


@pytest.fixture
def docs(nlp):
    """Gold and predicted documents; the predicted ones with codes as a code_linker sets them."""
    gold = [make_doc(nlp, name, mentions) for name, mentions in GOLD.items()]
    pred = [make_doc(nlp, name, mentions) for name, mentions in PRED.items()]
    for doc in pred:
        set_codes(doc, document_codes(doc))
    return gold, pred


@pytest.fixture
def files(docs, tmp_path):
    paths = tmp_path / "gold.jsonl", tmp_path / "pred.jsonl"
    for path, side in zip(paths, docs, strict=True):
        write_jsonl(side, path)
    return paths


def figures_of(docs, nlp):
    """What the functions say of the same documents."""
    gold, pred = docs
    found = {doc.user_data[META_KEY]["id"]: doc for doc in pred}
    empty = make_doc(nlp, "", [])
    pairs = [(found.get(doc.user_data[META_KEY]["id"], empty), doc) for doc in gold]
    return score_coding([Example(*pair) for pair in pairs])


@pytest.mark.parametrize("task, prefix", [("el", "el"), ("mlc-x", "mlcx")])
def test_figures_are_those_of_the_functions(docs, files, nlp, tmp_path, task, prefix):
    output = tmp_path / "out.json"
    figures = evaluate_coding_files(*files, task, resamples=0, output=output)
    expected = figures_of(docs, nlp)
    for name in ("micro_p", "micro_r", "micro_f", "macro_f"):
        assert figures["averages"][name] == expected[f"{prefix}_{name}"]
    if task == "el":
        for name, value in figures["spans"].items():
            assert value == expected[f"el_spans_{name}"] > 0
    assert (figures["task"], figures["rules"], figures["documents"]) == (task, "strict", 3)
    assert (figures["missing_documents"], figures["extra_documents"]) == (["b"], ["x"])
    assert json.loads(output.read_text("utf8")) == figures


def test_el_by_hand(files):
    figures = evaluate_coding_files(*files, "el", resamples=0)
    # I10 at the start of a, and E14 of c; five gold spans with six codes
    total = figures["total"]
    assert (total["true_positives"], total["false_positives"]) == (2, 2)
    assert total["false_negatives"] == 4 and figures["duplicate_predictions"] == 1
    assert figures["per_class"]["E14"]["f1"] == pytest.approx(1)
    assert figures["per_class"]["I50"]["false_positives"] == 1
    assert figures["spans"]["micro_p"] == pytest.approx(3 / 5)
    assert figures["spans"]["micro_r"] == pytest.approx(3 / 5)


def test_docbins_and_jsonl_say_the_same(docs, files, tmp_path):
    for path in files:
        convert(path, path.with_suffix(".spacy"))
    binary = [path.with_suffix(".spacy") for path in files]
    for task in ("el", "mlc-x"):
        expected = evaluate_coding_files(*files, task, resamples=20)
        found = evaluate_coding_files(*binary, task, resamples=20)
        same = {"gold": str(files[0]), "predictions": str(files[1])}
        assert {**found, **same} == expected
    convert(binary[1], tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_text("utf8") == files[1].read_text("utf8")


def test_stated_codes_and_what_is_left_out(nlp, tmp_path):
    gold = [
        make_doc(nlp, "a", [(0, 1, "I10")], codes=["I10", "E11"]),
        make_doc(nlp, "b", [(0, 1, "")]),  # spans only
        make_doc(nlp, "c", [(0, 1, "")], codes=["E11"]),
    ]
    write_jsonl(gold, tmp_path / "gold.jsonl")
    write_jsonl(reversed(gold[:2]), tmp_path / "pred.jsonl")
    files = tmp_path / "gold.jsonl", tmp_path / "pred.jsonl"
    el = evaluate_coding_files(*files, "el", resamples=0)
    assert (el["documents"], el["left_out_documents"]) == (1, ["b", "c"])
    assert el["averages"]["micro_f"] == pytest.approx(1) and not el["extra_documents"]
    codes = evaluate_coding_files(*files, "mlc-x", resamples=0)
    assert (codes["left_out_documents"], codes["missing_documents"]) == (["b"], ["c"])
    assert codes["averages"]["micro_p"] == pytest.approx(1)
    assert codes["averages"]["micro_r"] == pytest.approx(2 / 3)


def test_codes_beside_no_mentions_say_nothing_of_mentions(nlp, tmp_path):
    gold = [
        make_doc(nlp, "a", [(0, 1, "I10")]),
        make_doc(nlp, "b", [], codes=["I10"]),
        make_doc(nlp, "c", []),
    ]
    pred = [make_doc(nlp, name, [(0, 1, "I10")]) for name in "abc"]
    files = tmp_path / "gold.jsonl", tmp_path / "pred.jsonl"
    for path, docs in zip(files, (gold, pred), strict=True):
        write_jsonl(docs, path)
    el = evaluate_coding_files(*files, "el", resamples=0)
    assert (el["documents"], el["left_out_documents"]) == (2, ["b"])
    assert el["averages"]["micro_p"] == el["spans"]["micro_p"] == pytest.approx(0.5)
    codes = evaluate_coding_files(*files, "mlc-x", resamples=0)
    assert codes["documents"] == 3 and codes["averages"]["micro_p"] == pytest.approx(2 / 3)


def test_intervals_and_comparison(files):
    gold, pred = files
    figures = evaluate_coding_files(gold, pred, "mlc-x", compare=gold, resamples=30, seed=3)
    assert figures["intervals"]["micro_f"]["value"] == figures["averages"]["micro_f"]
    difference = figures["comparison"]["differences"]["micro_r"]
    assert difference["b"] == pytest.approx(1) and difference["difference"] < 0
    assert figures["comparison"]["report"]["averages"]["micro_f"] == pytest.approx(1)
    assert evaluate_coding_files(gold, pred, "mlc-x", compare=gold, resamples=30, seed=3) == figures
    with pytest.raises(ValueError, match="at least 1 for a comparison"):
        evaluate_coding_files(gold, pred, "el", compare=gold, resamples=0)


def line(**fields):
    return {"id": "a", "text": "gout", **fields}


@pytest.mark.parametrize(
    "task, lines, message",
    [
        ("el", [line(id="")], r"pred\.jsonl: document 1: id: found none: expected one"),
        ("el", [line(), line()], r"pred\.jsonl: document 2: id: found 'a' again"),
        ("el", [line()], r"pred\.jsonl: document a: text: differs from that of .*gold\.jsonl"),
        (
            "mlc-x",
            [line(), line(id="b", codes=[{"score": 1}])],
            r"pred\.jsonl: line 2 \(id b\): codes\[0\]\.code: missing: expected a string",
        ),
        (
            "el",
            [line(mentions=[{"start": 0, "end": 9, "label": "DX"}])],
            r"pred\.jsonl: line 1 \(id a\): mentions\[0\]: found characters 0 to 9",
        ),
    ],
)
def test_errors_name_file_document_and_field(files, task, lines, message):
    gold, pred = files
    pred.write_text("".join(json.dumps(row) + "\n" for row in lines), encoding="utf8")
    output = gold.with_name("out.json")
    for paths in ((gold, pred), (gold, gold, pred)):
        compare = dict(zip(("compare",), paths[2:], strict=False))
        with pytest.raises(FormatError, match=message):
            evaluate_coding_files(*paths[:2], task, resamples=2, output=output, **compare)
    assert not output.exists()


def test_text_does_not_matter_to_the_codes_of_documents(files):
    gold, pred = files
    pred.write_text(json.dumps(line(codes=[{"code": "I10"}])) + "\n", encoding="utf8")
    assert evaluate_coding_files(gold, pred, "mlc-x", resamples=0)["total"]["true_positives"] == 1


def test_gold_without_codes_and_unknown_task(files, nlp, tmp_path):
    write_jsonl([make_doc(nlp, "a", [(0, 1, "")])], tmp_path / "plain.jsonl")
    with pytest.raises(ValueError, match=r"plain\.jsonl: found no mention with a code"):
        evaluate_coding_files(tmp_path / "plain.jsonl", files[1], "el")
    with pytest.raises(ValueError, match=r"plain\.jsonl: found no document with a code"):
        evaluate_coding_files(tmp_path / "plain.jsonl", files[1], "mlc-x")
    with pytest.raises(ValueError, match="Unknown task 'mlcx': expected one of el, mlc-x"):
        evaluate_coding_files(*files, "mlcx")
    with pytest.raises(FileNotFoundError):
        evaluate_coding_files(tmp_path / "absent.jsonl", files[1], "el")


def test_another_span_group(nlp, tmp_path):
    docs = [make_doc(nlp, name, mentions, key="dx") for name, mentions in GOLD.items()]
    write_docbin(docs, tmp_path / "gold.spacy")
    paths = [tmp_path / "gold.spacy"] * 2
    figures = evaluate_coding_files(*paths, "el", spans_key="dx", resamples=0)
    assert figures["averages"]["micro_f"] == pytest.approx(1)
    message = r"gold\.spacy: document 1 \(id a\): spans: expected the group 'sc', found 'dx'"
    with pytest.raises(FormatError, match=message):
        evaluate_coding_files(*paths, "el")
