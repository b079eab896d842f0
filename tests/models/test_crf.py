"""The CRF against an enumeration of all tag sequences."""

from itertools import product

import numpy
import pytest
import torch

from spacy_bioie.models.crf import (
    Potentials,
    backward_scores,
    forward_scores,
    log_likelihood,
    log_partition,
    mask_illegal,
    pack,
    span_log_probabilities,
    unpack,
    viterbi,
)

LENGTHS = [2, 4, 1, 3, 4]
DOUBLE = torch.float64


def is_legal(path):
    before = 0
    for tag in path:
        if tag > 0 and tag % 2 == 0 and before not in (tag, tag - 1):
            return False
        before = tag
    return True


def make_crf(n_chains=2, n_labels=1, lengths=LENGTHS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    k = 1 + 2 * n_labels

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=DOUBLE)

    start, transitions = mask_illegal(draw(n_chains, k), draw(n_chains, k, k))
    crf = Potentials(draw(sum(lengths), n_chains, k), start, transitions, draw(n_chains, k))
    return crf, pack(numpy.asarray(lengths, dtype="int64"), torch.device("cpu"))


def enumerate_paths(crf, lengths):
    """For each sequence and chain: all legal paths and their scores, computed one by one."""
    tables = {}
    offset = 0
    for s, length in enumerate(lengths):
        for c in range(crf.start.shape[0]):
            paths, scores = [], []
            for path in product(range(crf.start.shape[1]), repeat=length):
                if not is_legal(path):
                    continue
                score = crf.start[c, path[0]] + crf.end[c, path[-1]]
                for t, tag in enumerate(path):
                    score = score + crf.emissions[offset + t, c, tag]
                    if t:
                        score = score + crf.transitions[c, path[t - 1], tag]
                paths.append(path)
                scores.append(score)
            tables[s, c] = numpy.asarray(paths), torch.stack(scores)
        offset += length
    return tables


SHAPES = pytest.mark.parametrize("n_chains,n_labels", [(2, 1), (1, 2)])


@SHAPES
def test_partition_and_likelihood_agree_with_enumeration(n_chains, n_labels):
    crf, packing = make_crf(n_chains, n_labels)
    tables = enumerate_paths(crf, LENGTHS)
    log_z = log_partition(crf, packing, forward_scores(crf, packing))
    starts = numpy.cumsum(LENGTHS) - LENGTHS
    generator = numpy.random.default_rng(1)
    tags = torch.zeros((sum(LENGTHS), n_chains), dtype=torch.int64)
    expected = torch.zeros((len(LENGTHS), n_chains), dtype=DOUBLE)
    for (s, c), (paths, scores) in tables.items():
        torch.testing.assert_close(log_z[s, c], torch.logsumexp(scores, 0))
        chosen = generator.integers(len(paths))
        tags[starts[s] : starts[s] + LENGTHS[s], c] = torch.from_numpy(paths[chosen])
        expected[s, c] = scores[chosen] - torch.logsumexp(scores, 0)
    torch.testing.assert_close(log_likelihood(crf, tags, packing), expected)


@SHAPES
def test_viterbi_agrees_with_enumeration(n_chains, n_labels):
    for seed in range(5):
        crf, packing = make_crf(n_chains, n_labels, seed=seed)
        best = viterbi(crf, packing)
        starts = numpy.cumsum(LENGTHS) - LENGTHS
        for (s, c), (paths, scores) in enumerate_paths(crf, LENGTHS).items():
            found = best[starts[s] : starts[s] + LENGTHS[s], c].tolist()
            assert found == paths[int(scores.argmax())].tolist()


@SHAPES
def test_marginals_agree_with_enumeration(n_chains, n_labels):
    crf, packing = make_crf(n_chains, n_labels)
    forward = forward_scores(crf, packing)
    log_z = log_partition(crf, packing, forward)
    joint = unpack(forward, packing) + unpack(backward_scores(crf, packing), packing)
    marginals = (joint - log_z[packing.sequence][:, :, None]).exp()
    starts = numpy.cumsum(LENGTHS) - LENGTHS
    for (s, c), (paths, scores) in enumerate_paths(crf, LENGTHS).items():
        p = scores.softmax(0)
        for t in range(LENGTHS[s]):
            for tag in range(crf.start.shape[1]):
                expected = p[torch.from_numpy(paths[:, t] == tag)].sum()
                torch.testing.assert_close(marginals[starts[s] + t, c, tag], expected)


