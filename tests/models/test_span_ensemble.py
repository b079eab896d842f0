"""Averages of span models: of scores, of probabilities, over labels in any order."""

import numpy
import pytest
import torch
from thinc.util import xp2torch

from spacy_bioie.models.gliner_spans import GLiNER_v1
from spacy_bioie.models.pointer_head import PointerHead
from spacy_bioie.models.span_ensemble import SpanEnsemble_v1
from spacy_bioie.models.span_head import SPAN_HEAD, TEMPERATURE

from . import pointer_models
from .tagger_models import ALL_HEADS, BOTH_SCHEMES, get_module, make_docs, make_gold, make_model

ORDER = [2, 0, 1]  # places of the joint labels among those of the other member
METHODS = pytest.mark.parametrize("method", ["emissions", "tokens"])


def ensemble(*members, **settings):
    model = SpanEnsemble_v1(*members, **settings)
    model.set_dim("nO", 3)
    return model


def drawn(seed, *args, **settings):
    """A tagger with random parameters that finds some spans."""
    model = make_model(*args, **settings)
    torch.manual_seed(seed)
    for parameter in get_module(model).parameters():
        torch.nn.init.normal_(parameter)
    return model


def with_labels_in_other_order(model, *args, roles=2, **settings):
    """A tagger that says the same, but numbers the labels as ORDER does."""
    other = make_model(*args, **settings)
    state = {name: value.clone() for name, value in get_module(model).state_dict().items()}
    per_label = [[1 + roles * label + role for role in range(roles)] for label in range(3)]
    place = [ORDER.index(label) for label in range(3)]  # the joint label of each own one
    n_chains, n_tags = get_module(model).shape
    if n_chains == 1:
        tags, chains = [0, *(tag for label in place for tag in per_label[label])], [0]
    else:
        tags, chains = list(range(n_tags)), place
    for name, value in state.items():
        if name.startswith("head_output"):
            rows = value.unflatten(0, (n_chains, n_tags))
            state[name] = rows[chains][:, tags].flatten(0, 1)
        elif name.startswith("crf"):
            value = value[chains][:, tags]
            state[name] = value[:, :, tags] if name == "crf_transitions" else value
    get_module(other).load_state_dict(state)
    return other


def found(model, docs=None):
    return model.attrs[SPAN_HEAD].decode(model.predict(make_docs() if docs is None else docs))


def assert_same(spans, others, places=None):
    assert sum(len(rows.starts) for rows in spans) > 0
    for rows, other in zip(spans, others, strict=True):
        labels = other.labels if places is None else numpy.asarray(places)[other.labels]
        mine = sorted(zip(rows.starts, rows.ends, rows.labels, rows.scores, strict=True))
        theirs = sorted(zip(other.starts, other.ends, labels, other.scores, strict=True))
        assert [row[:3] for row in mine] == [row[:3] for row in theirs]
        scores = [[row[3] for row in one] for one in (mine, theirs)]
        numpy.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-6)


@BOTH_SCHEMES
@ALL_HEADS
def test_ensemble_of_one_is_the_member(chains, decoder, scheme):
    model = drawn(1, chains, decoder, scheme=scheme)
    assert_same(found(ensemble(model)), found(model))
    assert_same(found(ensemble(model, model, model)), found(model))
    assert_same(found(ensemble(model, model, weights=[3.0, 0.5])), found(model))
    output = ensemble(model, model).predict(make_docs())
    numpy.testing.assert_array_equal(output.emissions, model.predict(make_docs()).emissions)


@pytest.mark.parametrize("chains", ["joint", "per_label"])
@BOTH_SCHEMES
def test_probabilities_of_one_tagger_are_its_own(chains, scheme):
    model = drawn(1, chains, "argmax", scheme=scheme)
    assert_same(found(ensemble(model, model, method="tokens")), found(model))


@BOTH_SCHEMES
@ALL_HEADS
@METHODS
def test_labels_may_have_another_order(chains, decoder, scheme, method):
    settings = {"scheme": scheme}
    model, second = (drawn(seed, chains, decoder, **settings) for seed in (1, 2))
    roles = 2 if scheme == "BIO" else 4
    moved = with_labels_in_other_order(second, chains, decoder, roles=roles, **settings)
    assert_same(found(second), found(moved), places=[ORDER.index(i) for i in range(3)])
    joint = ensemble(model, second, method=method)
    orders = [[0, 1, 2], ORDER]
    assert_same(found(joint), found(ensemble(model, moved, method=method, label_orders=orders)))


def test_emissions_and_transitions_are_averaged():
    first, second = (drawn(seed, "joint", "crf") for seed in (1, 2))
    second.attrs[TEMPERATURE] = 2.0
    a, b = first.predict(make_docs()), second.predict(make_docs())
    joint = ensemble(first, second, weights=[1.0, 3.0])
    joint.attrs[TEMPERATURE] = 1.5
    output = joint.predict(make_docs())
    assert output.temperature == 1.5 and output.n_labels == 3
    expected = 0.25 * a.emissions + 0.75 * b.emissions / 2.0
    numpy.testing.assert_allclose(output.emissions, expected, rtol=1e-5, atol=1e-6)
    for part, one, two in zip(output.crf, a.crf, b.crf, strict=True):
        numpy.testing.assert_allclose(part, 0.25 * one + 0.375 * two, rtol=1e-5, atol=1e-6)


