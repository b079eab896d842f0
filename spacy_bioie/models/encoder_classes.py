"""Which class of ``transformers`` an encoder is made of."""

from contextlib import contextmanager
from typing import Any, Iterator


class AutoEncoder:
    """``AutoModel``, but of a model with a decoder (T5 and its kin) the encoder half alone.

    A class with the two methods by which encoders are made here and in spacy-transformers.
    """

    @staticmethod
    def from_pretrained(source: str, *, config: Any, **settings: Any) -> Any:
        return _auto_class(config).from_pretrained(source, config=config, **settings)

    @staticmethod
    def from_config(config: Any, **settings: Any) -> Any:
        return _auto_class(config).from_config(config, **settings)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hold back what ``transformers`` warns of, such as weights that are not used."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def is_encoder_half(config: Any) -> bool:
    """Whether the model of a config has a decoder that ``AutoEncoder`` leaves out."""
    from transformers import MODEL_FOR_TEXT_ENCODING_MAPPING

    with_decoder = getattr(config, "is_encoder_decoder", False)
    return bool(with_decoder) and type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING


def _auto_class(config: Any) -> Any:
    from transformers import AutoModel, AutoModelForTextEncoding

    return AutoModelForTextEncoding if is_encoder_half(config) else AutoModel
