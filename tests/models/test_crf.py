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
    tag_log_probabilities,
    unpack,
    viterbi,
    word_log_likelihoods,
)
from spacy_bioie.models.tag_schemes import N_ROLES

LENGTHS = [2, 4, 1, 3, 4]
DOUBLE = torch.float64


def is_legal(path, scheme="BIO"):
    """The rules of both schemes, written for one path at a time."""
    if scheme == "BIO":
        before = 0
        for tag in path:
            if tag > 0 and tag % 2 == 0 and before not in (tag, tag - 1):
                return False
            before = tag
        return True
    names = ["O", *(f"{role}{i}" for i in range(9) for role in "BIES")]
    inside = ""  # the label of the span that is not closed yet
    for name in [names[tag] for tag in path]:
        role, label = name[0], name[1:]
        if (role in "IE") != bool(inside) or (inside and inside != label):
            return False
        inside = label if role in "BI" else ""
    return not inside


def make_crf(n_chains=2, n_labels=1, scheme="BIO", lengths=LENGTHS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    k = 1 + N_ROLES[scheme] * n_labels

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=DOUBLE)

    start, transitions, end = mask_illegal(
        draw(n_chains, k), draw(n_chains, k, k), draw(n_chains, k), scheme
    )
    crf = Potentials(draw(sum(lengths), n_chains, k), start, transitions, end)
    return crf, pack(numpy.asarray(lengths, dtype="int64"), torch.device("cpu"))


def enumerate_paths(crf, lengths, scheme="BIO"):
    """For each sequence and chain: all legal paths and their scores, computed one by one."""
    tables = {}
    offset = 0
    for s, length in enumerate(lengths):
        for c in range(crf.start.shape[0]):
            paths, scores = [], []
            for path in product(range(crf.start.shape[1]), repeat=length):
                if not is_legal(path, scheme):
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


SHAPES = pytest.mark.parametrize(
    "n_chains,n_labels,scheme", [(2, 1, "BIO"), (1, 2, "BIO"), (2, 1, "BIOES"), (1, 2, "BIOES")]
)


@SHAPES
def test_partition_and_likelihood_agree_with_enumeration(n_chains, n_labels, scheme):
    crf, packing = make_crf(n_chains, n_labels, scheme)
    tables = enumerate_paths(crf, LENGTHS, scheme)
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
def test_viterbi_agrees_with_enumeration(n_chains, n_labels, scheme):
    for seed in range(5):
        crf, packing = make_crf(n_chains, n_labels, scheme, seed=seed)
        best = viterbi(crf, packing)
        starts = numpy.cumsum(LENGTHS) - LENGTHS
        for (s, c), (paths, scores) in enumerate_paths(crf, LENGTHS, scheme).items():
            found = best[starts[s] : starts[s] + LENGTHS[s], c].tolist()
            assert found == paths[int(scores.argmax())].tolist()


@SHAPES
def test_marginals_agree_with_enumeration(n_chains, n_labels, scheme):
    crf, packing = make_crf(n_chains, n_labels, scheme)
    forward = forward_scores(crf, packing)
    log_z = log_partition(crf, packing, forward)
    joint = unpack(forward, packing) + unpack(backward_scores(crf, packing), packing)
    marginals = (joint - log_z[packing.sequence][:, :, None]).exp()
    starts = numpy.cumsum(LENGTHS) - LENGTHS
    for (s, c), (paths, scores) in enumerate_paths(crf, LENGTHS, scheme).items():
        p = scores.softmax(0)
        for t in range(LENGTHS[s]):
            for tag in range(crf.start.shape[1]):
                expected = p[torch.from_numpy(paths[:, t] == tag)].sum()
                torch.testing.assert_close(marginals[starts[s] + t, c, tag], expected)


