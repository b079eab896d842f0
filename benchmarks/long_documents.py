"""Long documents: overlap of windows, agreement with one window by distance to the edge, growth.

    python benchmarks/long_documents.py PIPELINE --data FOLDER --name NAME

PIPELINE has a ``nested_spancat`` over ``spacy_bioie.TransformerModel.v1``. All texts are of
GutBrainIE's dev documents.

Overlap: abstracts in a row, as one text of 10,000 word pieces, in several orders; strict micro-F1
and time with windows that overlap by half, as the package has them, and by three quarters. Edges:
sections of at most one window are cut into smaller ones; of the spans found either way, the share
that both find, by the word pieces between a span and the nearest edge that is not the section's
own. Growth: processor time and memory over texts of 1,250 to 10,000 pieces, with the mentions
found, each in a process of its own; relations, whose pairs grow with the square of the mentions,
apart.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Set, Tuple

import numpy
import spacy
from results import describe_files, write_result
from spacy.language import Language
from spacy.tokens import Doc
from spans_run import resident_mb

from spacy_bioie.annotation import get_mentions, mention_characters, section_token_ranges
from spacy_bioie.formats.articles import article_to_doc
from spacy_bioie.formats.gutbrainie import read_articles
from spacy_bioie.models.token_vectors import choose_windows
from spacy_bioie.models.window_cutter import WindowCutter
from spacy_bioie.models.windows import count_positions
from spacy_bioie.scoring.rules import TASKS, count_items

DEV = "gutbrainie/Annotations/Dev/json_format/dev.json"
LENGTH = 10_000
ORDERS = 3
WINDOWS = (512, 256, 128)
SMALLER = (256, 128, 64)
SIZES = (1_250, 2_500, 5_000, 10_000)
DISTANCES = (8, 16, 32, 64, 128)
PASSES = 3
RELATIONS = "relation_extractor"


class Text(NamedTuple):
    """A text and the characters and labels of its gold mentions."""

    text: str
    gold: Set[Tuple[int, int, str]]


class ShiftedCutter(WindowCutter):
    """Windows each of which begins a share of a window after the one before."""

    share = 0.25

    def _borders(self, pieces: Any) -> List[Tuple[int, int]]:
        borders, windows, begin = pieces.borders(), [], 0
        while True:
            reach = int(numpy.searchsorted(borders, begin + self.room, side="right")) - 1
            end = int(borders[reach])
            if end > begin:
                windows.append((begin, end))
            if reach == len(borders) - 1:
                return windows
            later = borders[(borders > begin) & (borders <= end)]
            begin = int(later[numpy.argmin(numpy.abs(later - begin - self.share * self.room))])


def set_windows(nlp: Language, window: int, overlap: float = 0.5) -> WindowCutter:
    """Give the encoder windows of so many pieces and this overlap."""
    model: Any = nlp.get_pipe("transformer").model  # type: ignore[attr-defined]
    positions = count_positions(model.transformer)
    kind = WindowCutter if overlap == 0.5 else ShiftedCutter
    model._cutter = kind(model.tokenizer, window, positions)
    if overlap != 0.5:
        model._cutter.share = 1.0 - overlap
    return model._cutter


def row_of(docs: Sequence[Doc], tokenizer: Any, pieces: int) -> Text:
    """Documents in a row, one section, until there are so many pieces; from the first again."""
    text, gold, found = "", set(), 0
    for doc in list(docs) * (1 + pieces // len(docs)):
        begin = len(text)
        text += doc.text.replace("\n", " ") + " "
        for mention in get_mentions(doc):
            start, end = mention_characters(doc, mention)
            gold.add((begin + start, begin + end, mention.label))
        found += len(tokenizer(doc.text, add_special_tokens=False)["input_ids"])
        if found >= pieces:
            break
    return Text(text, gold)


def found_in(doc: Doc) -> Set[Tuple[int, int, str]]:
    return {(*mention_characters(doc, m), m.label) for m in get_mentions(doc)}


def micro_f(gold: Sequence[Set], predicted: Sequence[Set]) -> float:
    def items(texts: Sequence[Set]) -> List[List[Tuple]]:
        return [[(start, end, "", "", label) for start, end, label in found] for found in texts]

    return count_items(items(gold), items(predicted), TASKS["ner"], "strict").averages()["micro_f"]


def overlaps(nlp: Language, docs: Sequence[Doc]) -> Dict[str, float]:
    """Half overlap against three quarters on long texts, and the documents by themselves."""
    tokenizer = set_windows(nlp, WINDOWS[0]).tokenizer
    orders = [random.Random(i).sample(list(docs), len(docs)) for i in range(ORDERS)]
    texts = [row_of(order, tokenizer, LENGTH) for order in orders]
    alone = [found_in(doc) for doc in nlp.pipe(doc.text for doc in docs)]
    figures = {"apart strict_micro_f": micro_f([found_in(doc) for doc in docs], alone)}
    for window in WINDOWS:
        found = {}
        for overlap in (0.5, 0.75):
            name = f"window {window}, overlap {overlap}"
            set_windows(nlp, window, overlap)
            start = time.process_time()
            predicted = [found_in(nlp(text.text)) for text in texts]
            figures[f"{name}: cpu_seconds"] = (time.process_time() - start) / ORDERS
            figures[f"{name}: strict_micro_f"] = micro_f([t.gold for t in texts], predicted)
            found[overlap] = predicted
        figures[f"window {window}: f1_of_both"] = micro_f(found[0.5], found[0.75])
    return figures


def edge_distances(doc: Doc, cutter: WindowCutter) -> numpy.ndarray:
    """For each token its pieces to the nearer edge of its window; infinite to a section's own."""
    cut = cutter.cut([doc])
    windows = [(span.start, span.end) for span in cut.spans[0]]
    begins = [start for start, _ in section_token_ranges(doc)]
    section = numpy.searchsorted(begins, [start for start, _ in windows], side="right")
    counts: Any = cut.align.lengths
    width = cut.wordpieces.input_ids.shape[1]
    pieces, lengths = choose_windows(cut.align.dataXd, counts, cut.wordpieces.lengths, width)
    ends = numpy.cumsum(lengths)
    distances = numpy.full((len(doc),), numpy.inf)
    body = len(cutter.special.prefix)
    for token in numpy.flatnonzero(lengths).tolist():
        window, place = divmod(int(pieces[ends[token] - lengths[token]]), width)
        last = int(pieces[ends[token] - 1]) % width
        others = [windows[i] for i in numpy.flatnonzero(section == section[window])]
        start, end = windows[window]
        if start > min(other[0] for other in others):
            distances[token] = place - body
        if end < max(other[1] for other in others):
            room = cut.wordpieces.lengths[window] - cutter.n_special
            distances[token] = min(distances[token], room - 1 - (last - body))
    return distances


