"""The component nested_spancat with the architecture GLiNER.v1, over a tiny random encoder."""

import re
import shutil
import sys

import numpy
import pytest
import spacy
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.util import fix_random_seed, load_config

from spacy_bioie.annotation import Mention, set_mentions, set_tier
from spacy_bioie.training.ensembling import join_scores
from tests.sample_training import REPOSITORY
from tests.span_pipeline import (
    GUT,
    assert_same_spans,
    borders,
    gold_borders,
    make_examples,
    scores_of,
    train,
)
from tests.tiny_encoder import make_tiny_bert

pytest.importorskip("gliner", reason='GLiNER needs the extra "gliner"')

# nested mentions, one of them with two labels
DATA = [
    (
        GUT,
        [
            (0, 3, "anatomical location"),
            (0, 12, "bacteria"),
            (29, 33, "animal"),
            (29, 33, "food"),
            (42, 49, "DDF"),
        ],
    ),
    ("The small intestine of rats", [(4, 19, "anatomical location"), (23, 27, "animal")]),
    ("Sleep", [(0, 5, "DDF")]),
    ("Nothing here.", []),
    ("", []),
]
TEXTS = [text for text, _ in DATA]
PROMPTS = {"DDF": "disease"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("encoder"))


def make_nlp(name, component=None, **settings):
    fix_random_seed(0)
    nlp = spacy.blank("en")
    model = {
        "@architectures": "spacy_bioie.GLiNER.v1",
        "name": str(name),
        "prompts": PROMPTS,
        "max_width": 4,
        "hidden_size": 32,
        "dropout": 0.0,
        **settings,
    }
    nlp.add_pipe("nested_spancat", config={"model": model, **(component or {})})
    return nlp


def gliner_of(nlp):
    return nlp.get_pipe("nested_spancat").model.get_ref("head").shims[0]._model


@pytest.fixture(scope="module")
def trained(encoder):
    nlp = make_nlp(encoder)
    examples = make_examples(nlp, DATA)
    train(nlp, examples, steps=150)
    return nlp, examples


def test_overfits(trained):
    nlp, examples = trained
    for example in examples:
        doc = nlp(example.reference.text)
        assert borders(doc) == gold_borders(example)
        assert all(0.5 <= score <= 1 for score in scores_of(doc))


def test_reloads_without_the_encoder(trained, tmp_path):
    copy = make_tiny_bert(tmp_path / "encoder")
    nlp = make_nlp(copy)
    examples = make_examples(nlp, DATA)
    optimizer = nlp.initialize(lambda: examples)
    nlp.update(examples, sgd=optimizer)
    nlp.get_pipe("nested_spancat").head.min_score = 0.01
    shutil.rmtree(copy)
    nlp.to_disk(tmp_path / "pipeline")
    again = spacy.load(
        tmp_path / "pipeline", config={"components.nested_spancat.model.min_score": 0.01}
    )
    for other in (again, make_nlp(copy, min_score=0.01).from_bytes(nlp.to_bytes())):
        assert sum(len(nlp(text).spans["sc"]) for text in TEXTS) > 2
        for text in TEXTS:
            assert_same_spans(nlp(text), other(text))
        assert other.get_pipe("nested_spancat").labels == nlp.get_pipe("nested_spancat").labels
    # and goes on learning
    assert again.update(examples, sgd=again.resume_training())["nested_spancat"] > 0


def test_saved_pipeline_names_no_folder_of_the_machine(trained, encoder):
    nlp, _ = trained
    config = gliner_of(nlp).gliner.config
    assert {config.model_name, config.encoder_config._name_or_path} == {encoder}


def test_finds_what_the_package_finds(trained):
    """Its own words are those of spaCy here."""
    nlp, _ = trained
    gliner = gliner_of(nlp).gliner
    component = nlp.get_pipe("nested_spancat")
    labels = dict(zip(gliner_of(nlp).prompts, component.labels, strict=True))
    texts = [GUT.replace("\n", " "), "The small intestine of rats", "Sleep of rats"]
    found = gliner.inference(
        texts, list(labels), flat_ner=False, multi_label=True, threshold=component.head.min_score
    )
    assert sum(map(len, found)) > 4
    for text, theirs in zip(texts, found, strict=True):
        doc = nlp(text)
        ours = {
            (span.start_char, span.end_char, span.label_): score
            for span, score in zip(doc.spans["sc"], scores_of(doc), strict=True)
        }
        expected = {(s["start"], s["end"], labels[s["label"]]): s["score"] for s in theirs}
        assert ours == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("alpha, gamma", [(-1.0, 0.0), (0.75, 2.0)])
