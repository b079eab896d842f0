"""The reranker of candidates: its loss, its fit, and what it is saved as."""

from dataclasses import replace

import numpy
import pytest

from spacy_bioie.models.candidate_reranker import (
    CandidateReranker_v1,
    CandidateRows,
    candidate_scores,
    fit_reranker,
    group_cross_entropy,
    group_probabilities,
    is_fitted,
    join_rows,
)


@pytest.fixture(scope="module")
def groups():
    """Scores, groups of one to four rows in no order, and the right rows, two in group 1."""
    scores = numpy.random.default_rng(0).normal(size=8) * 3
    gold = numpy.asarray([0, 1, 1, 0, 0, 1, 1, 0], dtype="bool")
    return scores, numpy.asarray([0, 1, 1, 2, 2, 2, 0, 1]), gold


def make_data(n_groups=60, seed=0):
    """Groups of three rows, whose right one has the greatest value in the second column.

    The third column is the same everywhere, the fourth a thousand times wider than the others.
    """
    rng = numpy.random.default_rng(seed)
    features = rng.normal(size=(n_groups * 3, 4)).astype("float32")
    features[:, 2] = 0.1
    features[:, 3] = 1000 * features[:, 3] + 5000
    greatest = features[:, 1].reshape((-1, 3)).argmax(axis=1)
    gold = numpy.zeros((n_groups, 3), dtype="bool")
    gold[numpy.arange(n_groups), greatest] = True
    return features, numpy.repeat(numpy.arange(n_groups), 3), gold.ravel()


def make_model(**settings):
    return CandidateReranker_v1(**settings).model


def right_first(model, features, groups, gold):
    """The share of groups whose highest score has the right row."""
    scores = candidate_scores(model, features).reshape((-1, 3))
    return (scores.argmax(axis=1) == gold.reshape((-1, 3)).argmax(axis=1)).mean()


@pytest.fixture(scope="module")
def fitted():
    model = make_model(hidden_size=8)
    loss = fit_reranker(model, *make_data())
    return model, loss


def test_loss_and_gradient_against_torch(groups):
    import torch

    scores, of_row, gold = groups
    loss, gradient = group_cross_entropy(scores, of_row, gold)
    leaf = torch.tensor(scores, requires_grad=True)
    losses = []
    for group in range(3):
        rows = torch.tensor(of_row == group)
        right = torch.tensor((of_row == group) & gold)
        losses.append(leaf[rows].logsumexp(0) - leaf[right].logsumexp(0))
    expected = torch.stack(losses).mean()
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-9)
    numpy.testing.assert_allclose(gradient, leaf.grad.numpy(), atol=1e-7)


def test_gradient_by_finite_differences(groups):
    scores, of_row, gold = groups
    _, gradient = group_cross_entropy(scores, of_row, gold)
    for row in range(len(scores)):
        step = 1e-5 * (numpy.arange(len(scores)) == row)
        above, _ = group_cross_entropy(scores + step, of_row, gold)
        below, _ = group_cross_entropy(scores - step, of_row, gold)
        assert gradient[row] == pytest.approx((above - below) / 2e-5, abs=1e-6)


def test_probabilities_of_a_group_sum_to_one(groups):
    scores, of_row, _ = groups
    for shift in (0, 1e4, -1e4):
        probabilities = group_probabilities(scores + shift, of_row)
        assert numpy.bincount(of_row, weights=probabilities).tolist() == pytest.approx([1] * 3)
    chosen = of_row == 2
    exponents = numpy.exp(scores[chosen])
    expected = exponents / exponents.sum()
    numpy.testing.assert_allclose(group_probabilities(scores, of_row)[chosen], expected)
    assert group_probabilities(numpy.zeros((0,)), numpy.zeros((0,), dtype="int64")).shape == (0,)


def test_hopeless_scores_have_a_finite_loss():
    scores = numpy.asarray([1e4, -1e4])
    loss, gradient = group_cross_entropy(scores, numpy.zeros((2,), "int64"), numpy.arange(2) == 1)
    assert numpy.isfinite(loss) and loss > 10 and numpy.isfinite(gradient).all()


def test_fit_lowers_the_loss_and_is_right_on_new_rows(fitted):
    model, loss = fitted
    first = fit_reranker(make_model(hidden_size=8), *make_data(), epochs=1)
    assert loss < 0.5 * first
    assert right_first(model, *make_data(seed=1)) > 0.9


def test_fit_can_be_repeated():
    features, groups, gold = make_data()
    found = []
    # whatever other components have drawn before, and also where it was fitted before
    for _ in range(2):
        model = make_model(hidden_size=8)
        for _ in range(2):
            numpy.random.uniform(size=17)
            loss = fit_reranker(model, features, groups, gold, epochs=3)
            found.append((loss, *candidate_scores(model, features)))
    assert found[1:] == found[:1] * 3
    model = make_model(hidden_size=8)
    assert fit_reranker(model, features, groups, gold, epochs=3, seed=1) != found[0][0]


