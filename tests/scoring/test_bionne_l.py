import pytest
import spacy

from spacy_bioie.formats.bionne import read_bionne, write_bionne_submission
from spacy_bioie.formats.errors import FormatError
from spacy_bioie.scoring.bionne_l import evaluate_bionne_files, score_ranked

GOLD = """document_id\ttext\tentity_type\tspans\tUMLS_CUI
1_en\tlung injuries\tDISO\t4-8,20-28\tC1
1_en\tlung\tANATOMY\t4-8\tC2
2_en\tpain\tDISO\t0-4\tC3
2_en\txyz\tCHEM\t10-13\tCUILESS
"""
HEADER = "document_id\tspans\trank\tprediction\n"


@pytest.fixture
def score(tmp_path):
    """Write a table and submissions (rows without the header), and score them."""

    def run(*rows, gold=GOLD, compare=None, **options):
        for name, lines in (("pred.tsv", rows), ("other.tsv", compare)):
            if lines is not None:
                text = HEADER + "".join("\t".join(map(str, row)) + "\n" for row in lines)
                (tmp_path / name).write_text(text, encoding="utf8")
        (tmp_path / "gold.tsv").write_text(gold, encoding="utf8")
        if compare is not None:
            options["compare"] = tmp_path / "other.tsv"
        options.setdefault("resamples", 0)
        return evaluate_bionne_files(tmp_path / "gold.tsv", tmp_path / "pred.tsv", **options)

    return run


def test_plain_items():
    ranked = [["a", "b"], ["a", "a", "b"], list("cdefgh"), [], ["CUILESS"], ["a"]]
    scores = score_ranked(["a", "b", "h", "a", "CUILESS", ""], ranked)
    # a repeated id takes no rank, the sixth counts for nothing
    assert scores == {
        "acc1": pytest.approx(2 / 5),
        "acc5": pytest.approx(3 / 5),
        "mrr": pytest.approx((1 + 0.5 + 1) / 5),
    }
    assert score_ranked(["h"], [list("ccdefgh")])["mrr"] == 0  # h is the sixth distinct id
    assert set(score_ranked([""], [["a"]]).values()) == {None}
    with pytest.raises(ValueError, match="2 gold ids and 1 lists"):
        score_ranked(["a", "b"], [[]])


def test_files(score):
    figures = score(
        ("1_en", "20-28,4-8", 2, "C1"),  # parts in another order
        ("1_en", "20-28,4-8", 1, "C9"),
        ("1_en", "4-8", 1, "C2"),
        ("2_en", "10-13", 1, "CUILESS"),
        ("2_en", "10-12", 1, "C3"),
    )
    assert (figures["documents"], figures["mentions"]) == (2, 4)
    assert figures["acc1"] == 0.5 and figures["acc5"] == 0.75
    assert figures["mrr"] == pytest.approx((0.5 + 1 + 0 + 1) / 4)
    assert figures["linked"]["acc1"] == pytest.approx(1 / 3)
    assert figures["cuiless"] == {"mentions": 1, "acc1": 1.0, "acc5": 1.0, "mrr": 1.0}
    assert figures["per_type"]["DISO"] == {"mentions": 2, "acc1": 0.0, "acc5": 0.5, "mrr": 0.25}
    assert (figures["missing_mentions"], figures["extra_mentions"]) == (1, 1)
    assert "intervals" not in figures


def test_repeated_concept_keeps_its_first_rank(score):
    figures = score(*(("2_en", "0-4", rank, concept) for rank, concept in enumerate("xxC", 1)))
    assert figures["duplicate_predictions"] == 1 and figures["acc5"] == 0
    rows = [("2_en", "0-4", 1, "x"), ("2_en", "0-4", 2, "x"), ("2_en", "0-4", 3, "C3")]
    assert score(*rows)["mrr"] == pytest.approx(1 / 3 / 4)  # the rank that the file gives it


def test_no_prediction_at_all(score):
    figures = score()
    assert (figures["acc1"], figures["acc5"], figures["mrr"]) == (0, 0, 0)
    assert figures["missing_mentions"] == 4


def test_intervals_and_comparison(score, tmp_path):
    right = [("1_en", "4-8,20-28", 1, "C1"), ("1_en", "4-8", 1, "C2"), ("2_en", "0-4", 1, "C3")]
    options = {"compare": right[:1], "resamples": 200, "seed": 3}
    figures = score(*right, output=tmp_path / "out.json", **options)
    interval = figures["intervals"]["acc1"]
    assert (interval["low"], interval["value"], interval["high"]) == (0.5, 0.75, 1.0)
    difference = figures["comparison"]["differences"]["acc1"]
    assert difference["difference"] == 0.5 and difference["low"] == difference["high"] == 0.5
    assert figures["comparison"]["report"]["acc1"] == 0.25
    assert score(*right, **options) == figures
    assert (tmp_path / "out.json").read_text(encoding="utf8").startswith('{\n  "task": "bionne-l"')
    same = score(*right, compare=right, resamples=50)["comparison"]["differences"]["mrr"]
    assert (same["difference"], same["p_value"]) == (0, 1)


@pytest.mark.parametrize(
    "rows, message",
    [
        ([("1_en", "4-8", 6, "C1")], "line 2 (1_en): rank: found '6': expected a number from 1"),
        ([("1_en", "4-8", "x", "C1")], "rank: found 'x'"),
        (
            [("1_en", "4-8", 1, "C1"), ("1_en", "4-8", 1, "C2")],
            "line 3 (1_en): rank: found 1 again",
        ),
        ([("1_en", "4:8", 1, "C1")], "spans: found '4:8': expected START-END"),
        ([("1_en", "4-8", 1, "")], "line 2: prediction: found ''"),
        ([("1_en", "4-8", 1)], "line 2: found 3 columns: expected 4"),
    ],
)
def test_malformed_submissions(score, rows, message):
    with pytest.raises(FormatError) as error:
        score(*rows)
    assert "pred.tsv: line" in str(error.value) and message in str(error.value)


def test_malformed_tables(score, tmp_path):
    with pytest.raises(FormatError, match="gold.tsv: line 1: .*expected the columns document_id"):
        score(gold=HEADER)
    with pytest.raises(FormatError, match=r"line 3 \(1\): spans: found 0-4 again"):
        header = GOLD.splitlines()[0]
        score(gold=f"{header}\n1\tx\tDISO\t0-4\tC1\n1\tx\tDISO\t0-4\tC2\n")
    with pytest.raises(FormatError, match="found no mention"):
        score(gold=GOLD.splitlines()[0])
    with pytest.raises(ValueError, match="Cannot draw 0 resamples"):
        score(compare=[], resamples=0)
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("language", ["en", "ru"])
def test_our_submission_of_the_gold_links_is_right(data_dir, tmp_path, language):
    gold = data_dir / "bionne_l" / language / f"bionnel_{language}_dev.tsv"
    docs = read_bionne(gold, spacy.blank("xx"))
    assert write_bionne_submission(docs, tmp_path / "pred.tsv") > 2000
    figures = evaluate_bionne_files(gold, tmp_path / "pred.tsv", resamples=0)
    assert (figures["acc1"], figures["mrr"], figures["missing_mentions"]) == (1, 1, 0)
    assert figures["cuiless"]["mentions"] == {"en": 99, "ru": 143}[language]
