"""Mentions in their context, from an encoder that reads each of them in an input of its own."""

from typing import Any, Callable, Dict, List, Literal, Optional, Sequence, Tuple

import torch
from spacy.tokens import Doc
from thinc.api import Model
from torch import Tensor, nn

from ..annotation import MentionTable
from .encoded_rows import encode_rows
from .input_rows import InputRows
from .mention_encoder import MentionInput, MentionVectors, check_mentions, split_rows
from .mention_inputs import POOLINGS, MentionReader
from .own_encoder import OwnEncoder
from .own_encoder_layer import own_encoder_layer
from .sized_modules import build_parameters, built_module


def ContextualMentionEncoder_v1(
    name: str,
    pooling: Literal["cls", "mention", "mean"] = "cls",
    context_characters: int = 250,
    max_length: int = 512,
    batch_pieces: int = 4096,
    mixed_precision: bool = False,
    tokenizer_config: Optional[Dict[str, Any]] = None,
    transformer_config: Optional[Dict[str, Any]] = None,
    nO: Optional[int] = None,
) -> Model[MentionInput, MentionVectors]:
    """Create the architecture ``spacy_bioie.ContextualMentionEncoder.v1``.

    It maps documents and their mention tables to mention vectors, as
    ``spacy_bioie.MentionEncoder.v1`` does. An encoder of its own reads each mention with the text
    around it, ``[CLS] before [SEP] mention [SEP] after [SEP]``, the input of LYX_DMIIP_FDU at
    BioNNE-L 2025. So the cost grows with the number of mentions.

    name: a folder, a name on a model hub, or ``package:`` with a folder inside an installed
        Python package. Not needed any more once the pipeline is saved. Best the encoder that made
        the name vectors of the knowledge base: their space then is that of the mentions, too.
    pooling: the vector of a mention is that of the first piece ("cls"), the mean of the mention's
        pieces ("mention") or of all pieces ("mean").
    context_characters: on each side of a mention, in whole tokens.
    max_length: word pieces of an input; at most what the encoder takes.
    batch_pieces: padded word pieces of one pass through the encoder. Memory grows with it, in
        training too, and hardly with the number of mentions.
    mixed_precision: run the encoder in bfloat16 where the hardware has instructions for it.
    tokenizer_config, transformer_config: settings that replace those of the tokenizer, which has
        to be a fast one, and those in the encoder's own config.
    nO: the width of the output; a ``faiss_entity_linker`` sets it to that of its knowledge base.
        A linear layer follows the encoder only where that is not its own width.

    Raises ValueError where a setting is out of its range.
    """
    where = "ContextualMentionEncoder: "
    if pooling not in POOLINGS:
        raise ValueError(f"{where}pooling is '{pooling}', expected one of {list(POOLINGS)}.")
    for setting, value, least in (
        ("context_characters", context_characters, 0),
        ("max_length", max_length, 1),
        ("batch_pieces", batch_pieces, 1),
    ):
        if value < least:
            raise ValueError(f"{where}{setting} is {value}, expected {least} or more.")
    module = ContextualMentionModule(
        name, pooling, context_characters, max_length, batch_pieces, mixed_precision
    )
    module.tokenizer_config = dict(tokenizer_config or {})
    module.transformer_config = dict(transformer_config or {})
    encoder = own_encoder_layer(module, "mention_head")
    return Model(
        "contextual_mention_encoder",
        forward,
        init=init,
        layers=[encoder],
        refs={"encoder": encoder},
        dims={"nO": nO},
    )


