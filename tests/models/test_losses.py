"""Losses against their definitions."""

import math

import numpy
import pytest
import torch
from spacy import registry

from spacy_bioie.models.crf import Potentials, log_likelihood, mask_illegal, pack
from spacy_bioie.models.losses import (
    AdaptiveMix_v1,
    CrfLikelihood_v1,
    GoldTags,
    TokenCrossEntropy_v1,
)

NOTHING = torch.zeros(0)
LENGTHS = [3, 4]
LOSSES = pytest.mark.parametrize(
    "loss",
    [
        TokenCrossEntropy_v1(),
        CrfLikelihood_v1("token"),
        CrfLikelihood_v1("sequence"),
        AdaptiveMix_v1("learned"),
        AdaptiveMix_v1("bounded", bounds=[0.2, 0.7]),
        AdaptiveMix_v1("fixed", alpha=0.3),
        AdaptiveMix_v1("uncertainty"),
        AdaptiveMix_v1("gradnorm"),
    ],
    ids=[
        *("cross-entropy", "crf", "crf-sequence"),
        *("learned", "bounded", "fixed", "uncertainty", "gradnorm"),
    ],
)


def make_gold(tags, lengths, weights=None, doc_weights=None):
    tags = torch.as_tensor(tags)
    of_words = torch.ones(len(tags)) if doc_weights is None else torch.tensor(doc_weights)
    weights = torch.ones(tags.shape) if weights is None else torch.tensor(weights)
    return GoldTags(
        tags=tags,
        weights=weights * of_words[:, None],
        doc_weights=of_words,
        packing=pack(numpy.asarray(lengths, dtype="int64"), torch.device("cpu")),
    )


def free(emissions):
    shape = emissions.shape[1:]
    none = torch.zeros(shape)
    return Potentials(emissions, none, torch.zeros((*shape, shape[-1])), none)


def draw(n_words=7, n_chains=2, seed=0):
    """Scores of a CRF and legal tags."""
    generator = torch.Generator().manual_seed(seed)
    emissions = torch.randn((n_words, n_chains, 3), generator=generator)
    steps = (torch.randn(n_chains, *[3] * n, generator=generator) for n in (1, 2, 1))
    tags = torch.randint(0, 2, (n_words, n_chains), generator=generator)
    return Potentials(emissions, *mask_illegal(*steps)), tags


def learned_of(loss):
    return torch.tensor(loss.initial)


def test_registered():
    for make in (TokenCrossEntropy_v1, CrfLikelihood_v1, AdaptiveMix_v1):
        name = f"spacy_bioie.{make.__name__.replace('_', '.')}"
        assert registry.get("misc", name) is make


def test_cross_entropy_is_a_mean_over_words_summed_over_chains():
    emissions = torch.zeros((4, 2, 3))
    tags = torch.tensor([[0, 1], [2, 0], [0, 0], [1, 2]])
    loss, gold = TokenCrossEntropy_v1(), make_gold(tags, [4])
    assert math.isclose(float(loss(free(emissions), gold, NOTHING)), 2 * math.log(3), rel_tol=1e-6)
    emissions[range(4), 0, tags[:, 0]] = 100.0
    assert math.isclose(float(loss(free(emissions), gold, NOTHING)), math.log(3), rel_tol=1e-6)


def test_crf_likelihood_without_constraints_or_transitions_is_cross_entropy():
    scores, tags = draw()
    gold = make_gold(tags, LENGTHS)
    scores = free(scores.emissions)
    torch.testing.assert_close(
        CrfLikelihood_v1()(scores, gold, NOTHING), TokenCrossEntropy_v1()(scores, gold, NOTHING)
    )


def test_crf_likelihood_per_token_and_per_sequence():
    scores, tags = draw()
    gold = make_gold(tags, LENGTHS)
    total = -log_likelihood(scores, tags, gold.packing).sum()
    torch.testing.assert_close(CrfLikelihood_v1("token")(scores, gold, NOTHING), total / 7)
    torch.testing.assert_close(CrfLikelihood_v1("sequence")(scores, gold, NOTHING), total / 2)


def test_barring_illegal_steps_raises_the_likelihood_of_legal_tags():
    emissions = torch.zeros((5, 1, 3))
    gold = make_gold(torch.tensor([0, 1, 2, 0, 1])[:, None], [5])
    unbarred = free(emissions)
    masked = Potentials(emissions, *mask_illegal(*unbarred[1:]))
    loss = CrfLikelihood_v1()
    assert loss(masked, gold, NOTHING) < loss(unbarred, gold, NOTHING)


