"""Name vectors: spelling and meaning side by side, so that one inner product weighs both."""

from collections import OrderedDict
from typing import List, Sequence

import numpy

from .lexical import LexicalVectorizer, normalise_rows
from .name_encoders import NameEncoder


class NameVectorizer:
    """Vectors [sqrt(w_lex) * lexical | sqrt(w_sem) * semantic] of normalised names.

    Both parts have length 1, so the inner product of two names is w_lex times the cosine of their
    lexical parts plus w_sem times the cosine of their semantic parts. The weights are scaled to
    a sum of 1; a part of width 0 has no weight.

    cache_size: so many vectors of mention names are kept, the ones used last.
    """

    def __init__(
        self,
        lexical: LexicalVectorizer,
        encoder: NameEncoder,
        *,
        lexical_weight: float = 0.5,
        semantic_weight: float = 0.5,
        cache_size: int = 20_000,
    ):
        if encoder.dims == 0:
            semantic_weight = 0.0
        if lexical.dims == 0:
            lexical_weight = 0.0
        if lexical_weight < 0 or semantic_weight < 0 or lexical_weight + semantic_weight <= 0:
            raise ValueError(
                f"The lexical part (width {lexical.dims}) has the weight {lexical_weight}, the "
                f"semantic part (width {encoder.dims}) {semantic_weight}: expected no negative "
                "weight, and one above 0."
            )
        total = lexical_weight + semantic_weight
        self.lexical = lexical
        self.encoder = encoder
        self.lexical_weight = lexical_weight / total
        self.semantic_weight = semantic_weight / total
        self.cache_size = cache_size
        self._cache: OrderedDict[str, numpy.ndarray] = OrderedDict()

    @property
    def dims(self) -> int:
        """The width of a name vector."""
        return self.lexical.dims + self.encoder.dims

    @property
    def context_slice(self) -> slice:
        """The columns for contexts: the semantic part, or the lexical one if there is no other."""
        if self.encoder.dims:
            return slice(self.lexical.dims, self.dims)
        return slice(0, self.lexical.dims)

    def vectors(self, names: Sequence[str], progress: bool = False) -> numpy.ndarray:
        """Vectors of normalised names: float32, (names, dims)."""
        out = numpy.empty((len(names), self.dims), dtype="float32")
        split = self.lexical.dims
        if split:
            out[:, :split] = numpy.sqrt(self.lexical_weight) * self.lexical.transform(names)
        if self.encoder.dims:
            out[:, split:] = numpy.sqrt(self.semantic_weight) * self.encoder.encode(names, progress)
        return out

    def vectors_of_meanings(self, names: Sequence[str], meanings: numpy.ndarray) -> numpy.ndarray:
        """Vectors of normalised names whose semantic part is given: float32, (names, dims).

        meanings: (names, width of the semantic part), of any length; without a semantic part they
        do not count.
        """
        split = self.lexical.dims
        out = numpy.empty((len(names), self.dims), dtype="float32")
        if split:
            out[:, :split] = numpy.sqrt(self.lexical_weight) * self.lexical.transform(names)
        if self.encoder.dims:
            out[:, split:] = numpy.sqrt(self.semantic_weight) * normalise_rows(meanings)
        return out

    def clear_cache(self) -> None:
        """Forget the vectors of mention names."""
        self._cache.clear()

    def cached_vectors(self, names: Sequence[str]) -> numpy.ndarray:
        """As ``vectors`` for distinct names, of which only those not seen lately are computed."""
        cache = self._cache
        missing: List[str] = [name for name in names if name not in cache]
        fresh = dict(zip(missing, self.vectors(missing), strict=True)) if missing else {}
        out = numpy.empty((len(names), self.dims), dtype="float32")
        for i, name in enumerate(names):
            if name in fresh:
                out[i] = fresh[name]
            else:
                out[i] = cache[name]
                cache.move_to_end(name)
        for name in missing[-self.cache_size :] if self.cache_size else ():
            # a copy: a row would keep the whole array of its batch alive
            cache[name] = fresh[name].copy()
        while len(cache) > self.cache_size:
            cache.popitem(last=False)
        return out