def test_loss_is_that_of_the_package(trained, alpha, gamma):
    nlp, examples = trained
    component = nlp.get_pipe("nested_spancat")
    module = gliner_of(nlp)
    gliner, labels = module.gliner, dict(zip(component.labels, module.prompts, strict=True))
    (example,) = [eg for eg in examples if eg.reference.text == DATA[1][0]]
    row = {
        "tokenized_text": [token.text for token in example.reference],
        "ner": [(i, j - 1, labels[label]) for i, j, label in gold_borders(example)],
    }
    collate = gliner.data_collator_class(gliner.config, data_processor=gliner.data_processor)
    batch = collate([row], entity_types=[module.prompts])
    theirs = gliner.model(**batch, alpha=alpha, gamma=gamma).loss
    head = component.head
    head.alpha, head.gamma = alpha, gamma
    loss, _ = component.get_loss([example], component.model.predict([example.predicted]))
    head.alpha, head.gamma = -1.0, 0.0
    assert loss * len(example.reference) == pytest.approx(float(theirs.detach()), rel=1e-4)


def test_labels_are_found_before_any_training(trained, tmp_path):
    """A saved GLiNER is read as it is; its labels are those that the component gets."""
    nlp, _ = trained
    gliner_of(nlp).gliner.save_pretrained(tmp_path / "gliner")
    fresh = make_nlp(tmp_path / "gliner", prompts={"disorder": "disease"}, hidden_size=7)
    renamed = [
        (text, [(i, j, label.replace("DDF", "disorder")) for i, j, label in spans])
        for text, spans in DATA
    ]
    examples = make_examples(fresh, renamed)
    fresh.initialize(lambda: examples)
    for example in examples:
        assert borders(fresh(example.reference.text)) == gold_borders(example)


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    """The trained GLiNER as the package saves it, without the pipeline."""
    folder = tmp_path_factory.mktemp("saved")
    gliner_of(trained[0]).gliner.save_pretrained(folder, safe_serialization=True)
    return folder


def with_labels(nlp, labels):
    for label in labels:
        nlp.get_pipe("nested_spancat").add_label(label)
    nlp.initialize()
    return nlp


def test_labels_may_be_added_by_hand(trained, saved):
    nlp, examples = trained
    fresh = spacy.blank("en")
    model = {"@architectures": "spacy_bioie.GLiNER.v1", "name": str(saved), "prompts": PROMPTS}
    fresh.add_pipe("nested_spancat", config={"model": model})
    with_labels(fresh, nlp.get_pipe("nested_spancat").labels)
    for example in examples:
        assert borders(fresh(example.reference.text)) == gold_borders(example)


@pytest.mark.parametrize("width", [2, 6])
def test_saved_gliner_with_another_width(trained, saved, width):
    nlp, _ = trained
    labels = nlp.get_pipe("nested_spancat").labels
    other = with_labels(make_nlp(saved, max_width=width), labels)
    doc = nlp.make_doc(TEXTS[1])
    scores, expected = (
        pipeline.get_pipe("nested_spancat").model.predict([doc]).logits for pipeline in (other, nlp)
    )
    assert scores.shape == (5, width, len(labels))
    shared = min(width, 4)
    numpy.testing.assert_allclose(scores[:, :shared], expected[:, :shared], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("span_mode", ["query", "conv_share", "conv_conv"])
def test_width_that_the_weights_do_not_have(encoder, tmp_path, span_mode):
    from gliner.model import UniEncoderSpanGLiNER

    config = {"model_name": encoder, "hidden_size": 32, "max_width": 4, "span_mode": span_mode}
    UniEncoderSpanGLiNER.load_from_config(config).save_pretrained(tmp_path)
    with_labels(make_nlp(tmp_path), ["DDF"])
    message = (
        f"'{tmp_path}', saved with max_width 4 and span_mode '{span_mode}', cannot be read with "
        "max_width 6: expected .* the same max_width"
    )
    with pytest.raises(ValueError, match=message):
        with_labels(make_nlp(tmp_path, max_width=6), ["DDF"])


def test_saved_gliner_without_some_of_its_weights(saved, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(saved, tmp_path / "gliner")
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "prompt_rep_layer" in name)
    del weights[name]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match=f"expected weights for all of it(?s:.*){name}"):
        with_labels(make_nlp(folder), ["DDF"])