@ALL_HEADS
def test_probabilities_are_averaged(chains, decoder):
    members = [drawn(seed, chains, decoder) for seed in (1, 2)]
    docs = make_docs()
    parts = [m.attrs[SPAN_HEAD].tag_probabilities(m.predict(docs)) for m in members]
    output = ensemble(*members, method="tokens", weights=[1.0, 3.0]).predict(docs)
    found = xp2torch(output.emissions).exp()
    torch.testing.assert_close(found, 0.25 * parts[0] + 0.75 * parts[1], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(found.shape[:2]))
    assert bool(output.crf) == (decoder == "crf") and not any(x.any() for x in output.crf)


def test_tags_of_all_kinds_meet_in_what_they_share():
    docs = make_docs()
    joint = drawn(1, "joint", "crf", scheme="BIOES")
    apart = drawn(2, "per_label", "argmax", scheme="BIO")
    model = ensemble(joint, apart, method="tokens")
    head = model.attrs[SPAN_HEAD]
    assert (head.chains, head.scheme, head.decoder) == ("per_label", "BIO", "crf")
    tags = joint.attrs[SPAN_HEAD].tag_probabilities(joint.predict(docs))[:, 0]
    other = apart.attrs[SPAN_HEAD].tag_probabilities(apart.predict(docs))
    output = xp2torch(model.predict(docs).emissions).exp()
    for label in range(3):
        b, i, e, s = tags[:, 1 + 4 * label : 5 + 4 * label].T
        expected = torch.stack([1 - b - i - e - s, b + s, i + e], dim=1)
        torch.testing.assert_close(
            output[:, label], (expected + other[:, label]) / 2, atol=1e-6, rtol=1e-4
        )
    assert sum(len(rows.starts) for rows in found(model)) > 0


@pytest.mark.parametrize("overlap", ["any", "nested", "flat"])
def test_scores_of_spans_are_averaged(overlap):
    models = [pointer_models.make_model(overlap=overlap) for _ in range(2)]
    for parameter in pointer_models.get_module(models[1]).parameters():
        torch.nn.init.normal_(parameter)
    docs = pointer_models.make_docs()
    assert_same(found(ensemble(models[0], models[0]), docs), found(models[0], docs))
    a, b = (model.predict(docs).logits for model in models)
    output = ensemble(*models, label_orders=[[0, 1, 2], ORDER]).predict(docs)
    numpy.testing.assert_allclose(output.logits, (a + b[:, :, ORDER]) / 2, rtol=1e-5, atol=1e-6)


def test_gliner_may_be_a_member():
    """Its scores: ``test_gliner_pipeline``."""
    gliner = GLiNER_v1("encoder", max_width=6, overlap="any")
    for member in (gliner, pointer_models.make_model()):
        head = ensemble(gliner, member).attrs[SPAN_HEAD]
        assert isinstance(head, PointerHead) and head.max_width == 6
    with pytest.raises(ValueError, match=r"max_width is \[4, 6\] in the members"):
        ensemble(pointer_models.make_model(max_width=4), gliner)
    with pytest.raises(ValueError, match="kinds .*GlinerHead.*TaggerHead.*not both"):
        ensemble(GLiNER_v1("encoder"), make_model())


@METHODS
def test_texts_without_words(method):
    docs = make_docs()[3:4]
    model = ensemble(drawn(1), drawn(2), method=method)
    (spans,) = found(model, docs)
    assert len(spans.starts) == 0


@METHODS
def test_batch_equals_single(method):
    model = ensemble(drawn(1), drawn(2), method=method)
    docs = make_docs()
    assert_same(found(model), [found(model, [doc])[0] for doc in docs])


def test_an_ensemble_does_not_learn():
    model = ensemble(drawn(1), drawn(2))
    output, backprop = model.begin_update(make_docs())
    _, d_output = model.attrs[SPAN_HEAD].loss(output, make_gold())
    with pytest.raises(ValueError, match="does not learn.*frozen_components"):
        backprop(d_output)
    with pytest.raises(ValueError, match="no parameters of its own to initialize"):
        model.initialize()


@pytest.mark.parametrize(
    "settings,message",
    [
        ({"method": "votes"}, "method is 'votes', expected 'emissions' or 'tokens'"),
        ({"weights": [1.0]}, r"weights are \[1.0\], expected 2, each above 0"),
        ({"weights": [1.0, 0.0]}, r"weights are \[1.0, 0.0\], expected 2"),
        ({"label_orders": [[0, 1, 2]]}, "expected for each of 2 members"),
        ({"label_orders": [[0, 1, 2], [0, 0, 1]]}, "the places of all labels, each once"),
    ],
)
def test_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        SpanEnsemble_v1(make_model(), make_model(), **settings)


def test_members_have_to_fit():
    with pytest.raises(ValueError, match="at least one member"):
        SpanEnsemble_v1()
    with pytest.raises(ValueError, match=r"decoder is \['crf', 'argmax'\] in the members"):
        SpanEnsemble_v1(make_model(), make_model(decoder="argmax"))
    with pytest.raises(ValueError, match=r"max_width is \[6, 4\]"):
        SpanEnsemble_v1(pointer_models.make_model(), pointer_models.make_model(max_width=4))
    with pytest.raises(ValueError, match="kinds .*PointerHead.*TaggerHead.*not both"):
        SpanEnsemble_v1(make_model(), pointer_models.make_model())
    with pytest.raises(ValueError, match="'tokens' averages tags.*SpanTagger"):
        SpanEnsemble_v1(pointer_models.make_model(), method="tokens")
    with pytest.raises(ValueError, match="finds no spans"):
        SpanEnsemble_v1(make_model().get_ref("tok2vec"))
