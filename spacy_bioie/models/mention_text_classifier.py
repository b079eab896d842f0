"""Scores of mentions for each code of a closed set, from their texts alone."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy
import srsly
import torch
from spacy.tokens import Doc
from thinc.api import Model, PyTorchWrapper_v3
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ..annotation import MentionTable
from ..translation import Translate, translate_texts
from .length_buckets import PASS_COST_CPU, PASS_COST_GPU, make_buckets
from .mention_encoder import MentionInput, MentionVectors, check_mentions, split_rows
from .own_encoder import OwnEncoder
from .own_encoder_layer import pack_parts, plain_inputs, unpack_parts
from .sized_modules import build_parameters, built_module


def MentionTextClassifier_v1(
    name: str,
    hidden_size: int = 768,
    dropout: float = 0.1,
    max_length: int = 64,
    batch_pieces: int = 4096,
    translate: Optional[Translate] = None,
    mixed_precision: bool = False,
    tokenizer_config: Optional[Dict[str, Any]] = None,
    transformer_config: Optional[Dict[str, Any]] = None,
    nO: Optional[int] = None,
) -> Model[MentionInput, MentionVectors]:
    """Create ``spacy_bioie.MentionTextClassifier.v1``: from documents and mention tables to logits.

    An encoder of its own reads each distinct text of a mention, without its context; two layers
    score the codes from the vector of the first piece. That is the linker of LYX_DMIIP_FDU at
    ELCardioCC 2025, with SapBERT over mentions translated to English. The names of all parameters
    of the layers begin with "head", so that an optimizer can give them a rate of their own.

    name: of the encoder, a folder, a name on a model hub, or ``package:`` with a folder inside an
        installed Python package. Not needed any more once the pipeline is saved.
    hidden_size: of the hidden layer. dropout: of the encoder's vector and of that layer.
    max_length: word pieces of a mention; longer ones are cut, and all to what the encoder takes.
    batch_pieces: padded word pieces of one pass through the encoder.
    translate: applied to the texts before they are read, see ``translation``. What has a
        ``to_bytes`` is saved with the pipeline.
    mixed_precision: run the encoder in bfloat16 where the hardware has instructions for it.
    tokenizer_config, transformer_config: settings that replace those of the tokenizer and those in
        the encoder's own config.
    nO: the number of codes; a ``code_linker`` sets it.

    RETURNS: for each document float32, (mentions, codes).
    Raises ValueError where a setting is out of its range.
    """
    for setting, value in (
        ("hidden_size", hidden_size),
        ("max_length", max_length),
        ("batch_pieces", batch_pieces),
    ):
        if value < 1:
            raise ValueError(f"MentionTextClassifier: {setting} is {value}, expected 1 or more.")
    if not 0.0 <= dropout < 1.0:
        raise ValueError(
            f"MentionTextClassifier: dropout is {dropout}, expected at least 0 and below 1."
        )
    module = TextModule(
        EncoderSource(name, dict(tokenizer_config or {}), dict(transformer_config or {})),
        OwnEncoder(mixed_precision=mixed_precision),
        hidden_size=hidden_size,
        dropout=dropout,
        max_length=max_length,
        batch_pieces=batch_pieces,
        translate=translate,
    )
    scorer: Model = PyTorchWrapper_v3(
        module,
        convert_inputs=plain_inputs,
        serialize_model=_serialize,
        deserialize_model=_deserialize,
    )
    return Model(
        "mention_text_classifier",
        forward,
        init=init,
        layers=[scorer],
        refs={"scorer": scorer},
        dims={"nO": nO},
    )


class EncoderSource(NamedTuple):
    """Where the encoder is read from, see ``OwnEncoder.load``."""

    name: str
    tokenizer_config: Dict[str, Any]
    transformer_config: Dict[str, Any]


class TextModule(nn.Module):
    """An encoder of its own and two layers, both made when the model is initialized or loaded."""

    def __init__(
        self,
        source: EncoderSource,
        encoder: OwnEncoder,
        *,
        hidden_size: int,
        dropout: float,
        max_length: int,
        batch_pieces: int,
        translate: Optional[Translate],
    ):
        super().__init__()
        self.source = source
        self.encoder = encoder
        self.register_module("head", None)
        self.hidden_size, self.dropout = hidden_size, dropout
        self.max_length, self.batch_pieces = max_length, batch_pieces
        self.translate = translate
        self.n_codes = 0

    @property
    def sizes(self) -> Dict[str, Any]:
        return {"n_codes": self.n_codes}

    def build(self, n_codes: int) -> None:
        """Make the layers anew, and read the encoder if there is none yet.

        Raises ValueError where it cannot be read.
        """
        if not self.encoder.is_loaded:
            self.encoder.load(*self.source)
        self.n_codes = n_codes
        self.head = nn.Sequential(
            nn.Dropout(self.dropout),
            nn.Linear(self.encoder.width, self.hidden_size),
            nn.GELU(),
            nn.Dropout(self.dropout),
            nn.Linear(self.hidden_size, n_codes),
        )

    def cut(self, texts: List[str]) -> List[List[int]]:
        """The word pieces of texts, after their translation; special pieces included."""
        tokenizer = self.encoder.tokenizer
        bounds = (self.max_length, self.encoder.max_pieces, tokenizer.model_max_length)
        most = min(bound for bound in bounds if bound)
        found = translate_texts(self.translate, texts)
        return tokenizer(found, truncation=True, max_length=most)["input_ids"]

    def forward(self, rows: List[List[int]]) -> Tensor:
        """From the word pieces of texts to logits: float32, (texts, codes)."""
        device = next(self.parameters()).device
        cost = PASS_COST_CPU if device.type == "cpu" else PASS_COST_GPU
        batches = make_buckets([len(row) for row in rows], self.batch_pieces, cost)
        vectors = []
        for batch in batches:
            ids = pad_sequence([torch.tensor(rows[i]) for i in batch.tolist()], batch_first=True)
            lengths = torch.tensor([len(rows[i]) for i in batch.tolist()])
            mask = torch.arange(ids.shape[1]) < lengths[:, None]
            output = self.encoder(ids.to(device), mask.long().to(device))
            vectors.append(output.last_hidden_state[:, 0].float())
        order = numpy.argsort(numpy.concatenate(batches))
        return self.head(torch.cat(vectors)[torch.from_numpy(order).to(device)])


def init(model: Model, X: Optional[MentionInput] = None, Y: Any = None) -> None:
    """Read the encoder, if there is none yet, and make the layers; ``nO`` has to be set before.

    Raises ValueError where it is not, or where the encoder cannot be read.
    """
    if model.has_dim("nO") is None:
        raise ValueError(
            "spacy_bioie.MentionTextClassifier.v1 does not know the number of codes: expected nO "
            "to be set, as a code_linker does from its labels."
        )
    build_parameters(model.get_ref("scorer"), model.get_dim("nO"))


def forward(
    model: Model, inputs: MentionInput, is_train: bool
) -> Tuple[MentionVectors, Callable[[MentionVectors], MentionInput]]:
    """Read the distinct texts of the mentions of all documents.

    Raises ValueError where a mention covers no token or leaves its document.
    """
    docs, tables = inputs
    ops: Any = model.ops
    scorer = model.get_ref("scorer")
    module: TextModule = built_module(scorer, "MentionTextClassifier")
    check_mentions(tables, [len(doc) for doc in docs])
    texts = [text for doc, table in zip(docs, tables, strict=True) for text in _texts(doc, table)]
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        return [ops.alloc2f(0, module.n_codes) for _ in tables], lambda d_outputs: inputs
    place = {text: i for i, text in enumerate(distinct)}
    rows = ops.asarray1i([place[text] for text in texts])
    logits, backprop_scorer = scorer(module.cut(distinct), is_train)

    def backprop(d_outputs: MentionVectors) -> MentionInput:
        d_logits = ops.xp.zeros_like(logits)
        ops.scatter_add(d_logits, rows, ops.xp.concatenate(d_outputs))
        backprop_scorer(d_logits)
        return inputs

    return split_rows(ops, logits[rows], [len(table) for table in tables]), backprop


def _texts(doc: Doc, table: MentionTable) -> List[str]:
    text = doc.text
    return [
        text[doc[start].idx : doc[end - 1].idx + len(doc[end - 1])]
        for start, end in table[:, :2].tolist()
    ]


def _serialize(module: TextModule) -> bytes:
    stored = pack_parts(module, "head")
    translate: Any = module.translate
    if hasattr(translate, "to_bytes"):
        stored["translate"] = translate.to_bytes()
    return srsly.msgpack_dumps(stored)


def _deserialize(module: TextModule, data: bytes, device: torch.device) -> TextModule:
    stored = srsly.msgpack_loads(data)
    unpack_parts(module, "head", stored)
    translate: Any = module.translate
    if "translate" in stored and hasattr(translate, "from_bytes"):
        translate.from_bytes(stored["translate"])
    return module.to(device)
