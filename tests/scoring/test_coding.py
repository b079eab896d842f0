import pytest
from spacy import registry
from spacy.tokens import DocBin
from spacy.training import Example

from spacy_bioie.annotation import Mention, set_codes, set_mentions
from spacy_bioie.scoring.coding import (
    make_coding_scorer,
    score_coded_mentions,
    score_coding,
    score_document_codes,
)

GOLD = [[(0, 4, "I10"), (10, 14, "I50"), (20, 24, "I10")], [(0, 3, "E11")]]
PRED = [[(0, 4, "I10"), (10, 14, "I48"), (30, 34, "I10")], [(0, 3, "E11"), (0, 3, "E11")]]


def test_coded_mentions():
    scores = score_coded_mentions(GOLD, PRED)
    # two hits of four predicted items (one is repeated) and four gold ones
    assert scores["el_micro_p"] == scores["el_micro_r"] == pytest.approx(0.5)
    assert scores["el_micro_f"] == pytest.approx(0.5)
    # I10: 1 of 2 and 1 of 2; I50: missed; E11: right. I48 is not in gold
    assert scores["el_macro_f"] == pytest.approx((0.5 + 0 + 1) / 3)
    assert scores["el_spans_micro_f"] == pytest.approx(3 / 4)


def test_document_codes():
    codes = [[code for _, _, code in row] for row in GOLD]
    given = [[code for _, _, code in row] for row in PRED]
    scores = score_document_codes(codes, given)
    assert scores["mlcx_micro_p"] == scores["mlcx_micro_r"] == pytest.approx(2 / 3)
    assert scores["mlcx_macro_f"] == pytest.approx(2 / 3)
    assert score_document_codes([["I10", "I10"]], [["I10"]])["mlcx_micro_f"] == pytest.approx(1)


def test_mentions_without_a_code_are_spans_only():
    scores = score_coded_mentions([[(0, 4, "I10"), (5, 9, "")]], [[(0, 4, ""), (5, 9, "I10")]])
    assert scores["el_spans_micro_f"] == pytest.approx(1)
    assert scores["el_micro_f"] == 0


def test_nothing_to_score():
    assert set(score_coded_mentions([[]], [[(0, 1, "I10")]]).values()) == {None}
    assert set(score_document_codes([], []).values()) == {None}
    assert score_document_codes([["I10"]], [[]])["mlcx_micro_f"] == 0


@pytest.mark.parametrize("score", [score_coded_mentions, score_document_codes])
def test_documents_of_unequal_number(score):
    with pytest.raises(ValueError, match=f"{score.__name__} got 2 gold and 1 predicted documents"):
        score([[], []], [[]])


def doc(nlp, *mentions, codes=None, key="sc"):
    made = nlp.make_doc("high blood pressure and weak heart")
    set_mentions(made, key, [Mention(s, e, "DX", f"T{s}", kb_id=c) for s, e, c in mentions])
    if codes is not None:
        set_codes(made, codes, key)
    return made


def test_scorer_over_docs(nlp):
    gold = doc(nlp, (0, 3, "I10"), (4, 6, "I50"))
    pred = doc(nlp, (0, 3, "I10"), (5, 6, "I50"))
    scorer = registry.scorers.get("spacy_bioie.coding_scorer.v1")()
    scores = scorer([Example(pred, gold)])
    assert scores == score_coding([Example(pred, gold)])
    assert scores["el_micro_f"] == pytest.approx(0.5)
    assert scores["el_spans_micro_f"] == pytest.approx(0.5)
    assert scores["mlcx_micro_f"] == pytest.approx(1)  # the wrong span names the right code


def test_stated_codes_of_documents_go_before_those_of_mentions(nlp):
    gold = doc(nlp, (0, 3, "I10"), codes=["I10", "E11"])
    pred = doc(nlp, (0, 3, "I10"), codes=[{"code": "I50", "score": 0.9, "mentions": ["T0"]}])
    scores = score_coding([Example(pred, gold)])
    assert scores["el_micro_f"] == pytest.approx(1) and scores["mlcx_micro_f"] == 0
    scores = score_coding([Example(doc(nlp, (0, 3, "I10")), gold)])
    assert (scores["mlcx_micro_p"], scores["mlcx_micro_r"]) == pytest.approx((1, 0.5))


def test_mention_with_several_codes_has_an_item_for_each(nlp):
    gold, pred = doc(nlp, (0, 3, "I10|I50")), doc(nlp, (0, 3, "I50"))
    scores = score_coding([Example(pred, gold)])
    assert (scores["el_micro_p"], scores["el_micro_r"]) == pytest.approx((1, 0.5))
    assert scores["mlcx_micro_r"] == pytest.approx(0.5)


def test_documents_without_codes_are_left_out(nlp):
    coded, plain = doc(nlp, (0, 3, "I10")), doc(nlp, (0, 3, ""))
    examples = [Example(coded, coded), Example(coded, plain)]
    assert score_coding(examples)["el_micro_p"] == pytest.approx(1)
    assert score_coding(examples)["mlcx_micro_p"] == pytest.approx(1)
    assert set(score_coding(examples[1:]).values()) == {None}
    # one whose codes alone are stated has no mentions to score
    stated = nlp.make_doc(plain.text)
    set_codes(stated, ["I10"])
    scores = score_coding([Example(coded, stated)])
    assert scores["el_micro_f"] is None and scores["mlcx_micro_f"] == pytest.approx(1)


def test_codes_beside_an_empty_group_say_nothing_of_mentions(nlp):
    pred = doc(nlp, (0, 3, "I10"))
    stated, nothing, no_codes = doc(nlp, codes=["I10"]), doc(nlp), doc(nlp, codes=[])
    linked = Example(pred, doc(nlp, (0, 3, "I10")))
    scores = score_coding([linked, Example(pred, stated)])
    assert scores["el_micro_p"] == scores["el_spans_micro_p"] == pytest.approx(1)
    assert scores["mlcx_micro_r"] == pytest.approx(1)
    # where there are no codes, there is nothing to find
    for gold in (nothing, no_codes):
        assert score_coding([linked, Example(pred, gold)])["el_micro_p"] == pytest.approx(0.5)


def test_other_group_and_docbin(nlp):
    gold = doc(nlp, (0, 3, "I10"), codes=["I10", "E11"], key="dx")
    (again,) = DocBin(store_user_data=True, docs=[gold]).get_docs(nlp.vocab)
    pred = doc(nlp, (0, 3, "I10"), key="dx")
    scores = make_coding_scorer("dx")([Example(pred, again)])
    assert scores["mlcx_micro_r"] == pytest.approx(0.5) and scores["el_micro_f"] == pytest.approx(1)
    assert make_coding_scorer()([Example(pred, again)], spans_key="dx") == scores


def test_scoring_changes_nothing(nlp):
    gold = doc(nlp, (0, 3, "I10"))
    before = gold.to_bytes()
    score_coding([Example(gold, gold)])
    assert gold.to_bytes() == before
