"""Small annotation files and the Docs that say the same."""

from spacy.tokens import Doc
from spacy.training import Example

from spacy_bioie.annotation import Mention, join_sections, set_mentions, set_relations


def entity(start, end, text="x", label="DDF", location="title", **more):
    return {
        "start_idx": start,
        "end_idx": end,
        "location": location,
        "text_span": text,
        "label": label,
        **more,
    }


def relation(head, head_label, predicate, tail, tail_label, **more):
    return {
        "subject_text_span": head,
        "subject_label": head_label,
        "predicate": predicate,
        "object_text_span": tail,
        "object_label": tail_label,
        **more,
    }


def entities(*records):
    return {"1": {"entities": list(records)}}


def annotation_doc(nlp, document, title=None, abstract=None, key="sc") -> Doc:
    """Turn one annotation object into a Doc; texts of the metadata unless they are given."""
    title = document["metadata"]["title"] if title is None else title
    abstract = document["metadata"]["abstract"] if abstract is None else abstract
    doc = nlp.make_doc(join_sections(title, abstract))
    mentions, index = [], {}
    for i, record in enumerate(document["entities"]):
        start, end = _characters(record, "", title)
        span = doc.char_span(start, end, alignment_mode="expand")
        mentions.append(
            Mention(
                span.start,
                span.end,
                record["label"],
                id=f"T{i + 1}",
                kb_id=record.get("uri", ""),
                char_offsets=(start, end),
            )
        )
        index[start, end, record["label"]] = f"T{i + 1}"
    set_mentions(doc, key, mentions)
    if "relations" in document:
        rows = []
        for record in document["relations"]:
            head = index[(*_characters(record, "subject_", title), record["subject_label"])]
            tail = index[(*_characters(record, "object_", title), record["object_label"])]
            rows.append((head, record["predicate"], tail, 1.0))
        set_relations(doc, key, rows)
    return doc


def examples(nlp, gold, pred, key="sc") -> list[Example]:
    """Pair the Docs of two annotation files; the texts come from the gold file."""
    out = []
    for pmid, document in gold.items():
        texts = (document["metadata"]["title"], document["metadata"]["abstract"])
        out.append(
            Example(
                annotation_doc(nlp, pred[pmid], *texts, key=key),
                annotation_doc(nlp, document, *texts, key=key),
            )
        )
    return out


def _characters(record, prefix, title):
    offset = 0 if record[f"{prefix}location"] == "title" else len(title) + 1
    return record[f"{prefix}start_idx"] + offset, record[f"{prefix}end_idx"] + offset + 1
