"""Codes of a document as a whole, each with the mentions that support it.

Codes that a corpus states or a component has set are kept in ``doc.user_data`` as plain strings
and floats, so that DocBin, pickling and ``n_process`` carry them. A Doc without any has those of
its links.
"""

from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Union

from spacy.tokens import Doc

from .concept_relations import concept_ids
from .mentions import SPANS_KEY, Mention, ensure_span_ids, get_mentions, mention_characters

CODES_KEY = "bioie_codes"
DocumentCode = Dict[str, Any]  # code: str, score: float, mentions: ids of spans, List[str]


class CodeEvidence(NamedTuple):
    """A mention that supports a code: its id, exact characters [start, end), text and score."""

    id: str
    start: int
    end: int
    text: str
    score: float


def document_codes(doc: Doc, key: str = SPANS_KEY) -> List[DocumentCode]:
    """The distinct codes that ``doc.spans[key]`` links to, whichever component linked it.

    A code has the best score of its mentions, which are mostly repetitions of one name: to take
    them for independent evidence (1 - product of 1 - score) would make a certainty of a few
    doubtful ones. A mention's score is that of its candidate, 1 where it has none. A mention with
    several codes ("I10|I50") supports each. Mentions without an id get one.

    RETURNS: {"code", "score", "mentions"} for each code, best first; mentions are ids of spans.
    """
    codes: Dict[str, DocumentCode] = {}
    for mention in ensure_span_ids(doc, key):
        for code in concept_ids(mention.kb_id):
            score = _score(mention, code)
            found = codes.setdefault(code, {"code": code, "score": score, "mentions": []})
            found["score"] = max(found["score"], score)
            found["mentions"].append(mention.id)
    return sorted(codes.values(), key=lambda found: -found["score"])


def set_codes(
    doc: Doc, codes: Iterable[Union[str, Mapping[str, Any]]], key: str = SPANS_KEY
) -> None:
    """Store the codes of a Doc: {"code", "score", "mentions"}, or codes alone.

    The score is 1 and the mentions are none where they are left out. Raises ValueError for an
    empty code, a code given twice, and an id that names no mention of ``doc.spans[key]``.
    """
    known = {span.id_ for span in doc.spans[key]} if key in doc.spans else set()
    plain: Dict[str, DocumentCode] = {}
    for row in codes:
        given: Mapping[str, Any] = {"code": row} if isinstance(row, str) else row
        code = given.get("code")
        if not isinstance(code, str) or not code:
            raise ValueError(
                f"Document code {row!r}: expected a code, a string that is not empty, alone or as "
                "'code' of a dict beside 'score' and 'mentions'."
            )
        if code in plain:
            raise ValueError(f"Document code '{code}' is given twice: expected distinct codes.")
        ids = [str(mention) for mention in given.get("mentions", ())]
        for mention in ids:
            if not mention or mention not in known:
                raise ValueError(
                    f"Document code '{code}': no mention of doc.spans['{key}'] has the id "
                    f"{mention!r}."
                )
        plain[code] = {"code": code, "score": float(given.get("score", 1.0)), "mentions": ids}
    doc.user_data[CODES_KEY] = {"spans_key": key, "codes": list(plain.values())}


def get_codes(doc: Doc) -> List[DocumentCode]:
    """Read ``doc._.codes``: what was stated or set, else those of the links of ``doc.spans["sc"]``.

    RETURNS: {"code", "score", "mentions"} for each code; mentions are ids of spans.
    """
    stored = doc.user_data.get(CODES_KEY)
    if stored is None:
        return document_codes(doc)
    return [
        {
            "code": str(row["code"]),
            "score": float(row["score"]),
            "mentions": [str(mention) for mention in row["mentions"]],
        }
        for row in stored["codes"]
    ]


def codes_key(doc: Doc) -> str:
    """The key of the span group whose ids the codes of this Doc name."""
    stored = doc.user_data.get(CODES_KEY)
    return SPANS_KEY if stored is None else str(stored["spans_key"])


def code_evidence(doc: Doc) -> Dict[str, List[CodeEvidence]]:
    """The mentions that support each code of ``doc._.codes``, in the order of the text.

    Raises ValueError where the spans were replaced after the codes were set.
    """
    codes = get_codes(doc)
    key, text = codes_key(doc), doc.text
    mentions = {mention.id: mention for mention in get_mentions(doc, key)}
    evidence: Dict[str, List[CodeEvidence]] = {}
    for row in codes:
        found = []
        for name in row["mentions"]:
            if name not in mentions:
                raise ValueError(
                    f"Document code '{row['code']}' names the mention '{name}', which is not in "
                    f"doc.spans['{key}']: the group was replaced after the codes were set."
                )
            start, end = mention_characters(doc, mentions[name])
            score = _score(mentions[name], row["code"])
            found.append(CodeEvidence(name, start, end, text[start:end], score))
        evidence[row["code"]] = sorted(found, key=lambda item: (item.start, item.end))
    return evidence


def _score(mention: Mention, code: str) -> float:
    scores = dict(mention.candidates or ())
    return scores.get(mention.kb_id, scores.get(code, 1.0))
