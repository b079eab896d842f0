"""CRF runs do not collapse: whatever the seed, a small corpus is learned about as well."""

import random
import statistics

import pytest
import spacy
from spacy.training import Corpus
from spacy.util import fix_random_seed, minibatch
from thinc.api import warmup_linear

from spacy_bioie.formats import convert
from spacy_bioie.training.optimizers import LayeredAdam_v1

from ..sample_training import SAMPLE
from ..span_pipeline import TOK2VEC, model_config

SEEDS = range(5)
N_TRAIN = 24
EPOCHS = 8
BATCH = 4

pytestmark = [
    pytest.mark.slow,
    # nested mentions of the sample, which one chain of tags cannot find
    pytest.mark.filterwarnings("ignore:.*cannot be learned:UserWarning"),
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The sample's training documents, a few of them, and its dev documents."""
    folder = tmp_path_factory.mktemp("corpus")
    for split in ("train", "dev"):
        convert(SAMPLE / "articles", folder / f"{split}.json", split=split)
        convert(folder / f"{split}.json", folder / f"{split}.spacy")
    return folder


def train_and_evaluate(corpus, seed, **settings):
    fix_random_seed(seed)
    nlp = spacy.blank("en")
    tok2vec = {**TOK2VEC, "width": 64, "embed_size": 1000}
    nlp.add_pipe("nested_spancat", config={"model": model_config(tok2vec=tok2vec, **settings)})
    train = list(Corpus(corpus / "train.spacy")(nlp))[:N_TRAIN]
    nlp.initialize(lambda: train)
    steps = EPOCHS * N_TRAIN // BATCH
    # transitions that learn 30 times as fast as the rest, which itself learns fast
    rate = warmup_linear(0.01, steps // 10, steps)
    optimizer = LayeredAdam_v1(rate, scales={"crf": 30.0, "alpha": 5.0})
    for _ in range(EPOCHS):
        random.shuffle(train)
        for batch in minibatch(train, BATCH):
            nlp.update(batch, sgd=optimizer)
            optimizer.step_schedules()
    return nlp.evaluate(list(Corpus(corpus / "dev.spacy")(nlp)))["spans_sc_f"]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"scheme": "BIOES", "loss": {"@misc": "spacy_bioie.AdaptiveMix.v1", "per": "sequence"}},
    ],
    ids=["default", "BIOES-mixed-loss"],
)
def test_no_seed_ends_under_half_the_median(corpus, settings):
    figures = [train_and_evaluate(corpus, seed, **settings) for seed in SEEDS]
    median = statistics.median(figures)
    assert median > 0.4, figures
    assert min(figures) >= median / 2, figures
