"""Scores of files by ELCardioCC's tasks: mentions with codes (EL), codes of documents (MLC-X).

Files are this package's JSONL, as ``predict`` and ``convert`` write it, or DocBins (.spacy).
Documents are matched by their ids. What counts is said in ``coding``.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from spacy.tokens import Doc

from ..annotation import META_KEY, SPANS_KEY
from ..annotation.codes import CODES_KEY
from ..formats.convert import blank_tokenizer
from ..formats.docbin import read_docbin
from ..formats.errors import FormatError
from ..formats.jsonl import read_jsonl
from .coding import TASKS, coded_mentions, codes_of, has_coded_mentions
from .files import check_resamples, difference_figures, interval_figures, write_json
from .gutbrainie import report_counts
from .links import has_links
from .rules import CountTable, Item, count_items

CODING_TASKS = {"el": "el", "mlc-x": "mlcx"}  # the names of ``coding.TASKS``


class CodedDocument(NamedTuple):
    """What is scored of a document.

    mentions: (start, end, code), "" for no code. annotated: whether it says which codes there are.
    """

    text: str
    mentions: list[tuple[int, int, str]]
    codes: list[str]
    annotated: bool


def evaluate_coding_files(
    gold: str | Path,
    pred: str | Path,
    task: str,
    *,
    spans_key: str = SPANS_KEY,
    compare: str | Path | None = None,
    resamples: int = 1000,
    seed: int = 0,
    output: str | Path | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Score the codes of a file against those of a gold file, both .jsonl or .spacy.

    task: ``el`` or ``mlc-x``. spans_key: the group of the mentions, in DocBins; a line of JSONL has
    one. ``compare``, ``resamples``, ``seed``, ``output`` and ``progress`` are those of
    ``files.evaluate_files``.

    A gold document without a prediction loses recall, and one whose annotation does not say which
    codes there are is left out: it has mentions, but none is linked and, of ``mlc-x``, no codes
    are stated; or, of ``el``, it states codes and has no mentions.

    Returns (and writes to ``output``, complete or not at all) what ``files.evaluate_files`` does,
    under the rules "strict", with ``left_out_documents`` and, of ``el``, ``spans``: ``micro_p``,
    ``micro_r`` and ``micro_f`` of the spans alone. Raises ValueError for an unknown task and where
    gold has no code, FormatError naming file, document and field, OSError.
    """
    if task not in CODING_TASKS:
        raise ValueError(f"Unknown task '{task}': expected one of {', '.join(CODING_TASKS)}.")
    check_resamples(resamples, compare)
    everything = read_coded(gold, task, spans_key)
    true = {name: document for name, document in everything.items() if document.annotated}
    if not any(_items(true.values(), task)):
        what = "mention with a code" if task == "el" else "document with a code"
        raise ValueError(f"{gold}: found no {what}: expected at least one.")
    table, figures = _score(gold, everything, true, pred, task, spans_key)
    out: dict[str, Any] = {
        "gold": str(gold),
        "predictions": str(pred),
        "resamples": resamples,
        "seed": seed,
        **figures,
        "left_out_documents": [name for name in everything if name not in true],
    }
    if resamples:
        out["intervals"] = interval_figures(table, resamples, seed, progress=progress)
        if compare is not None:
            rival, others = _score(gold, everything, true, compare, task, spans_key)
            differences = difference_figures(table, rival, resamples, seed, progress=progress)
            out["comparison"] = {
                "predictions": str(compare),
                "report": others,
                "differences": differences,
            }
    if output is not None:
        write_json(output, out)
    return out


def read_coded(path: str | Path, task: str, spans_key: str = SPANS_KEY) -> dict[str, CodedDocument]:
    """Read the documents of a file, keyed by their ids; see ``evaluate_coding_files``."""
    path = Path(path)
    documents: dict[str, CodedDocument] = {}
    for number, doc in enumerate(_read_docs(path, spans_key), 1):
        name = str((doc.user_data.get(META_KEY) or {}).get("id", ""))
        record = f"document {number}"
        if not name:
            problem = "found none: expected one, by which predictions are matched with gold"
            raise FormatError(path, record, "id", problem)
        if name in documents:
            raise FormatError(path, record, "id", f"found {name!r} again: expected distinct ids")
        stated = CODES_KEY in doc.user_data
        if spans_key not in doc.spans and (task == "el" or not stated):
            groups = ", ".join(map(repr, doc.spans)) or "none"
            problem = f"expected the group '{spans_key}', found {groups}"
            raise FormatError(path, f"{record} (id {name})", "spans", problem)
        documents[name] = CodedDocument(
            doc.text,
            coded_mentions(doc, spans_key),
            codes_of(doc, spans_key),
            has_coded_mentions(doc, spans_key)
            if task == "el"
            else stated or has_links(doc, spans_key),
        )
    return documents


def _read_docs(path: Path, spans_key: str) -> Iterator[Doc]:
    tokenize, vocab = blank_tokenizer()
    if path.suffix == ".spacy":
        return read_docbin(path, vocab)
    return read_jsonl(path, tokenize, spans_key=spans_key)


def _score(
    gold: str | Path,
    everything: Mapping[str, CodedDocument],
    true: Mapping[str, CodedDocument],
    pred: str | Path,
    task: str,
    spans_key: str,
) -> tuple[CountTable, dict[str, Any]]:
    """The counts of a file of predictions over the gold documents ``true``, and its report."""
    given = read_coded(pred, task, spans_key)
    if task == "el":
        for name in true:
            if name in given and given[name].text != true[name].text:
                problem = f"differs from that of {gold}: expected the same, which offsets count"
                raise FormatError(pred, f"document {name}", "text", problem)
    nothing = CodedDocument("", [], [], False)
    found = [given.get(name, nothing) for name in true]
    layout = TASKS[CODING_TASKS[task]]
    table = count_items(_items(true.values(), task), _items(found, task), layout, "strict")
    # what was left out of gold is not extra
    known = [name for name in given if name in true or name not in everything]
    figures = report_counts(table, task, "strict", true, known).to_dict()
    if task == "el":
        spans = count_items(_spans(true.values()), _spans(found), TASKS["ner"], "strict")
        averages = spans.averages()
        figures["spans"] = {key: averages[key] for key in ("micro_p", "micro_r", "micro_f")}
    return table, figures


def _items(documents: Iterable[CodedDocument], task: str) -> list[list[Item]]:
    if task == "mlc-x":
        return [[(code,) for code in document.codes] for document in documents]
    return [[row for row in document.mentions if row[2]] for document in documents]


def _spans(documents: Iterable[CodedDocument]) -> list[list[Item]]:
    return [[row[:2] for row in document.mentions] for document in documents]
