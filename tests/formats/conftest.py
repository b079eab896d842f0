import json

import pytest

from spacy_bioie.formats import article_to_doc, blank_pipeline, read_articles

REAL = {
    "platinum": "Annotations/Train/platinum_quality/json_format/train_platinum.json",
    "gold": "Annotations/Train/gold_quality/json_format/train_gold.json",
    "silver": "Annotations/Train/silver_quality/json_format/train_silver.json",
    "bronze": "Annotations/Train/bronze_quality/json_format/train_bronze.json",
    "dev": "Annotations/Dev/json_format/dev.json",
}


class RealFile:
    """One file of the real corpus: its JSON, its articles and their Docs."""

    def __init__(self, name, path):
        self.name = name
        self.path = path
        self.values = json.loads(path.read_text(encoding="utf8"))
        self.articles = list(read_articles(path))
        nlp = blank_pipeline()
        self.docs = [article_to_doc(article, nlp) for article in self.articles]


@pytest.fixture(scope="session")
def real_file(data_dir):
    """A function from the name of a real file to what it holds; each is read once."""
    read = {}

    def get(name):
        path = data_dir / "gutbrainie" / REAL[name]
        if not path.is_file():
            pytest.skip(f"{path.name} is absent from the real corpora")
        if name not in read:
            read[name] = RealFile(name, path)
        return read[name]

    return get