@SHAPES
def test_span_probabilities_agree_with_enumeration(n_chains, n_labels, scheme):
    crf, packing = make_crf(n_chains, n_labels, scheme)
    starts = numpy.cumsum(LENGTHS) - LENGTHS
    rows, expected = [], []
    for (s, c), (paths, scores) in enumerate_paths(crf, LENGTHS, scheme).items():
        p = scores.softmax(0)
        for first in range(LENGTHS[s]):
            for last in range(first + 1, LENGTHS[s] + 1):
                for label in range(n_labels):
                    begin = 1 + N_ROLES[scheme] * label
                    inside = begin + 1
                    span = [begin] + [inside] * (last - first - 1)
                    if scheme == "BIOES":
                        span = [*span[:-1], begin + 2] if len(span) > 1 else [begin + 3]
                    holds = (paths[:, first:last] == span).all(axis=1)
                    if last < LENGTHS[s]:
                        holds &= paths[:, last] != inside
                    rows.append((starts[s] + first, starts[s] + last, c, label))
                    expected.append(p[torch.from_numpy(holds)].sum())
    columns = torch.from_numpy(numpy.asarray(rows)).T
    found = span_log_probabilities(crf, packing, *columns, scheme=scheme).exp()
    torch.testing.assert_close(found, torch.stack(expected))


@SHAPES
def test_tag_probabilities_agree_with_enumeration(n_chains, n_labels, scheme):
    crf, packing = make_crf(n_chains, n_labels, scheme)
    found = tag_log_probabilities(crf, packing).exp()
    starts = numpy.cumsum(LENGTHS) - LENGTHS
    for (s, c), (paths, scores) in enumerate_paths(crf, LENGTHS, scheme).items():
        p = scores.softmax(0)
        for t in range(LENGTHS[s]):
            for tag in range(found.shape[2]):
                expected = p[torch.from_numpy(paths[:, t] == tag)].sum()
                torch.testing.assert_close(found[starts[s] + t, c, tag], expected)


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_gradient_of_likelihood_in_all_potentials(scheme):
    crf, packing = make_crf(n_chains=2, n_labels=1, scheme=scheme, lengths=[2, 4, 1])
    other = make_crf(n_chains=2, n_labels=1, scheme=scheme, lengths=[2, 4, 1], seed=7)[0]
    tags = viterbi(other, packing)  # any legal tags that are not the best ones
    weights = torch.rand(tags.shape, dtype=DOUBLE)

    def loss(emissions, start, transitions, end):
        masked = mask_illegal(start, transitions, end, scheme)
        words = word_log_likelihoods(Potentials(emissions, *masked), tags, packing)
        return (words * weights).sum()

    inputs = [x.nan_to_num(neginf=0.0).clone().requires_grad_() for x in crf]
    assert torch.autograd.gradcheck(loss, inputs)
    loss(*inputs).backward()
    assert all(float(x.grad.abs().sum()) > 0 for x in inputs)
    assert float(inputs[2].grad[:, 0, 2].abs().sum()) == 0.0  # O to I is barred


@SHAPES
def test_likelihoods_of_words_agree_with_enumeration(n_chains, n_labels, scheme):
    """Each is the probability of the tag among the paths that begin with the gold tags."""
    crf, packing = make_crf(n_chains, n_labels, scheme)
    tags = viterbi(make_crf(n_chains, n_labels, scheme, seed=3)[0], packing)
    found = word_log_likelihoods(crf, tags, packing)
    starts = numpy.cumsum(LENGTHS) - LENGTHS
    for (s, c), (paths, scores) in enumerate_paths(crf, LENGTHS, scheme).items():
        gold = tags[starts[s] : starts[s] + LENGTHS[s], c].numpy()
        before = torch.logsumexp(scores, 0)
        for t in range(LENGTHS[s]):
            agrees = torch.from_numpy((paths[:, : t + 1] == gold[: t + 1]).all(axis=1))
            upto = torch.logsumexp(scores[agrees], 0)
            torch.testing.assert_close(found[starts[s] + t, c], upto - before)
            before = upto


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


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_legal_steps_are_those_of_legal_paths(scheme):
    n_tags = 1 + 2 * N_ROLES[scheme]
    start, transitions, end = (
        x[0].isfinite().numpy()
        for x in mask_illegal(*(torch.zeros(1, *[n_tags] * n) for n in (1, 2, 1)), scheme)
    )
    expected = numpy.zeros((n_tags, n_tags), dtype=bool)
    for path in product(range(n_tags), repeat=4):
        if is_legal(path, scheme):
            expected[path[:-1], path[1:]] = True
            assert start[path[0]] and end[path[-1]]
    assert (transitions == expected).all()
    singles = [is_legal([tag], scheme) for tag in range(n_tags)]
    assert (start & end).tolist() == singles


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
