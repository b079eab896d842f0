import numpy
import pytest
import spacy
from spacy.util import dot_to_object
from thinc.api import Model
from thinc.types import Ragged

from spacy_bioie.models.listener import LISTENER as LISTENER_NAME
from spacy_bioie.models.listener import (
    TransformerListener_v1,
    encoder_of_its_own_config,
    require_encoder_output,
)
from tests.models.tagging_pipeline import LISTENER, TEXTS, gradient_norm, make_pipeline
from tests.tiny_encoder import make_tiny_bert

LONG = "Gut and brain.\n" + "serotonin of mice <i>E. coli</i> increased (butyrate), " * 120
STOCK = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "pooling": {"@layers": "reduce_mean.v1"},
}
CONVOLUTIONS = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "width": 8,
    "depth": 1,
    "embed_size": 50,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": True,
    "pretrained_vectors": None,
}
HALF = {**LISTENER, "grad_factor": 0.5}
JOINED = {"@layers": "concatenate.v1", "*": {"encoder": HALF, "forms": CONVOLUTIONS}}


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert"), max_positions=64)


def test_pooling_can_be_given(tiny_bert):
    def forward(model, Xr, is_train):
        Y = model.ops.reduce_max(Xr.dataXd, Xr.lengths)[0]
        return Y, lambda dY: Ragged(model.ops.xp.zeros_like(Xr.dataXd), Xr.lengths)

    layer = TransformerListener_v1(pooling=Model("pool_max", forward), grad_factor=0.25)
    names = [node.name for node in layer.walk()]
    assert "pool_max" in names and "transformer-listener" in names
    assert layer.layers[1].attrs["grad_factor"] == 0.25
    assert layer.get_ref("listener").upstream_name == "*"


def test_gradient_factor_of_zero_freezes_the_encoder(tiny_bert):
    nlp, examples = make_pipeline(tiny_bert, ("tagger",), {**LISTENER, "grad_factor": 0.0})
    nlp.update(examples)
    nlp.update(examples, sgd=False)
    assert gradient_norm(nlp) == 0


def test_it_learns(tiny_bert):
    nlp, examples = make_pipeline(tiny_bert, ("tagger",), max_batch_pieces=200)
    optimizer = nlp.create_optimizer()
    optimizer.learn_rate = 0.003
    losses = []
    for _ in range(30):
        losses.append(nlp.update(examples, sgd=False)["tagger"])
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
    assert losses[-1] < 0.5 * losses[0]


def test_it_stands_beside_other_layers_where_several_components_listen(tiny_bert):
    """Not the last listener, it has no gradient to give that others could be added to."""
    nlp, examples = make_pipeline(tiny_bert, ("tagger", "morphologizer"), JOINED)
    heads = [nlp.get_pipe(name).model for name in ("tagger", "morphologizer")]
    forms = [node for head in heads for node in head.walk() if node.name == "maxout"]
    before = [node.get_param("W").copy() for node in forms]
    losses = nlp.update(examples)
    assert losses["tagger"] > 0 and losses["morphologizer"] > 0
    assert len(forms) >= 2
    for node, old in zip(forms, before, strict=True):
        assert not numpy.allclose(node.get_param("W"), old)
    nlp.update(examples, sgd=False)
    assert gradient_norm(nlp) > 0


PATHS = {"own": "model.tok2vec", "stock": "model.tok2vec", "joined": "model.tok2vec.*.encoder"}