@LOSSES
def test_nothing_to_learn_from_has_loss_and_gradient_zero(loss):
    scores, tags = draw()
    nothing = scores._replace(emissions=scores.emissions[:0])
    for potentials, gold in (
        (nothing, make_gold(tags[:0], [])),
        (scores, make_gold(tags, LENGTHS, doc_weights=[0.0] * 7)),
    ):
        learned = learned_of(loss).requires_grad_()
        emissions = potentials.emissions.clone().requires_grad_()
        value = loss(potentials._replace(emissions=emissions), gold, learned)
        assert float(value.detach()) == 0.0
        value.backward()
        assert not emissions.grad.any()
        assert learned.grad is None or not learned.grad.any()


@LOSSES
def test_weights_of_documents_make_a_weighted_mean(loss):
    scores, tags = draw()
    learned = learned_of(loss)
    alone = []
    for part, length in ((slice(0, 3), 3), (slice(3, 7), 4)):
        one = scores._replace(emissions=scores.emissions[part])
        alone.append(loss(one, make_gold(tags[part], [length]), learned))
    both = loss(scores, make_gold(tags, LENGTHS, doc_weights=[0.25] * 3 + [2.0] * 4), learned)
    sizes = {"token": (3, 4), "sequence": (1, 1)}[getattr(loss, "per", "token")]
    weights = [0.25 * sizes[0], 2.0 * sizes[1]]
    expected = sum(w * x for w, x in zip(weights, alone, strict=True)) / sum(weights)
    torch.testing.assert_close(both, expected)


def test_weights_of_tags_count_for_words():
    scores, tags = draw()
    weights = numpy.ones((7, 2), dtype="float32")
    weights[2, 1] = 3.0
    for loss in (TokenCrossEntropy_v1(), CrfLikelihood_v1("token")):
        plain = loss(scores, make_gold(tags, LENGTHS), NOTHING)
        only = numpy.zeros((7, 2), dtype="float32")
        only[2, 1] = 1.0
        word = loss(scores, make_gold(tags, LENGTHS, weights=only), NOTHING)
        weighted = loss(scores, make_gold(tags, LENGTHS, weights=weights), NOTHING)
        torch.testing.assert_close(weighted, plain + 2 * word)
        assert word > 0


@pytest.mark.parametrize("per", ["token", "sequence"])
def test_mix_is_that_of_both_losses(per):
    scores, tags = draw()
    gold = make_gold(tags, LENGTHS)
    token = float(TokenCrossEntropy_v1()(scores, gold, NOTHING))
    crf = float(CrfLikelihood_v1(per)(scores, gold, NOTHING))
    modes = [("learned", 0.5), ("fixed", 0.3), ("bounded", 0.4), ("learned", 0.9)]
    for mode, alpha in [*modes, ("gradnorm", 0.2)]:
        loss = AdaptiveMix_v1(mode, per, alpha)
        learned = learned_of(loss)
        assert float(loss(scores, gold, learned)) == pytest.approx(
            alpha * token + (1 - alpha) * crf
        )
        assert loss.values(learned) == {"alpha": pytest.approx(alpha)}
        assert loss.initial == () if mode == "fixed" else len(loss.initial) == 1
    loss = AdaptiveMix_v1("uncertainty", per, 0.25)
    s = torch.tensor([0.3, -0.7])
    expected = 0.5 * (math.exp(-0.3) * token + math.exp(0.7) * crf + 0.3 - 0.7)
    assert float(loss(scores, gold, s)) == pytest.approx(expected)
    assert loss.values(learned_of(loss)) == {"alpha": pytest.approx(0.25)}


def test_learned_alpha_moves_to_the_smaller_loss_and_stays_in_its_bounds():
    scores, tags = draw()
    gold = make_gold(tags, LENGTHS)
    ends = {}
    for mode in ("learned", "bounded"):
        loss = AdaptiveMix_v1(mode, "sequence", 0.5, [0.2, 0.7])
        learned = learned_of(loss).requires_grad_()
        values = []
        for _ in range(200):
            (gradient,) = torch.autograd.grad(loss(scores, gold, learned), [learned])
            learned = (learned - gradient).detach().requires_grad_()
            values.append(loss.values(learned)["alpha"])
        assert values == sorted(values)  # a cross-entropy per word is below a sequence's likelihood
        ends[mode] = values[-1]
    assert ends["learned"] > 0.99
    assert 0.65 < ends["bounded"] <= 0.7


