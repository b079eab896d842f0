import numpy
import pytest
from spacy.tokens import Doc
from spacy.training import Example

from spacy_bioie.annotation import Mention, set_mentions
from spacy_bioie.scoring.spans import score_spans
from spacy_bioie.scoring.tokens import score_tokens, token_tags

TEXT = "Gut bacteria in mice change human gut bacteria ."


def example(nlp, gold, pred, words=None):
    reference = nlp.make_doc(TEXT)
    predicted = nlp.make_doc(TEXT) if words is None else Doc(nlp.vocab, words)
    for doc, mentions in ((reference, gold), (predicted, pred)):
        if mentions is not None:
            set_mentions(doc, "sc", [Mention(*mention) for mention in mentions])
    return Example(predicted, reference)


def test_tags(nlp):
    doc = nlp.make_doc(TEXT)
    mentions = [(0, 12, "a"), (16, 20, "b"), (28, 46, "a")]
    assert token_tags(doc, mentions) == ["B-a", "I-a", "O", "B-b", "O", "B-a", "I-a", "I-a", "O"]
    # half a token, and nothing
    assert token_tags(doc, [(1, 5, "a"), (6, 6, "b")])[:3] == ["B-a", "I-a", "O"]
    assert token_tags(nlp.make_doc(""), []) == []


def test_the_longest_of_mentions_that_share_a_token_counts(nlp):
    doc = nlp.make_doc(TEXT)
    assert token_tags(doc, [(0, 3, "a"), (0, 12, "b"), (4, 15, "c")])[:4] == [
        "B-b",
        "I-b",
        "O",
        "O",
    ]
    assert token_tags(doc, [(0, 3, "b"), (0, 3, "a")])[0] == "B-b"


def test_figures(nlp):
    # gold: B-a I-a O B-b O O O O O; found: B-a O O B-b O B-a O O O
    eg = example(nlp, [(0, 2, "a"), (3, 4, "b")], [(0, 1, "a"), (3, 4, "b"), (5, 6, "a")])
    scores = score_tokens([eg])
    assert scores["ner_token_accuracy"] == pytest.approx(7 / 9)
    of_tag = {"B-a": 2 / 3, "B-b": 1.0, "I-a": 0.0, "O": 2 * 5 / (6 + 6)}
    assert scores["ner_token_macro_f"] == pytest.approx(sum(of_tag.values()) / 4)
    weighted = (of_tag["B-a"] + of_tag["B-b"] + of_tag["I-a"] + 6 * of_tag["O"]) / 9
    assert scores["ner_token_weighted_f"] == pytest.approx(weighted)
    assert scores["ner_token_entity_micro_f"] == pytest.approx(2 * 2 / (3 + 3))
    # they stand beside those of whole mentions, which are lower
    beside = score_spans([eg])
    assert scores.items() <= beside.items()
    assert beside["ner_strict_micro_f"] == pytest.approx(2 / 5)


def test_figures_are_those_of_scikit_learn(nlp):
    from sklearn.metrics import accuracy_score, f1_score

    random = numpy.random.default_rng(0)
    drawn = []
    for _ in range(30):
        starts = random.integers(0, 8, size=(2, 2))
        labels = random.choice(["a", "b", "c"], size=(2, 2))
        drawn.append(
            [
                [
                    (int(s), int(s) + 1 + i, str(label))
                    for i, (s, label) in enumerate(zip(*side, strict=True))
                ]
                for side in zip(starts, labels, strict=True)
            ]
        )
    egs = [example(nlp, gold, pred) for gold, pred in drawn]
    true, given = [
        [
            tag
            for eg in egs
            for tag in token_tags(
                eg.reference, [(x.start_char, x.end_char, x.label_) for x in doc(eg).spans["sc"]]
            )
        ]
        for doc in (lambda eg: eg.reference, lambda eg: eg.predicted)
    ]
    expected = {
        "ner_token_accuracy": accuracy_score(true, given),
        "ner_token_macro_f": f1_score(true, given, average="macro"),
        "ner_token_weighted_f": f1_score(true, given, average="weighted"),
        "ner_token_entity_micro_f": f1_score(
            true, given, average="micro", labels=sorted({*true, *given} - {"O"})
        ),
    }
    assert score_tokens(egs) == pytest.approx(expected)


def test_other_tokens_of_the_prediction_are_brought_to_those_of_the_reference(nlp):
    words = ["Gut bacteria", *TEXT.split()[2:]]
    eg = example(nlp, [(0, 2, "a")], [(0, 1, "a")], words)
    assert score_tokens([eg])["ner_token_macro_f"] == pytest.approx(1.0)


def test_nothing_found_and_nothing_annotated(nlp):
    scores = score_tokens([example(nlp, [(0, 2, "a")], None)])
    assert scores["ner_token_accuracy"] == pytest.approx(7 / 9)
    assert scores["ner_token_entity_micro_f"] == 0.0
    left_out = [example(nlp, None, [(0, 2, "a")])]
    assert set(score_tokens(left_out).values()) == set(score_tokens([]).values()) == {None}