@pytest.mark.parametrize("kind, listener", [("own", HALF), ("stock", STOCK), ("joined", JOINED)])
def test_replace_listeners_save_and_reload(tmp_path, kind, listener):
    folder = make_tiny_bert(tmp_path / "bert", max_positions=64)
    nlp, examples = make_pipeline(folder, listener=listener)
    for _ in range(2):
        nlp.update(examples)
    expected = tagger_scores(nlp)
    nlp.replace_listeners("transformer", "tagger", [PATHS[kind]])
    assert numpy.allclose(tagger_scores(nlp, run_encoder=False), expected, atol=1e-6)
    encoders = [nlp.get_pipe("transformer").model, nlp.get_pipe("tagger").model]
    ids = [shim.id for model in encoders for node in model.walk() for shim in node.shims]
    assert len(ids) == len(set(ids)) == 2
    for _ in range(3):
        losses = nlp.update(examples)
        assert losses["tagger"] > 0
    expected = tagger_scores(nlp, run_encoder=False)
    nlp.to_disk(tmp_path / "pipeline")
    (tmp_path / "bert").rename(tmp_path / "gone")
    loaded = spacy.load(tmp_path / "pipeline")
    assert numpy.allclose(tagger_scores(loaded, run_encoder=False), expected, atol=1e-6)
    config = dot_to_object(loaded.config, f"components.tagger.{PATHS[kind]}")
    assert config["@architectures"] == "spacy_bioie.Tok2VecTransformer.v1"
    assert config["average_windows"] is (kind == "stock")
    assert config.get("grad_factor") == (1.0 if kind == "stock" else 0.5)
    loaded.update(examples)
    loaded.remove_pipe("transformer")
    loaded.remove_pipe("morphologizer")
    assert all(token.tag_ for token in loaded(LONG))


def tagger_scores(nlp, run_encoder=True):
    doc = nlp(LONG) if run_encoder else nlp.make_doc(LONG)
    (scores,) = nlp.get_pipe("tagger").model.predict([doc])
    return scores


# Missing encoder output


def test_missing_output_of_a_transformer_is_an_error(tiny_bert):
    nlp, _ = make_pipeline(tiny_bert, ("tagger",))
    model = nlp.get_pipe("tagger").model
    docs = list(nlp.pipe(TEXTS))
    require_encoder_output(model, docs, "tagger")
    docs[1]._.trf_data = None
    with pytest.raises(ValueError) as error:
        require_encoder_output(model, docs, "tagger")
    for part in ("'tagger'", "'transformer'", "'Short. Hello there patients", "doc_cleaner"):
        assert part in str(error.value)


def test_missing_output_of_a_tok2vec_is_an_error():
    nlp = spacy.blank("en")
    nlp.add_pipe(
        "tok2vec",
        config={
            "model": CONVOLUTIONS,
        },
    )
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 8}
    tagger = nlp.add_pipe(
        "tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}}
    )
    tagger.add_label("A")
    nlp.initialize()
    docs = list(nlp.pipe(["The gut.", "", "  "]))
    require_encoder_output(tagger.model, docs, "tagger")
    docs[0].tensor = None
    with pytest.raises(ValueError, match=r"'tagger' listens to 'tok2vec'.*'The gut.'.*doc.tensor"):
        require_encoder_output(tagger.model, docs, "tagger")
    with pytest.raises(ValueError, match="'tok2vec'"):
        require_encoder_output(tagger.model, [nlp.make_doc("Mice")], "tagger")


def test_documents_without_text_need_no_output(tiny_bert):
    nlp, _ = make_pipeline(tiny_bert, ("tagger",))
    docs = [nlp.make_doc(text) for text in ("", "  \n ", "\t")]
    require_encoder_output(nlp.get_pipe("tagger").model, docs, "tagger")


def test_a_model_without_listener_needs_no_output():
    nlp = spacy.blank("en")
    tagger = nlp.add_pipe("tagger")
    require_encoder_output(tagger.model, [nlp.make_doc("Mice")], "tagger")


def test_config_of_an_encoder_of_its_own_below_other_layers():
    listener = {"@architectures": LISTENER_NAME, "grad_factor": 0.5, "upstream": "*"}
    around = {"@architectures": "spacy_bioie.WithStaticVectors.v1", "tok2vec": listener, "width": 0}
    for given in (listener, around):
        config = encoder_of_its_own_config({"name": "bert", "window": 64}, given)
        assert config["grad_factor"] == 0.5 and config["average_windows"] is False