def test_ensemble(trained, saved, tmp_path):
    """Of members that read the labels in another order."""
    nlp, _ = trained
    members = [make_nlp(saved, min_score=0.01) for _ in range(2)]
    members[0].from_bytes(nlp.to_bytes())
    with_labels(members[1], nlp.get_pipe("nested_spancat").labels[::-1])
    docs = [nlp.make_doc(text) for text in TEXTS]
    one, two = (member.get_pipe("nested_spancat").model.predict(docs).logits for member in members)
    joined = join_scores(members, weights=[3.0, 1.0])
    ensemble = joined.get_pipe("span_ensemble")
    assert ensemble.labels == nlp.get_pipe("nested_spancat").labels
    read = numpy.isfinite(one)
    assert numpy.abs(one[read] - two[:, :, ::-1][read]).max() > 1e-4
    scores = ensemble.model.predict(docs).logits
    expected = 0.75 * one + 0.25 * two[:, :, ::-1]
    numpy.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
    joined.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    assert sum(len(joined(text).spans["sc"]) for text in TEXTS) > 2
    for text in TEXTS:
        assert_same_spans(again(text), joined(text))


def test_scales_of_the_config_are_for_all_but_the_encoder(encoder):
    """Each part of the pattern says something; a projection is there where the widths differ."""
    config = load_config(REPOSITORY / "configs" / "spans_gliner.cfg")
    (pattern,) = config["training"]["optimizer"]["scales"]
    nlp = with_labels(make_nlp(encoder, hidden_size=48), ["DDF"])
    names = [name for name, _ in gliner_of(nlp).named_parameters()]
    of_encoder = {name for name in names if ".bert_layer." in name}
    assert 0 < len(of_encoder) < len(names)
    assert {name for name in names if not re.search(pattern, name)} == of_encoder
    for part in pattern.split("|"):
        assert any(re.search(part, name) for name in names), part


def test_nothing_to_read(trained):
    nlp, _ = trained
    for text in ("", "  ", "\n\n"):
        doc = nlp(text)
        assert len(doc.spans["sc"]) == 0
    assert [len(doc.spans["sc"]) for doc in nlp.pipe(["", " "])] == [0, 0]
    example = Example(nlp.make_doc("  "), nlp.make_doc("  "))
    assert nlp.update([example], sgd=None)["nested_spancat"] == 0.0


def test_batch_equals_single(trained):
    nlp, _ = trained
    texts = [*TEXTS, " ".join(TEXTS) * 3]
    for doc, text in zip(nlp.pipe(texts, batch_size=4), texts, strict=True):
        assert_same_spans(doc, nlp(text))


def test_several_processes(trained):
    nlp, _ = trained
    for doc, text in zip(nlp.pipe(TEXTS, n_process=2, batch_size=2), TEXTS, strict=True):
        assert_same_spans(doc, nlp(text))


def test_docbin_round_trip(trained):
    nlp, _ = trained
    docs = list(nlp.pipe(TEXTS))
    data = DocBin(docs=docs, store_user_data=True).to_bytes()
    for doc, again in zip(docs, DocBin().from_bytes(data).get_docs(nlp.vocab), strict=True):
        assert_same_spans(doc, again)


def test_weights_of_documents_and_labels(encoder):
    """A weight of 0 takes what it stands at out of the loss."""
    losses = {}
    for name, component in {
        "none": {},
        "documents": {"tier_weights": {"bronze": 0.0}},
        "labels": {"label_weights": {"animal": 0.0}},
    }.items():
        nlp = make_nlp(encoder, component)
        examples = make_examples(nlp, DATA)
        for example in examples:
            set_tier(example.reference, "bronze")
        nlp.initialize(lambda examples=examples: examples)
        losses[name] = nlp.update(examples, sgd=None)["nested_spancat"]
    assert losses["documents"] == 0.0 < losses["labels"] < losses["none"]