def edges(nlp: Language, docs: Sequence[Doc]) -> Dict[str, float]:
    """Agreement of smaller windows with one window, by distance from the nearest edge."""
    one = set_windows(nlp, max(WINDOWS))
    docs = [doc for doc in docs if len(one.lengths([doc])) == len(section_token_ranges(doc))]
    texts = [doc.text for doc in docs]
    whole = [found_tokens(doc) for doc in nlp.pipe(texts)]
    figures: Dict[str, float] = {"documents in one window": len(docs)}
    names = [*(f"below {n}" for n in DISTANCES), f"{DISTANCES[-1]} or more", "no edge"]
    for window in SMALLER:
        cutter = set_windows(nlp, window)
        same, total = numpy.zeros((len(names),)), numpy.zeros((len(names),))
        for doc, expected in zip(nlp.pipe(texts), whole, strict=True):
            distances = edge_distances(doc, cutter)
            found = found_tokens(doc)
            for start, end, label in found | expected:
                nearest = distances[start:end].min()
                place = len(names) - 1 if numpy.isinf(nearest) else _bin(nearest)
                total[place] += 1
                same[place] += (start, end, label) in found & expected
        for name, agreeing, spans in zip(names, same.tolist(), total.tolist(), strict=True):
            if spans:
                figures[f"window {window}, {name}: agreement"] = agreeing / spans
                figures[f"window {window}, {name}: spans"] = int(spans)
    return figures


