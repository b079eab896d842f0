"""Small articles in GutBrainIE's JSON, written out in full or built from their text."""

import copy
import json
from pathlib import Path

TITLE = "Inulin and the gut microbiota of mice."
ABSTRACT = "Inulin raised <i>Bifidobacterium longum</i>2 in mice."


def entity(location, text, label, uri=None, start=None):
    """An entity row; ``text`` is found in its section where no start is given."""
    section = {"title": TITLE, "abstract": ABSTRACT}[location]
    start = section.index(text) if start is None else start
    row = {
        "start_idx": start,
        "end_idx": start + len(text) - 1,
        "location": location,
        "text_span": text,
        "label": label,
    }
    return row if uri is None else {**row, "uri": uri}


def relation(head, predicate, tail):
    """A relation row between two entity rows."""
    keys = [key for key in ("start_idx", "end_idx", "location", "text_span", "label", "uri")]
    return {
        **{f"subject_{key}": head[key] for key in keys if key in head},
        "predicate": predicate,
        **{f"object_{key}": tail[key] for key in keys if key in tail},
    }


def corpus(year=2026):
    """A corpus of one article, PMID 1, whose entities nest, repeat a text and cut a token."""
    uri = (lambda name: f"http://example.org/{name}") if year == 2026 else (lambda name: None)
    entities = [
        entity("title", "Inulin", "dietary supplement", uri("inulin")),
        entity("title", "gut", "anatomical location", uri("gut")),
        entity("title", "gut microbiota", "microbiome", uri("microbiota")),
        entity("abstract", "Inulin", "dietary supplement", uri("inulin")),
        entity("abstract", "Bifidobacterium long", "bacteria", uri("bifido")),
        entity("abstract", "mice", "animal", uri("mice")),
    ]
    relations = [
        relation(entities[0], "impact", entities[2]),
        relation(entities[3], "impact", entities[4]),
        relation(entities[3], "administered", entities[5]),
        relation(entities[4], "located in", entities[5]),
        relation(entities[0], "impact", entities[4]),
    ]
    article = {
        "metadata": {
            "title": TITLE,
            "author": "A. Author; B. Author",
            "journal": "Journal of Tests",
            "year": "2026",
            "abstract": ABSTRACT,
            "annotator": "expert_1",
        },
        "entities": entities,
        "relations": relations,
    }
    return copy.deepcopy({"1": article})


def write_json(path: Path, values) -> Path:
    """Write a JSON file; a string is written as it is."""
    text = values if isinstance(values, str) else json.dumps(values)
    path.write_text(text, encoding="utf8")
    return path


def distinct(rows):
    """The rows as a set, and whether each occurs once."""
    items = {json.dumps(row, sort_keys=True) for row in rows}
    return items, len(items) == len(rows)