def test_mentions_that_cannot_be_learned_are_counted(encoder):
    nlp = make_nlp(encoder, max_width=1)
    examples = make_examples(nlp, DATA)
    with pytest.warns(UserWarning, match="2 of 8 mentions .* wider than 1 words"):
        nlp.initialize(lambda: examples)


@pytest.mark.filterwarnings("error:.*truncated")
def test_long_section_is_read_in_windows(trained):
    nlp, _ = trained
    doc = nlp(" ".join(["The small intestine of rats ."] * 40))
    scores = nlp.get_pipe("nested_spancat").model.predict([doc]).logits
    assert len(scores) == len(doc) == 240
    inside = len(doc) - numpy.arange(len(doc))[:, None] > numpy.arange(4)
    assert (numpy.isfinite(scores) == inside[..., None]).all()


def test_without_gliner(encoder, monkeypatch):
    monkeypatch.setitem(sys.modules, "gliner", None)
    nlp = make_nlp(encoder)
    examples = make_examples(nlp, DATA)
    with pytest.raises(ImportError, match=r'pip install "spacy-bioie\[gliner\]"'):
        nlp.initialize(lambda: examples)


def test_loading_without_gliner(trained, monkeypatch, tmp_path):
    nlp, _ = trained
    nlp.to_disk(tmp_path)
    monkeypatch.setitem(sys.modules, "gliner", None)
    with pytest.raises(ImportError, match=r'pip install "spacy-bioie\[gliner\]"'):
        spacy.load(tmp_path)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"name": "no/such/model"}, "'no/such/model' cannot be loaded.*does not exist"),
        ({"prompts": {"gene": "genes"}}, r"prompts are set for \['gene'\]"),
        ({"prompts": {"DDF": "animal"}}, "two labels are read alike"),
        ({"prompts": {"DDF": ""}}, "the label '' has no word piece"),
        ({"window": 20}, "take .* of 20 word pieces"),
    ],
)
def test_errors_of_initialization(encoder, settings, message):
    nlp = make_nlp(**{"name": encoder, **settings})
    examples = make_examples(nlp, DATA)
    with pytest.raises(ValueError, match=message):
        nlp.initialize(lambda: examples)


def test_gliner_of_another_kind(encoder, tmp_path):
    from gliner.config import UniEncoderTokenConfig
    from gliner.model import UniEncoderTokenGLiNER

    config = UniEncoderTokenConfig(model_name=encoder, hidden_size=32)
    UniEncoderTokenGLiNER.load_from_config(config).save_pretrained(tmp_path)
    nlp = make_nlp(tmp_path)
    examples = make_examples(nlp, DATA)
    with pytest.raises(ValueError, match="is a UniEncoderTokenGLiNER: expected a UniEncoderSpan"):
        nlp.initialize(lambda: examples)


def test_words_without_pieces_shift_no_other(trained, monkeypatch):
    """Nor do words that look like markup; the package would take them for it."""
    nlp, _ = trained
    module, model = gliner_of(nlp), nlp.get_pipe("nested_spancat").model
    words = ["\u200b", "<<ENT>>", "[SEP]", "Sleep"]
    doc = Doc(nlp.vocab, words)
    read, counts = module._readable(words, 100)
    assert read == ["[UNK]", "[UNK]", "[UNK]", "Sleep"] and counts.tolist() == [1, 1, 1, 1]
    expected = model.predict([Doc(nlp.vocab, read)]).logits
    numpy.testing.assert_allclose(model.predict([doc]).logits, expected, rtol=1e-5)
    monkeypatch.setattr(type(module), "_readable", lambda self, words, room: (words, counts))
    with pytest.raises(ValueError, match="lost words"):
        model.predict([doc])


def test_mentions_given_to_training_are_those_of_the_key(encoder):
    nlp = make_nlp(encoder, {"spans_key": "own"})
    doc = nlp.make_doc("Sleep")
    reference = nlp.make_doc("Sleep")
    set_mentions(reference, "own", [Mention(0, 1, "DDF")])
    nlp.initialize(lambda: [Example(doc, reference)])
    assert "own" in nlp("Sleep").spans