def test_dropout_is_of_the_fit_alone(fitted):
    features, groups, gold = make_data()
    model = make_model(hidden_size=8, dropout=0.0)
    assert fit_reranker(model, features, groups, gold) != fitted[1]
    scores = candidate_scores(fitted[0], features)
    numpy.testing.assert_array_equal(candidate_scores(fitted[0], features), scores)


def test_raw_features_are_read_after_the_fit(fitted):
    """Mean and deviation are in the weights: another scale makes the same scores."""
    features, groups, gold = make_data()
    scale, shift = numpy.asarray([3.0, 0.01, 1.0, 100.0]), numpy.asarray([5.0, -2.0, 0.0, 1.0])
    moved = (features * scale + shift).astype("float32")
    model = make_model(hidden_size=8)
    fit_reranker(model, moved, groups, gold)
    scores = candidate_scores(model, moved)
    expected = candidate_scores(fitted[0], features)
    assert scores.dtype == numpy.float64 and scores.shape == (len(features),)
    numpy.testing.assert_allclose(scores, expected, atol=0.02)
    assert numpy.abs(candidate_scores(model, features) - expected).max() > 0.5
    # what the loss of the fit says of standardized rows is true of raw ones
    loss, _ = group_cross_entropy(expected, groups, gold)
    assert loss == pytest.approx(fitted[1], abs=0.1)


def test_what_never_differed_has_no_weight(fitted):
    features, _, _ = make_data(seed=1)
    changed = features.copy()
    changed[:, 2] = 7.0
    expected = candidate_scores(fitted[0], features)
    numpy.testing.assert_array_equal(candidate_scores(fitted[0], changed), expected)
    assert numpy.abs(expected).max() < 100


def test_no_rows(fitted):
    assert candidate_scores(fitted[0], numpy.zeros((0, 4), dtype="float32")).shape == (0,)


def test_few_groups():
    features, groups, gold = make_data(n_groups=1)
    model = make_model(hidden_size=4)
    assert numpy.isfinite(fit_reranker(model, features, groups, gold))
    assert numpy.isfinite(candidate_scores(model, features)).all()


def make_rows(seed=0):
    """The rows of ``make_data`` in another order: the last one of each group comes first."""
    features, groups, gold = make_data(seed=seed)
    order = numpy.lexsort((groups, numpy.arange(len(groups)) % 3 != 2))
    n = int(groups.max()) + 1
    rows = CandidateRows(
        features=features[order],
        groups=groups[order],
        concepts=order % 3 - (order % 3 == 2) * 3,
        scores=numpy.zeros(len(order)),
        docs=[],
        tables=[numpy.zeros((n, 3), dtype="int64")],
        describe=lambda number: {},
    )
    return rows, gold[order]


def test_it_is_fitted_or_not_also_when_loaded_again(fitted):
    new = CandidateReranker_v1(hidden_size=8)
    assert not is_fitted(None) and not is_fitted(new)
    rows, gold = make_rows()
    loss = new.fit(rows, gold)
    assert is_fitted(new)
    loaded = CandidateReranker_v1(hidden_size=8)
    assert not is_fitted(loaded.from_bytes(CandidateReranker_v1(hidden_size=8).to_bytes()))
    loaded.from_bytes(new.to_bytes())
    assert is_fitted(loaded)
    numpy.testing.assert_array_equal(loaded.scores(rows), new.scores(rows))
    # the order of rows plays no part but for the sums
    assert loss == pytest.approx(fitted[1], rel=0.2)
    assert loaded.fit(rows, gold) == loss


def test_another_number_of_features_is_refused():
    rows, gold = make_rows()
    reranker = CandidateReranker_v1(hidden_size=8)
    reranker.fit(rows, gold)
    fewer = replace(rows, features=rows.features[:, :3])
    with pytest.raises(ValueError, match="fitted to 4 features of each candidate, and there are 3"):
        reranker.scores(fewer)


def test_rows_of_batches_are_joined():
    (one, _), (other, _) = make_rows(), make_rows(seed=1)
    joined = join_rows([one, other])
    n = len(one.groups)
    assert joined.groups[:n].tolist() == one.groups.tolist()
    assert joined.groups[n:].tolist() == (other.groups + 60).tolist()
    assert len(joined.tables) == 2
    for name in ("features", "concepts", "scores"):
        expected = numpy.concatenate([getattr(one, name), getattr(other, name)])
        numpy.testing.assert_array_equal(getattr(joined, name), expected)


@pytest.mark.parametrize("setting, value", [("hidden_size", 0), ("dropout", 1.0), ("dropout", -1)])
def test_settings_out_of_range(setting, value):
    with pytest.raises(ValueError, match=f"CandidateReranker: {setting} is {value}, expected"):
        CandidateReranker_v1(**{setting: value})
