"""Encoders of every class that the table of methods names, under the tagger that configs use."""

import shutil

import numpy
import pytest
import spacy
from spacy.util import fix_random_seed

from spacy_bioie.models.windows import TransformerModel_v1, load_encoder
from spacy_bioie.tokenization import EnglishTokenizer_v1
from spacy_bioie.training.optimizers import LayeredAdam_v1
from tests.models.tagging_pipeline import encoder_output
from tests.span_pipeline import assert_same_spans, borders, make_examples, model_config
from tests.tiny_encoders import CLASSES, SENTENCES, make_tiny_t5

SPECIAL = {
    "bert": (["[CLS]"], ["[SEP]"]),
    "electra": (["[CLS]"], ["[SEP]"]),
    "gatortron": (["[CLS]"], ["[SEP]"]),
    "xlm_roberta": (["<s>"], ["</s>"]),
    "t5": ([], ["</s>"]),
}
TEXT = "Gut and brain axis.\n" + " ".join(SENTENCES)
# what SentencePiece normalises (a ligature, a wide letter, two blanks), and what it does not know
ODD = "The ﬂora of  mice Ａ [MASK] <s> 😀 x\u00a0y of ½ the\tcells \u200b ."


@pytest.fixture(scope="module", params=list(CLASSES))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def encoder(kind, tmp_path_factory):
    return CLASSES[kind](tmp_path_factory.mktemp("encoders") / kind, max_positions=64)


def make_nlp(encoder, chains="per_label", **settings):
    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.tokenizer = EnglishTokenizer_v1()(nlp)
    model = {"@architectures": "spacy_bioie.TransformerModel.v1", "name": encoder, **settings}
    nlp.add_pipe("transformer", config={"model": model})
    listener = {"@architectures": "spacy_bioie.TransformerListener.v1"}
    head = model_config(chains, "crf", tok2vec=listener, dropout=0.0)
    nlp.add_pipe("nested_spancat", config={"model": head})
    return nlp