@SHAPES
def test_span_probabilities_agree_with_enumeration(n_chains, n_labels):
    crf, packing = make_crf(n_chains, n_labels)
    starts = numpy.cumsum(LENGTHS) - LENGTHS
    rows, expected = [], []
    for (s, c), (paths, scores) in enumerate_paths(crf, LENGTHS).items():
        p = scores.softmax(0)
        for first in range(LENGTHS[s]):
            for last in range(first + 1, LENGTHS[s] + 1):
                for label in range(n_labels):
                    begin, inside = 1 + 2 * label, 2 + 2 * label
                    holds = paths[:, first] == begin
                    holds &= (paths[:, first + 1 : last] == inside).all(axis=1)
                    if last < LENGTHS[s]:
                        holds &= paths[:, last] != inside
                    rows.append((starts[s] + first, starts[s] + last, c, label))
                    expected.append(p[torch.from_numpy(holds)].sum())
    columns = torch.from_numpy(numpy.asarray(rows)).T
    found = span_log_probabilities(crf, packing, *columns).exp()
    torch.testing.assert_close(found, torch.stack(expected))


def test_gradient_of_likelihood_in_all_potentials():
    crf, packing = make_crf(n_chains=2, n_labels=1)
    tags = viterbi(crf, packing).roll(1, 0)
    tags[tags == 2] = 1  # any legal tags that are not the best ones

    def loss(emissions, start, transitions, end):
        masked = mask_illegal(start, transitions)
        return log_likelihood(Potentials(emissions, *masked, end), tags, packing).sum()

    inputs = [x.nan_to_num(neginf=0.0).clone().requires_grad_() for x in crf]
    assert torch.autograd.gradcheck(loss, inputs)
    loss(*inputs).backward()
    assert all(float(x.grad.abs().sum()) > 0 for x in inputs)
    assert float(inputs[2].grad[:, 0, 2].abs().sum()) == 0.0  # O to I is barred


def test_padding_free_batch_equals_single_sequences():
    crf, packing = make_crf(n_chains=1, n_labels=3, lengths=[30, 7, 1, 12])
    tags = viterbi(crf, packing)
    together = log_likelihood(crf, tags, packing)
    offset = 0
    for s, length in enumerate([30, 7, 1, 12]):
        part = slice(offset, offset + length)
        alone = crf._replace(emissions=crf.emissions[part])
        one = pack(numpy.asarray([length]), torch.device("cpu"))
        torch.testing.assert_close(log_likelihood(alone, tags[part], one), together[s : s + 1])
        assert torch.equal(viterbi(alone, one), tags[part])
        offset += length


def test_no_words():
    crf, packing = make_crf(n_chains=2, n_labels=2, lengths=[])
    none = torch.zeros((0,), dtype=torch.int64)
    assert viterbi(crf, packing).shape == (0, 2)
    assert log_likelihood(crf, none.reshape(0, 2), packing).shape == (0, 2)
    assert span_log_probabilities(crf, packing, none, none, none, none).shape == (0,)


def test_illegal_steps_have_no_probability():
    crf, packing = make_crf(n_chains=1, n_labels=2)
    tags = torch.zeros((sum(LENGTHS), 1), dtype=torch.int64)
    tags[0] = 2  # I at the start of the first sequence
    assert torch.isneginf(log_likelihood(crf, tags, packing)[0, 0])
    tags[0], tags[1] = 1, 4  # B of one label, then I of the other
    assert torch.isneginf(log_likelihood(crf, tags, packing)[0, 0])


def test_single_precision_on_a_long_sequence():
    length = 1024
    crf, packing = make_crf(n_chains=1, n_labels=13, lengths=[length])
    exact = log_partition(crf, packing, forward_scores(crf, packing))
    single = Potentials(*(x.float() for x in crf))
    found = log_partition(single, packing, forward_scores(single, packing))
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-3)
