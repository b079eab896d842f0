"""Names by the million for ``linking_scale.py``: those of a knowledge base, and derived ones.

A derived name is a real one and one more word, drawn from the words of the real names. Its
lexical vector is that of the derived string. Its semantic vector is the real name's vector plus
seeded noise, of length 1 again, at the cosine that real names and those with one more word have
(a median of .79 over the pairs of kb_open_union).
"""

import zlib
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Set

import numpy

from spacy_bioie.kb import Concept, read_concepts
from spacy_bioie.kb.lexical import normalise_rows
from spacy_bioie.kb.name_encoders import TransformerNameEncoder
from spacy_bioie.kb.normalisation import normalise_name

CHUNK = 8192
COSINE = 0.79
_NOISE_BITS = 14


def real_names(source: Path) -> List[str]:
    """The distinct normalised names of a knowledge base, by length, then by text."""
    found: Set[str] = set()
    for concept in read_concepts(source):
        found.update(normalise_name(name) for name in concept.names)
    return sorted(found - {""}, key=lambda name: (len(name), name))


def encode_names(source: Path, folder: Path, encoder: TransformerNameEncoder) -> None:
    """Write ``names.txt`` and the vectors, float16, ``0000.npy`` ...; what is there stays."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "names.txt"
    if not file.is_file():
        file.write_text("\n".join(real_names(source)), encoding="utf8")
    names = file.read_text(encoding="utf8").split("\n")
    for begin in range(0, len(names), CHUNK):
        path = folder / f"{begin // CHUNK:04d}.npy"
        if not path.is_file():
            beside = path.with_suffix(".tmp.npy")
            numpy.save(beside, encoder.encode(names[begin : begin + CHUNK]).astype("float16"))
            beside.rename(path)


class ScaleEncoder:
    """The vectors of real names from the cache, of derived ones as above, of others by encoding.

    It is saved as the encoder of the others: a knowledge base loads without the cache.
    """

    def __init__(self, folder: Path, encoder: TransformerNameEncoder):
        self.encoder = encoder
        self.dims = encoder.dims
        names = (folder / "names.txt").read_text(encoding="utf8").split("\n")
        self.rows: Dict[str, int] = {name: row for row, name in enumerate(names)}
        files = sorted(folder.glob("[0-9][0-9][0-9][0-9].npy"))
        self.vectors = numpy.concatenate([numpy.load(file) for file in files])
        if len(self.vectors) != len(names):
            raise ValueError(
                f"'{folder}' has vectors of {len(self.vectors)} names: expected {len(names)}."
            )
        random = numpy.random.default_rng(0)
        self.noise = random.normal(size=(1 << _NOISE_BITS, self.dims)).astype("float32")

    def encode(self, names: Sequence[str], progress: bool = False) -> numpy.ndarray:
        rows = numpy.asarray([self.rows.get(name, -1) for name in names], dtype="int64")
        out = numpy.zeros((len(names), self.dims), dtype="float32")
        out[rows >= 0] = self.vectors[rows[rows >= 0]]
        others = []
        for i in numpy.nonzero(rows < 0)[0].tolist():
            rows[i] = self.rows.get(names[i].rpartition(" ")[0], -1)
            if rows[i] >= 0:
                out[i] = self._derived(names[i], self.vectors[rows[i]])
            else:
                others.append(i)
        if others:
            out[others] = self.encoder.encode([names[i] for i in others])
        return normalise_rows(out)

    def _derived(self, name: str, base: numpy.ndarray) -> numpy.ndarray:
        drawn = zlib.crc32(name.encode("utf8"))
        mask = (1 << _NOISE_BITS) - 1
        noise = self.noise[drawn & mask] + self.noise[(drawn >> _NOISE_BITS) & mask]
        scale = numpy.sqrt(1 - COSINE**2) / numpy.linalg.norm(noise)
        return COSINE * base.astype("float32") + scale * noise

    def settings(self) -> Dict[str, Any]:
        return self.encoder.settings()

    def save(self, folder: Path) -> None:
        self.encoder.save(folder)


def scale_concepts(source: Path, n_names: int) -> Iterator[Concept]:
    """The concepts of a knowledge base, then copies with derived names until there are enough."""
    concepts = list(read_concepts(source))
    yield from concepts
    seen = {normalise_name(name) for concept in concepts for name in concept.names}
    words = sorted({word for name in seen for word in name.split() if word.isalpha()})
    n, copy = len(seen), 0
    while n < n_names:
        copy += 1
        copied: Set[str] = set()
        for concept in concepts:
            names = []
            for name in concept.names:
                name = normalise_name(name)
                drawn = zlib.crc32(f"{copy} {name}".encode())
                names.append(f"{name} {words[drawn % len(words)]}")
            n += len(set(names) - copied)
            copied.update(names)
            yield Concept(f"{concept.concept_id}~{copy}", names[0], tuple(names[1:]))
            if n >= n_names:
                return
