import gzip
import json
from pathlib import Path

import pytest
import spacy

from spacy_bioie.annotation import META_KEY, Mention, get_tier, set_mentions, set_tier

from .spans_corpora import HELD_OUT, write_iob, write_vocabularies


def make_docs(tiers):
    nlp = spacy.blank("en")
    docs = []
    for i, tier in enumerate(tiers):
        doc = nlp.make_doc("gut bacteria  of mice")
        doc.user_data[META_KEY] = {"id": str(i)}
        set_tier(doc, tier)
        docs.append(doc)
    return docs


def test_vocabularies_are_split_by_source(tmp_path):
    from spans_data import VOCABULARIES, prepare_names

    write_vocabularies(tmp_path)
    folder, sources = prepare_names(tmp_path, tmp_path / "work")
    names = sorted(name for names in VOCABULARIES.values() for name in names)
    assert sorted(path.stem for path in folder.glob("*.jsonl")) == names
    assert json.loads((folder / "GO-CC.jsonl").read_text("utf8"))["name"] == "serotonin GO-CC"

    union = next(iter(VOCABULARIES))
    with gzip.open(tmp_path / union, "wt", encoding="utf8") as file:
        file.write(json.dumps({"id": "1", "name": "gut", "source": "CL"}) + "\n")
    with pytest.raises(ValueError, match=r"its concepts are of \['CL'\]. Expected all of"):
        prepare_names(tmp_path, tmp_path / "work")
    assert not (folder / "done.json").exists()
    assert "serotonin CL" in (folder / "CL.jsonl").read_text("utf8")  # nothing half written
    assert not list(folder.glob(".*"))


def test_sentences_are_joined_where_the_file_has_no_documents(tmp_path):
    from spans_data import read

    write_iob(tmp_path, 12)
    train, test = read(tmp_path, "ncbi_disease")
    assert [len(list(doc.sents)) for doc in train] == [10, 2]
    assert [len(doc) for doc in test] == [50, 10]
    assert [span.text for span in train[1].spans["sc"]] == ["BRCA1 mutations"]
    assert [(ent.start, ent.end) for ent in train[1].ents] == [(5, 7)]
    assert train[1].text == "BRCA1 mutations in mice . " + "BRCA1 mutations in mice ."
    ids = [doc.user_data[META_KEY]["id"] for doc in (*train, *test)]
    assert len(set(ids)) == 4

    write_iob(tmp_path, 12, before="-DOCSTART- (7)\tO\n\n")
    train, _ = read(tmp_path, "ncbi_disease")
    assert [(doc.user_data[META_KEY]["id"], len(doc)) for doc in train] == [("7", 60)]


@pytest.mark.parametrize(
    "corpus,n_train,n_test,mentions",
    [("ncbi_disease", 543, 93, 787), ("bionlp13ge", 245, 274, 4132)],
)
def test_corpora_of_iob_files(data_dir, corpus, n_train, n_test, mentions):
    from spans_data import Part, read, split

    train, test = read(data_dir, corpus)
    assert (len(train), len(test)) == (n_train, n_test)
    assert sum(len(doc.spans["sc"]) for doc in test) == mentions
    assert sum(len(doc.ents) for doc in test) == mentions
    parts = split(train, test, Part(corpus))
    assert len(parts["held_out"]) == n_train // 10
    assert len(parts["train"]) == n_train - n_train // 10


def test_cut_takes_the_best_tiers_first_and_each_by_its_share():
    from spans_data import cut_documents

    docs = make_docs(["platinum"] * 4 + ["gold"] * 8 + ["silver"] * 10)
    tiers = [get_tier(doc) for doc in cut_documents(docs, 6)]
    assert (tiers.count("platinum"), tiers.count("gold")) == (2, 4)
    tiers = [get_tier(doc) for doc in cut_documents(docs, 15)]
    assert len(tiers) == 15 and tiers.count("silver") == 3
    assert cut_documents(docs, None) == docs


def test_folds_share_no_documents(spans_folder):
    from spans_data import Part, read, split

    folder, _ = spans_folder
    train, test = read(folder, "gutbrainie")
    scored = []
    for fold in (1, 2):
        parts = split(train, test, Part(fold=fold, folds=2))
        ids = {
            name: {str(doc.user_data[META_KEY]["id"]) for doc in docs}
            for name, docs in parts.items()
        }
        assert not ids["test"] & (ids["train"] | ids["held_out"])
        assert ids["held_out"] == set(HELD_OUT) and ids["best"] < ids["train"]
        scored += ids["test"]
    assert sorted(scored) == ["0", "2", "3", "5"]


def test_entities_of_ner_do_not_overlap():
    from spans_data import flat_entities

    (doc,) = make_docs(["gold"])
    set_mentions(doc, "sc", [Mention(0, 3, "bacteria"), Mention(0, 1, "organ"), Mention(4, 5, "x")])
    found = [(span.start, span.end, span.label_) for span in flat_entities(doc)]
    assert found == [(0, 2, "bacteria"), (4, 5, "x")]  # the third token is white space


def test_repository_has_the_held_out_documents():
    from spans_data import HELD_OUT as path

    assert len(Path(path).read_text("utf8").split()) == 56