def pieces_of_tokens(cut, n_tokens):
    """For each token the ids of its pieces, once for each window that it lies in."""
    width = cut.wordpieces.input_ids.shape[1]
    flat = cut.wordpieces.input_ids.reshape(-1)
    found, begin = [], 0
    for count in cut.align.lengths:
        places = numpy.asarray(cut.align.dataXd[begin : begin + count])
        begin += count
        found.append([flat[places[places // width == w]].tolist() for w in set(places // width)])
    assert len(found) == n_tokens
    return found


def test_tokens_have_their_own_pieces(kind, encoder, nlp):
    model = TransformerModel_v1(encoder)
    model.initialize()
    prefix, suffix = SPECIAL[kind]
    doc = nlp.make_doc(TEXT.lower())
    cut = model.cutter.cut([doc])
    tokenizer = model.tokenizer
    for strings, length in zip(cut.wordpieces.strings, cut.wordpieces.lengths, strict=True):
        assert strings[: len(prefix)] == prefix
        assert strings[length - len(suffix) : length] == suffix
    assert len(cut.spans[0]) > 8 and max(cut.wordpieces.lengths) <= 64
    for token, copies in zip(doc, pieces_of_tokens(cut, len(doc)), strict=True):
        if token.is_space:
            continue
        assert copies
        for ids in copies:
            written = "".join(tokenizer.convert_ids_to_tokens(ids))
            written = written.replace("##", "").replace("▁", "")
            alone = token.idx == 0 or doc.text[token.idx - 1].isspace()
            if alone and (token.whitespace_ or token.i + 1 == len(doc)):
                assert written == token.text
            assert token.text in written


def test_windows_have_the_pieces_of_the_whole_text(encoder, nlp):
    model = TransformerModel_v1(encoder, window=40)
    model.initialize()
    cutter = model.cutter
    doc = nlp.make_doc(TEXT)
    in_windows = pieces_of_tokens(cutter.cut([doc]), len(doc))
    cutter.room = 10**6
    whole = cutter.cut([doc])
    assert len(whole.spans[0]) == 2  # title and abstract
    for token, alone, copies in zip(
        doc, pieces_of_tokens(whole, len(doc)), in_windows, strict=True
    ):
        assert len(alone) == (0 if token.is_space else 1)
        assert bool(copies) == bool(alone) and all(copy == alone[0] for copy in copies)
    assert max(map(len, in_windows)) > 1


def test_odd_characters_have_pieces(encoder, nlp):
    model = TransformerModel_v1(encoder)
    model.initialize()
    doc = nlp.make_doc(ODD)
    cut = model.cutter.cut([doc])
    special = set(model.cutter.special.prefix + model.cutter.special.suffix)
    for token, copies in zip(doc, pieces_of_tokens(cut, len(doc)), strict=True):
        if token.text.strip() and token.text != "\u200b":
            assert copies and copies[0], token
            assert not special & set(copies[0]), token


def test_train_and_reload_where_the_encoder_is_gone(kind, encoder, tmp_path):
    folder = tmp_path / "encoder"
    shutil.copytree(encoder, folder)
    nlp = make_nlp(str(folder))
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    optimizer = LayeredAdam_v1(0.003)
    untrained = encoder_output(nlp, TEXT)
    losses = [nlp.update(examples, sgd=optimizer)["nested_spancat"] for _ in range(15)]
    assert losses[-1] < 0.6 * losses[0]
    assert abs(encoder_output(nlp, TEXT) - untrained).max() > 1e-4
    docs = [nlp(eg.reference.text) for eg in examples]
    assert any(borders(doc) for doc in docs)
    nlp.to_disk(tmp_path / "pipeline")
    shutil.rmtree(folder)
    loaded = spacy.load(tmp_path / "pipeline")
    assert (encoder_output(loaded, TEXT) == encoder_output(nlp, TEXT)).all()
    for doc, again in zip(docs, loaded.pipe([doc.text for doc in docs]), strict=True):
        assert_same_spans(doc, again)
    transformer = loaded.get_pipe("transformer").model.transformer
    assert type(transformer) is type(nlp.get_pipe("transformer").model.transformer)
    assert loaded.update(make_examples(loaded))["nested_spancat"] > 0


def test_the_encoder_half_of_t5_alone(tmp_path):
    whole = make_tiny_t5(tmp_path / "whole")
    model = load_encoder(whole, {}, {}).transformer
    assert type(model).__name__ == "T5EncoderModel"
    assert not [name for name in model.state_dict() if "decoder" in name]
    half = load_encoder(make_tiny_t5(tmp_path / "half", whole=False), {}, {}).transformer
    assert half.state_dict().keys() == model.state_dict().keys()


def test_low_rank_additions_alone_learn(kind, encoder, tmp_path):
    pytest.importorskip("peft")
    nlp = make_nlp(encoder, lora_rank=4)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    transformer = nlp.get_pipe("transformer").model.transformer
    plain = {name: weight.clone() for name, weight in transformer.state_dict().items()}
    nlp.to_disk(tmp_path / "untrained")
    optimizer = LayeredAdam_v1(0.01)
    losses = [nlp.update(examples, sgd=optimizer)["nested_spancat"] for _ in range(15)]
    assert losses[-1] < 0.5 * losses[0]
    nlp.to_disk(tmp_path / "pipeline")
    loaded = spacy.load(tmp_path / "pipeline")
    reloaded = loaded.get_pipe("transformer").model.transformer.state_dict()
    assert reloaded.keys() == plain.keys()
    changed = {name for name in plain if not (plain[name] == reloaded[name]).all()}
    assert changed and all("attention" in name.lower() for name in changed)
    assert not [name for name in changed if "bias" in name or "norm" in name.lower()]
    output = encoder_output(nlp, TEXT)
    numpy.testing.assert_allclose(encoder_output(loaded, TEXT), output, atol=1e-4)
    assert abs(output - encoder_output(spacy.load(tmp_path / "untrained"), TEXT)).max() > 0.01
    # it goes on from there, and leaves all else alone
    loaded.update(make_examples(loaded), sgd=optimizer)
    loaded.update(make_examples(loaded), sgd=optimizer)
    assert abs(encoder_output(loaded, TEXT) - output).max() > 1e-4
    loaded.to_disk(tmp_path / "again")
    again = spacy.load(tmp_path / "again").get_pipe("transformer").model.transformer.state_dict()
    assert {n for n in plain if not (again[n] == reloaded[n]).all()} <= changed


def test_a_negative_rank_is_refused(encoder):
    with pytest.raises(ValueError, match="lora_rank is -1"):
        TransformerModel_v1(encoder, lora_rank=-1)
