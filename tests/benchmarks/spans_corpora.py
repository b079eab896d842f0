"""Small corpora in the place of those that ``spans.py`` reads, and its options and results."""

import gzip
import json

TITLE = "Gut bacteria of mice"
ABSTRACT = "Depression of rats and serotonin of the gut change bacteria. Anxiety of mice did not."
ENTITIES = [("Gut", 0, "bacteria"), ("bacteria", 4, "bacteria"), ("mice", 16, "animal")]
LATER = [("Depression", 0, "DDF"), ("rats", 14, "animal"), ("serotonin", 23, "chemical")]
HELD_OUT = ["1", "4"]
IOB = [("BRCA1", "B-Disease"), ("mutations", "I-Disease"), ("in", "O"), ("mice", "O"), (".", "O")]


def article(with_abstract=True):
    found = [("title", *entity) for entity in ENTITIES]
    found += [("abstract", *entity) for entity in LATER] if with_abstract else []
    entities = [
        {
            "start_idx": start,
            "end_idx": start + len(text) - 1,
            "location": location,
            "text_span": text,
            "label": label,
        }
        for location, text, start, label in found
    ]
    metadata = {"title": TITLE, "abstract": ABSTRACT, "author": "", "journal": "", "year": ""}
    metadata["annotator"] = ""
    return {"metadata": metadata, "entities": entities, "relations": []}


def write_vocabularies(folder):
    """One concept in each vocabulary."""
    import spans_data

    for path, names in spans_data.VOCABULARIES.items():
        (folder / path).parent.mkdir(exist_ok=True)
        with gzip.open(folder / path, "wt", encoding="utf8") as file:
            for name in names:
                concept = {"id": f"{name}:1", "name": f"serotonin {name}", "source": name}
                print(json.dumps(concept), file=file)


def write_texts(folder):
    """Raw abstracts and bronze documents, of which static vectors are learned."""
    import word_vectors

    # floret writes zeros where it has read next to nothing
    records = [{"text": " ".join([ABSTRACT] * 200)}, {"title": TITLE, "abstract": ABSTRACT}]
    for path, record in zip(word_vectors.ABSTRACTS, records, strict=True):
        (folder / path).parent.mkdir(exist_ok=True)
        with gzip.open(folder / path, "wt", encoding="utf8") as file:
            print(json.dumps(record), file=file)
    path = folder / word_vectors.ARTICLES.format("bronze")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"99": article()}), encoding="utf8")


def write_iob(folder, n_sentences, before=""):
    """Files of sentences of five tokens; each second one has a mention."""
    for name in ("train", "devel"):
        sentences = (
            "\n".join(f"{token}\t{label if i % 2 else 'O'}" for token, label in IOB)
            for i in range(n_sentences)
        )
        path = folder / "iob" / "NCBI-disease-IOB" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(before + "\n\n".join(sentences) + "\n\n", encoding="utf8")


def options(folder, systems, *more):
    systems = ["--systems", ",".join(systems), "--seeds", "1,2", "--steps", "8"]
    paths = ["--data", str(folder), "--work", str(folder / "work")]
    return [*paths, *systems, "--encoder", str(folder / "bert"), *more]


def result_of(folder, name):
    return json.loads((folder / "results" / f"{name}.json").read_text("utf8"))
