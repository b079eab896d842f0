import json

import pytest

from spacy_bioie.formats import FormatError
from spacy_bioie.prediction import predict, read_unannotated

from .rule_pipeline import make_rule_pipeline

ARTICLES = {
    "1": {"title": "Butyrate in mice", "abstract": "Butyrate reached the gut of mice."},
    "2": {"title": "Nothing here", "abstract": ""},
}


@pytest.fixture
def articles(tmp_path):
    path = tmp_path / "articles.json"
    path.write_text(json.dumps(ARTICLES), encoding="utf8")
    return path


def test_submissions_of_2025(articles, tmp_path):
    paths = predict(make_rule_pipeline(), articles, tmp_path / "out", format="gutbrainie-2025")
    assert sorted(path.name for path in paths) == [
        "T61_ner.json",
        "T621_binary_tag.json",
        "T622_ternary_tag.json",
        "T623_ternary_mention.json",
    ]
    ner = json.loads((tmp_path / "out" / "T61_ner.json").read_text())
    assert ner["1"]["entities"][0] == {
        "start_idx": 0,
        "end_idx": 7,
        "location": "title",
        "text_span": "Butyrate",
        "label": "chemical",
    }
    assert ner["2"] == {"entities": []}
    tm = json.loads((tmp_path / "out" / "T623_ternary_mention.json").read_text())
    assert tm["1"]["ternary_mention_based_relations"] == [
        {
            "subject_text_span": "Butyrate",
            "subject_label": "chemical",
            "predicate": "located in",
            "object_text_span": "mice",
            "object_label": "animal",
        }
    ]


def test_submissions_of_2026(articles, tmp_path):
    predict(make_rule_pipeline(), articles, tmp_path / "out", format="gutbrainie-2026")
    nerd = json.loads((tmp_path / "out" / "T612_nerd.json").read_text())
    assert {row["uri"] for row in nerd["1"]["entities"]} == {"CHEBI:17968", "NCIT:C14238"}
    concepts = json.loads((tmp_path / "out" / "T622_concept_level.json").read_text())
    assert concepts["1"]["concept_level_relations"][0]["subject_uri"] == "CHEBI:17968"


def test_jsonl_from_texts(tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "b.txt").write_text("mice\n", encoding="utf8")
    (tmp_path / "texts" / "a.txt").write_text("Butyrate in mice\nThe gut.", encoding="utf8")
    (path,) = predict(make_rule_pipeline(), tmp_path / "texts", tmp_path / "out")
    rows = [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]
    assert [row["id"] for row in rows] == ["a", "b"]
    assert len(rows[0]["mentions"]) == 3


def test_two_processes_write_the_same(articles, tmp_path):
    nlp = make_rule_pipeline()
    (one,) = predict(nlp, articles, tmp_path / "one")
    (two,) = predict(nlp, articles, tmp_path / "two", n_process=2, batch_size=1)
    assert one.read_text() == two.read_text()


def test_running_text_has_no_submission(tmp_path):
    (tmp_path / "a.txt").write_text("mice", encoding="utf8")
    with pytest.raises(FormatError, match="PMID a: sections: .*expected a title"):
        predict(
            make_rule_pipeline(), tmp_path / "a.txt", tmp_path / "out", format="gutbrainie-2025"
        )
    assert not (tmp_path / "out").exists()


def test_unknown_format(articles, tmp_path):
    with pytest.raises(ValueError, match="Unknown format 'xml': expected one of gutbrainie-2025"):
        predict(make_rule_pipeline(), articles, tmp_path, format="xml")


def test_bad_articles(tmp_path):
    path = tmp_path / "articles.json"
    path.write_text('{"1": {"title": "x"}}', encoding="utf8")
    with pytest.raises(FormatError, match="PMID 1.*abstract"):
        list(read_unannotated(path))


def test_real_articles(data_dir):
    documents = list(read_unannotated(data_dir / "gutbrainie" / "articles_test.json"))
    assert len(documents) == 40
    assert all(text.count("\n") == 1 and meta["id"].isdigit() for text, meta in documents)