def test_uncertainty_weights_each_loss_by_its_size():
    """At its minimum over s the weight exp(-s) of a loss L is 1 / L."""
    scores, tags = draw()
    gold = make_gold(tags, LENGTHS)
    loss = AdaptiveMix_v1("uncertainty", "sequence")
    learned = learned_of(loss).requires_grad_()
    for _ in range(500):
        (gradient,) = torch.autograd.grad(loss(scores, gold, learned), [learned])
        learned = (learned - 0.2 * gradient).detach().requires_grad_()
    token = TokenCrossEntropy_v1()(scores, gold, NOTHING)
    crf = CrfLikelihood_v1("sequence")(scores, gold, NOTHING)
    torch.testing.assert_close(learned.exp(), torch.stack([token, crf]), rtol=1e-3, atol=1e-3)
    assert loss.values(learned)["alpha"] == pytest.approx(float(crf / (crf + token)), abs=1e-3)


@pytest.mark.parametrize("per", ["token", "sequence"])
def test_gradnorm_evens_the_lengths_of_gradients(per):
    scores, tags = draw()
    scores = scores._replace(emissions=scores.emissions.requires_grad_())
    gold = make_gold(tags, LENGTHS)
    parts = TokenCrossEntropy_v1(), CrfLikelihood_v1(per)
    losses = [loss(scores, gold, NOTHING) for loss in parts]
    lengths = [
        float(torch.autograd.grad(loss, scores.emissions, retain_graph=True)[0].norm())
        for loss in losses
    ]
    n_chains, n_tags = scores.emissions.shape[1:]
    begin = n_chains * math.log(n_tags)
    begins = [begin, begin * (sum(LENGTHS) / len(LENGTHS) if per == "sequence" else 1)]
    rates = [float(loss.detach()) / first for loss, first in zip(losses, begins, strict=True)]
    for restoring in (0.0, 1.5):
        loss = AdaptiveMix_v1("gradnorm", per, 0.9, restoring=restoring)
        learned = learned_of(loss).requires_grad_()
        for step in range(1500):
            value = loss(scores, gold, learned)
            (gradient,) = torch.autograd.grad(value, [learned])
            learned = (learned - 0.2 * 0.995**step * gradient).detach().requires_grad_()
        alpha = loss.values(learned)["alpha"]
        assert float(value) == pytest.approx(
            alpha * float(losses[0]) + (1 - alpha) * float(losses[1]), abs=1e-2
        )
        # The weighted length of each is the mean of both, times its rate to the mean one
        powers = [(rate / (sum(rates) / 2)) ** restoring for rate in rates]
        weighted = [alpha * lengths[0], (1 - alpha) * lengths[1]]
        differences = [
            length - power * sum(weighted) / 2
            for length, power in zip(weighted, powers, strict=True)
        ]
        if restoring == 0.0:
            assert weighted[0] == pytest.approx(weighted[1], rel=0.02)
        assert min(map(abs, differences)) == pytest.approx(0.0, abs=0.02 * sum(weighted))


def test_gradnorm_leaves_the_other_gradients_as_they_are():
    scores, tags = draw()
    gold = make_gold(tags, LENGTHS)
    emissions = scores.emissions.requires_grad_()
    found = []
    for mode in ("gradnorm", "fixed"):
        loss = AdaptiveMix_v1(mode, "sequence", 0.3)
        value = loss(scores._replace(emissions=emissions), gold, learned_of(loss).requires_grad_())
        found.append(torch.autograd.grad(value, [emissions])[0])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    "make,settings,message",
    [
        (CrfLikelihood_v1, {"per": "word"}, "per is 'word'"),
        (AdaptiveMix_v1, {"mode": "free"}, "mode is 'free'"),
        (AdaptiveMix_v1, {"per": "word"}, "per is 'word'"),
        (AdaptiveMix_v1, {"alpha": 1.0}, "alpha is 1.0"),
        (AdaptiveMix_v1, {"mode": "bounded", "alpha": 0.95}, "alpha is 0.95.*below 0.9"),
        (AdaptiveMix_v1, {"bounds": [0.5, 0.5]}, r"bounds are \[0.5, 0.5\]"),
        (AdaptiveMix_v1, {"mode": "gradnorm", "restoring": -1.0}, "restoring is -1.0"),
    ],
)
def test_settings_are_checked(make, settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)