def found_tokens(doc: Doc) -> Set[Tuple[int, int, str]]:
    return {(m.start, m.end, m.label) for m in get_mentions(doc)}


def _bin(distance: float) -> int:
    return int(numpy.searchsorted(DISTANCES, distance, side="right"))


def growth(pipeline: str, docs: Sequence[Doc], tokenizer: Any) -> Dict[str, float]:
    """Time and memory over texts of growing length, and per piece in those of the shortest."""
    figures: Dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            path = Path(folder) / f"{size}.txt"
            path.write_text(row_of(docs, tokenizer, size).text, encoding="utf8")
            found = in_own_process(pipeline, path)
            figures.update({f"{size} pieces: {key}": value for key, value in found.items()})
    for key in ("cpu_seconds", "growth_mb"):
        shortest, longest = (figures[f"{size} pieces: {key}"] for size in (SIZES[0], SIZES[-1]))
        figures[f"{key} a piece, longest/shortest"] = longest / shortest * SIZES[0] / SIZES[-1]
    return figures


def in_own_process(pipeline: str, path: Path) -> Dict[str, float]:
    command = [sys.executable, __file__, pipeline, "--text", str(path)]
    found = subprocess.check_output(command, text=True)
    return json.loads(found.splitlines()[-1])


def one_text(pipeline: str, path: Path) -> Dict[str, float]:
    """What one text takes, after a short one."""
    nlp = spacy.load(pipeline)
    doc = nlp("A short text.")
    before = resident_mb()
    text = path.read_text(encoding="utf8")
    seconds: Dict[str, List[float]] = {"cpu_seconds": [], "relations_cpu_seconds": []}
    for _ in range(PASSES):
        doc, start = nlp.make_doc(text), time.process_time()
        for name, component in nlp.pipeline:
            if name == RELATIONS:
                seconds["cpu_seconds"].append(time.process_time() - start)
                start = time.process_time()
            doc = component(doc)
        last = "relations_cpu_seconds" if RELATIONS in nlp.pipe_names else "cpu_seconds"
        seconds[last].append(time.process_time() - start)
    peak = peak_mb()
    return {
        "mentions": len(get_mentions(doc)),
        **{name: sorted(found)[PASSES // 2] for name, found in seconds.items() if found},
        "growth_mb": peak - before,
        "peak_mb": peak,
    }


def peak_mb() -> float:
    """The most memory this process had; getrusage counts what its parent had when it forked."""
    status = Path("/proc/self/status").read_text(encoding="utf8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main(command: Any = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pipeline")
    parser.add_argument("--data", type=Path, help="the folder of all corpora")
    parser.add_argument("--name", default="minilm", help="of the result, after long_documents_")
    parser.add_argument("--text", type=Path, help="only say what this text takes")
    arguments = parser.parse_args(command)
    if arguments.text:
        print(json.dumps(one_text(arguments.pipeline, arguments.text)))
        return
    start = time.perf_counter()
    nlp = spacy.load(arguments.pipeline)
    dev = arguments.data / DEV
    docs = [article_to_doc(article, nlp.tokenizer) for article in read_articles(dev)]
    tokenizer = set_windows(nlp, WINDOWS[0]).tokenizer
    metrics = {
        **overlaps(nlp, docs),
        **edges(nlp, docs),
        **growth(arguments.pipeline, docs, tokenizer),
    }
    path = write_result(
        f"long_documents_{arguments.name}",
        benchmark="long_documents",
        system=arguments.name,
        metrics=metrics,
        data=describe_files([dev]),
        config={"pieces": LENGTH, "orders": ORDERS, "passes": PASSES, "pipeline": nlp.pipe_names},
        seeds=list(range(ORDERS)),
        seconds=time.perf_counter() - start,
        peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )
    print(json.dumps(metrics, indent=2))
    print(path.name)


if __name__ == "__main__":
    main()
