"""What two mentions both attend to in their document: localized context pooling (Zhou et al.,
AAAI 2021, section 3.3) with an attention of its own, so that it works over any token vectors."""

from typing import Tuple

import torch
from torch import Tensor, nn


class PairAttention(nn.Module):
    """Attention of each mention over the tokens of its document, and what a token then gives."""

    def __init__(self, width: int, mention_size: int, hidden_size: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(mention_size, hidden_size)
        self.key = nn.Linear(width, hidden_size, bias=False)
        self.value = nn.Linear(width, hidden_size, bias=False)

    def forward(self, tokens: Tensor, vectors: Tensor, mentions: Tensor) -> Tuple[Tensor, Tensor]:
        """Let mentions attend.

        tokens: float32, (tokens, width). vectors: float32, (mentions, mention_size). mentions:
        int64, (mentions, 8), see ``pair_features.mention_positions``; in the order of their
        documents.
        RETURNS: attention, float32, (mentions, heads, longest document), where rows of shorter
            documents end in zeros; and values, float32, (tokens, hidden_size).
        """
        first, end = mentions[:, 6], mentions[:, 7]
        query = self.query(vectors).unflatten(1, (self.n_heads, -1))
        key = self.key(tokens).unflatten(1, (self.n_heads, -1))
        longest = int((end - first).max()) if len(mentions) else 0
        rows = []
        for start, stop, block in _documents(mentions):
            scores = torch.einsum("mhd,nhd->mhn", query[block], key[start:stop])
            attention = (scores / query.shape[2] ** 0.5).softmax(dim=2)
            rows.append(nn.functional.pad(attention, (0, longest - (stop - start))))
        none = tokens.new_zeros((0, self.n_heads, longest))
        return torch.cat([none, *rows]), self.value(tokens)


def attended_context(attention: Tensor, values: Tensor, mentions: Tensor, pairs: Tensor) -> Tensor:
    """Pool the values by what both mentions of a pair attend to.

    The weight of a token is the product of both attentions, averaged over the heads and
    normalised (equation 8). attention, values: from ``PairAttention``. pairs: int64, (pairs, 2),
    in the order of their documents.
    RETURNS: float32, (pairs, hidden_size).
    """
    heads, tails = pairs[:, 0], pairs[:, 1]
    pooled = [values.new_zeros((0, values.shape[1]))]
    for start, stop, block in _documents(mentions[heads]):
        n = stop - start
        both = (attention[heads[block], :, :n] * attention[tails[block], :, :n]).mean(dim=1)
        both = both / (both.sum(dim=1, keepdim=True) + 1e-10)
        pooled.append(both @ values[start:stop])
    return torch.cat(pooled)


def _documents(mentions: Tensor):
    """The documents that rows of mentions belong to: first token, last token + 1, and the rows."""
    if not len(mentions):
        return
    borders = mentions[:, 6:8].cpu()
    starts, counts = torch.unique_consecutive(borders, dim=0, return_counts=True)
    row = 0
    for (start, stop), count in zip(starts.tolist(), counts.tolist(), strict=True):
        yield start, stop, slice(row, row + count)
        row += count
