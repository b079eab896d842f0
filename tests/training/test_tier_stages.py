"""Training on all tiers first, then on the good ones."""

import pytest
import spacy
from spacy.cli.train import train
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.util import registry

from spacy_bioie.annotation import set_tier
from spacy_bioie.training.update_counter import UPDATES

from ..pipelines import ARTICLES, make_pipeline, make_reference, training_config

TIERS = ["silver", "gold", "silver", "platinum", "silver", ""]


def make_batcher(**settings):
    inner = registry.batchers.get("spacy.batch_by_sequence.v1")(size=2, get_length=None)
    return registry.batchers.get("spacy_bioie.TierStages.v1")(batcher=inner, **settings)


@pytest.fixture
def examples(nlp):
    docs = [nlp.make_doc(f"Text {i}.") for i in range(len(TIERS))]
    for doc, tier in zip(docs, TIERS, strict=True):
        if tier:
            set_tier(doc, tier)
    return [Example(nlp.make_doc(doc.text), doc) for doc in docs]


def texts_of(batches):
    return [[eg.text for eg in batch] for batch in batches]


def test_later_epochs_leave_other_tiers_out(examples):
    batch = make_batcher(epochs=2, tiers=["platinum", "gold"])
    everything = [["Text 0.", "Text 1."], ["Text 2.", "Text 3."], ["Text 4.", "Text 5."]]
    assert texts_of(batch(examples)) == everything
    assert texts_of(batch(iter(examples))) == everything
    for _ in range(3):  # in the order in which they come
        assert texts_of(batch(iter(examples))) == [["Text 1.", "Text 3."]]
        assert texts_of(batch(examples[::-1])) == [["Text 3.", "Text 1."]]
    # another training begins anew
    assert texts_of(make_batcher(epochs=1, tiers=["gold"])(examples)) == everything


def test_spacy_train_goes_through_both_stages(tmp_path):
    nlp = make_pipeline("", heads=["nested_spancat"])
    docs = [make_reference(nlp, ARTICLES[0]) for _ in range(5)]
    for doc, tier in zip(docs, ["silver"] * 3 + ["gold"] * 2, strict=True):
        set_tier(doc, tier)
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "train.spacy")
    config = training_config(
        nlp,
        str(tmp_path / "train.spacy"),
        max_epochs=3,
        max_steps=0,
        eval_frequency=100,
        score_weights={"spans_sc_f": 1.0},
        before_update={"@callbacks": "spacy_bioie.count_updates.v1"},
    )
    one = {"@batchers": "spacy.batch_by_sequence.v1", "size": 1}
    stages = {"@batchers": "spacy_bioie.TierStages.v1", "epochs": 1, "tiers": ["gold"]}
    config["training"]["batcher"] = {**stages, "batcher": one}
    config.to_disk(tmp_path / "config.cfg")
    train(tmp_path / "config.cfg", tmp_path / "output")
    assert spacy.load(tmp_path / "output" / "model-last").meta[UPDATES] == 5 + 2 * 2


def test_documents_without_a_tier_are_named_by_nothing(examples):
    assert texts_of(make_batcher(epochs=0, tiers=["", "gold"])(examples)) == [
        ["Text 1.", "Text 5."]
    ]


def test_no_documents(examples):
    batch = make_batcher(epochs=1, tiers=["gold"])
    assert [list(batch([])) for _ in range(2)] == [[], []]


@pytest.mark.parametrize(
    "settings,message",
    [
        ({"epochs": -1, "tiers": ["gold"]}, "epochs is -1, expected 0 or more"),
        ({"epochs": 1, "tiers": []}, "tiers is empty, expected those of the last epochs"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=f"TierStages: {message}"):
        make_batcher(**settings)


def test_tiers_that_no_document_has(examples):
    batch = make_batcher(epochs=1, tiers=["god", "golden"])  # known before the first epoch
    expected = r"tiers \['god', 'golden'\], .* corpus: \['', 'gold', 'platinum', 'silver'\]"
    with pytest.raises(ValueError, match=expected):
        list(batch(examples))
