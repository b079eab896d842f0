"""Pipelines of stock taggers over the shared encoder."""

import spacy
from spacy.training import Example

from spacy_bioie.tokenization import EnglishTokenizer_v1

TRANSFORMER = "spacy_bioie.TransformerModel.v1"
LISTENER = {"@architectures": "spacy_bioie.TransformerListener.v1"}
TEXTS = [
    "The gut.\nMice and serotonin " + "cells of patients " * 60,
    "Short.\nHello there patients, " * 2,
    "Gut and brain\n" + "butyrate increased in mice " * 4,
]


def make_pipeline(encoder, heads=("tagger", "morphologizer"), listener=None, **settings):
    """A pipeline of the encoder in folder ``encoder`` and taggers that listen to it.

    settings: of the encoder's model.
    RETURNS: the initialized pipeline and examples to train it.
    """
    nlp = spacy.blank("en")
    nlp.tokenizer = EnglishTokenizer_v1()(nlp)
    model = {"@architectures": TRANSFORMER, "name": encoder, **settings}
    nlp.add_pipe("transformer", config={"model": model})
    for head in heads:
        tagger = {"@architectures": "spacy.Tagger.v2", "tok2vec": dict(listener or LISTENER)}
        nlp.add_pipe(head, config={"model": tagger})
    examples = [make_example(nlp, text) for text in TEXTS]
    nlp.initialize(lambda: examples)
    return nlp, examples


def make_example(nlp, text):
    doc = nlp.make_doc(text)
    odd = [i % 2 for i in range(len(doc))]
    return Example.from_dict(
        doc,
        {
            "tags": ["ODD" if i else "EVEN" for i in odd],
            "pos": ["NOUN" if i else "VERB" for i in odd],
            "morphs": ["Number=Sing" if i else "Number=Plur" for i in odd],
        },
    )


def encoder_output(nlp, text, pipe="transformer"):
    """The hidden states of the encoder for one text."""
    batch = nlp.get_pipe(pipe).model.predict([nlp.make_doc(text)])
    return batch.model_output.last_hidden_state.numpy()


def gradient_norm(nlp, exclude=()):
    """Norm of the encoder's gradient after one pass over the examples, without an update."""
    module = nlp.get_pipe("transformer").model.transformer
    return sum(float(p.grad.norm()) for p in module.parameters() if p.grad is not None)