class ContextualMentionModule(nn.Module):
    """An encoder of its own, and a linear layer where vectors of another width are wanted.

    See ``ContextualMentionEncoder_v1``. Both are made when the model is initialized or loaded. The
    parameters of the linear layer have "mention_head" in their names.
    """

    def __init__(
        self,
        name: str,
        pooling: str,
        context_characters: int,
        max_length: int,
        batch_pieces: int,
        mixed_precision: bool,
    ):
        super().__init__()
        self.name = name
        self.pooling = pooling
        self.context_characters = context_characters
        self.max_length = max_length
        self.batch_pieces = batch_pieces
        self.tokenizer_config: Dict[str, Any] = {}
        self.transformer_config: Dict[str, Any] = {}
        self.encoder = OwnEncoder(mixed_precision=mixed_precision)
        self.register_module("mention_head", None)
        self.n_out = 0
        self.reader: Optional[MentionReader] = None

    @property
    def sizes(self) -> Dict[str, Any]:
        return {"n_out": self.n_out}

    def build(self, n_out: int) -> None:
        """Make the linear layer anew, and read the encoder if there is none yet.

        Raises ValueError where the encoder cannot be read or used.
        """
        if not self.encoder.is_loaded:
            self.encoder.load(self.name, self.tokenizer_config, self.transformer_config)
        self.reader = MentionReader(
            self.encoder.tokenizer,
            self.max_length,
            self.encoder.max_pieces,
            self.context_characters,
            self.pooling,
        )
        width = self.encoder.width
        self.mention_head = nn.Identity() if n_out == width else nn.Linear(width, n_out)
        self.n_out = n_out

    def prepare(self, docs: Sequence[Doc], tables: Sequence[MentionTable]) -> InputRows:
        """Make the inputs of mentions."""
        assert self.reader is not None
        return self.reader.read(docs, tables)

    def forward(self, rows: InputRows) -> Tensor:
        """RETURNS: float32, (mentions, n_out)."""
        vectors = encode_rows(self, self._read, rows, self.batch_pieces, self.encoder.width)
        return self.mention_head(vectors)

    def _read(self, ids: Tensor, mask: Tensor, types: Optional[Tensor], read: Tensor) -> Tensor:
        options = {} if types is None else {"token_type_ids": types}
        hidden = self.encoder(ids, mask, **options).last_hidden_state.float()
        begin = read[:, :1]
        # a mention without pieces has the separator behind it
        end = torch.maximum(read[:, 1:], begin + 1)
        places = torch.arange(ids.shape[1], device=ids.device)
        pooled = ((places >= begin) & (places < end)).to(hidden.dtype)
        return torch.einsum("np,npw->nw", pooled, hidden) / (end - begin)


def init(
    model: Model[MentionInput, MentionVectors],
    X: Optional[MentionInput] = None,
    Y: Optional[Any] = None,
) -> None:
    """Read the encoder, if there is none yet; ``nO`` has to be set before.

    Raises ValueError where it is not, or the encoder cannot be read or used.
    """
    if model.has_dim("nO") is None:
        raise ValueError(
            "ContextualMentionEncoder has no output width: expected nO to be set, as a "
            "faiss_entity_linker does from its knowledge base."
        )
    build_parameters(model.get_ref("encoder"), model.get_dim("nO"))


def forward(
    model: Model[MentionInput, MentionVectors], inputs: MentionInput, is_train: bool
) -> Tuple[MentionVectors, Callable[[MentionVectors], MentionInput]]:
    """Read the mentions of all documents.

    Raises ValueError where a mention covers no token or leaves its document.
    """
    docs, tables = inputs
    encoder = model.get_ref("encoder")
    module: ContextualMentionModule = built_module(encoder, "ContextualMentionEncoder")
    check_mentions(tables, [len(doc) for doc in docs])
    sizes = [len(table) for table in tables]
    if not sum(sizes):
        empty: List[Any] = [model.ops.alloc2f(0, module.n_out) for _ in tables]
        return empty, lambda d_vectors: inputs
    vectors, backprop_encoder = encoder(module.prepare(docs, tables), is_train)

    def backprop(d_vectors: MentionVectors) -> MentionInput:
        backprop_encoder(model.ops.xp.concatenate(d_vectors))
        return inputs

    return split_rows(model.ops, vectors, sizes), backprop
