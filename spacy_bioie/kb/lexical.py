"""Name vectors from spelling alone: hashed character n-grams, weighted by their rarity."""

from typing import Iterator, Sequence, Tuple

import numpy

_CHUNK = 8192
_MULTIPLIERS = numpy.asarray(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93],
    dtype="uint64",
)


class LexicalVectorizer:
    """TF-IDF vectors of the character 2- to 4-grams of a name, hashed to few dimensions.

    Each n-gram of the name, with a blank before and after it, adds its inverse document frequency
    with a hashed sign to one hashed dimension (signed feature hashing, Weinberger et al. 2009,
    https://arxiv.org/abs/0902.2206, eq. 2-3, which keeps inner products in expectation). Inverse
    document frequencies are log((1 + names) / (1 + names with the n-gram)) + 1, kept in
    ``len(idf)`` hash buckets.
    """

    sizes = (2, 3, 4)
    bucket_bits = 18

    def __init__(self, dims: int, idf: numpy.ndarray):
        self.dims = dims
        self.idf = numpy.asarray(idf)

    @classmethod
    def fit(cls, names: Sequence[str], dims: int = 256) -> "LexicalVectorizer":
        """Count in how many of these (distinct, normalised) names each n-gram occurs.

        dims: the width of the vectors; with 0 nothing is counted.
        Raises ValueError where ``dims`` is negative.
        """
        if dims < 0:
            raise ValueError(f"lexical_dims is {dims}: expected 0 or more.")
        if dims == 0:
            return cls(0, numpy.zeros((0,), dtype="float32"))
        buckets = 1 << cls.bucket_bits
        counts = numpy.zeros((buckets,), dtype="int64")
        for rows, hashes, _ in _ngrams(names, cls.sizes):
            # Sorted by hand: numpy.unique hashes integers, which takes minutes on keys like these
            keys = numpy.sort(rows * buckets + _bucket(hashes, cls.bucket_bits))
            distinct = keys[numpy.append(True, keys[1:] != keys[:-1])[: len(keys)]]
            counts += numpy.bincount(distinct % buckets, minlength=buckets)
        idf = numpy.log((1 + len(names)) / (1 + counts)) + 1
        return cls(dims, idf.astype("float32"))

    def transform(self, names: Sequence[str]) -> numpy.ndarray:
        """Vectors of normalised names: float32, (names, dims), of length 1 (0 for "")."""
        out = numpy.zeros((len(names), self.dims), dtype="float32")
        if self.dims == 0:
            return out
        begin = 0
        for rows, hashes, n in _ngrams(names, self.sizes):
            weights = self.idf[_bucket(hashes, self.bucket_bits)].astype("float64")
            weights *= 1.0 - 2.0 * (hashes & numpy.uint64(1)).astype("float64")
            dims = ((hashes >> numpy.uint64(1)) & numpy.uint64(0xFFFFFF)) % numpy.uint64(self.dims)
            flat = rows * self.dims + dims.astype("int64")
            sums = numpy.bincount(flat, weights=weights, minlength=n * self.dims)
            out[begin : begin + n] = sums.reshape((n, self.dims))
            begin += n
        return normalise_rows(out)


def normalise_rows(vectors: numpy.ndarray) -> numpy.ndarray:
    """Divide each row by its length; rows of zeros stay."""
    lengths = numpy.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / numpy.where(lengths > 0, lengths, 1)


def _bucket(hashes: numpy.ndarray, bits: int) -> numpy.ndarray:
    return (hashes >> numpy.uint64(64 - bits)).astype("int64")


def _ngrams(
    names: Sequence[str], sizes: Sequence[int]
) -> Iterator[Tuple[numpy.ndarray, numpy.ndarray, int]]:
    """For each chunk of names: row in the chunk and 64-bit hash of every n-gram, and its names."""
    for begin in range(0, len(names), _CHUNK):
        chunk = [f" {name} " if name else "" for name in names[begin : begin + _CHUNK]]
        text = "".join(chunk).encode("utf-32-le", errors="surrogatepass")
        codes = numpy.frombuffer(text, dtype="uint32").astype("uint64") + numpy.uint64(1)
        owner = numpy.repeat(numpy.arange(len(chunk)), [len(name) for name in chunk])
        rows, hashes = [], []
        for size in sizes:
            count = max(len(codes) - size + 1, 0)
            mixed = numpy.full((count,), size, dtype="uint64")
            for i in range(size):
                mixed = (mixed ^ codes[i : i + count]) * _MULTIPLIERS[i]
                mixed ^= mixed >> numpy.uint64(29)
            inside = owner[:count] == owner[size - 1 : size - 1 + count]
            rows.append(owner[:count][inside])
            hashes.append(_finish(mixed[inside]))
        yield numpy.concatenate(rows), numpy.concatenate(hashes), len(chunk)


def _finish(hashes: numpy.ndarray) -> numpy.ndarray:
    """Spread the bits of a hash (the finaliser of splitmix64)."""
    hashes = (hashes ^ (hashes >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> numpy.uint64(31))
