"""Exact inner-product search in torch, for a GPU that torch sees and faiss does not."""

from typing import Any, Tuple

import numpy

# Products held at a time: 256 MB
_PRODUCTS = 2**26
_QUERIES = 1024
_COPIED_ROWS = 65_536


class TorchSearcher:
    """Searches the rows of a matrix as a ``Flat`` index of faiss does.

    vectors: a torch tensor of shape (names, dims), float32 or float16, on the device that is to
        search. Products are computed in float32 either way: halves are a form of storage, whose
        rounding moves a product of unit vectors by less than 1e-3.
    max_products: so many products are held at a time, the more the faster.
    """

    def __init__(self, vectors: Any, max_products: int = _PRODUCTS):
        self.vectors = vectors
        self.max_products = max_products

    @classmethod
    def from_index(cls, index: Any, device: str, half: bool = False) -> "TorchSearcher":
        """Copy the vectors of a ``Flat`` index of faiss to a device, block by block."""
        import torch

        n, kind = index.ntotal, torch.float16 if half else torch.float32
        vectors = torch.empty((n, index.d), dtype=kind, device=device)
        for begin in range(0, n, _COPIED_ROWS):
            block = index.reconstruct_n(begin, min(_COPIED_ROWS, n - begin))
            vectors[begin : begin + len(block)] = torch.from_numpy(block).to(device)
        return cls(vectors)

    def search(self, queries: numpy.ndarray, k: int) -> Tuple[numpy.ndarray, numpy.ndarray]:
        """The k nearest rows of each query, best first, and of equal ones the lower row first.

        queries: float32, (n, dims).
        RETURNS: inner products, float32, and rows, int64, both (n, k); where there are fewer than
            k rows they end with -infinity and -1.
        """
        import torch

        products = numpy.full((len(queries), k), -numpy.inf, dtype="float32")
        rows = numpy.full((len(queries), k), -1, dtype="int64")
        filled = min(k, len(self.vectors))
        for begin in range(0, len(queries) if filled else 0, _QUERIES):
            batch = torch.from_numpy(queries[begin : begin + _QUERIES]).to(self.vectors.device)
            with torch.inference_mode():
                best, found = self._search_batch(torch, batch, filled)
            products[begin : begin + len(batch), :filled] = best.cpu().numpy()
            rows[begin : begin + len(batch), :filled] = found.cpu().numpy()
        return products, rows

    def _search_batch(self, torch: Any, queries: Any, k: int) -> Tuple[Any, Any]:
        step = max(self.max_products // len(queries), 1)
        best = queries.new_empty((len(queries), 0))
        found = torch.empty_like(best, dtype=torch.int64)
        for begin in range(0, len(self.vectors), step):
            block = queries @ self.vectors[begin : begin + step].float().T
            values, places = _top(torch, block, min(k, block.shape[1]))
            # The rows of earlier blocks are lower and stand in front: a stable sort keeps them so
            best, order = torch.cat([best, values], 1).sort(dim=1, descending=True, stable=True)
            found = torch.cat([found, places + begin], 1).gather(1, order)
            best, found = best[:, :k], found[:, :k]
        return best, found


def _top(torch: Any, products: Any, k: int) -> Tuple[Any, Any]:
    """The k greatest products of each row, sorted, and their columns; equal ones by column."""
    values, places = products.topk(min(k + 1, products.shape[1]), dim=1)
    if values.shape[1] > k:
        # topk takes any of those that are equal to the last one
        cut = (values[:, k - 1] == values[:, k]).nonzero()[:, 0]
        values, places = values[:, :k].clone(), places[:, :k].clone()
        if len(cut):
            sorted_values, order = products[cut].sort(dim=1, descending=True, stable=True)
            values[cut], places[cut] = sorted_values[:, :k], order[:, :k]
    places, order = places.sort(1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values, places.gather(1, order)
