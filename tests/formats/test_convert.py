import json
import subprocess
import sys

import pytest
import spacy
from spacy.training import Corpus

from spacy_bioie.annotation import get_mentions, get_tier
from spacy_bioie.formats import (
    FormatError,
    blank_pipeline,
    convert,
    doc_to_article,
    guess_format,
    read_articles,
    read_docbin,
    read_ids,
    read_inline,
    read_jsonl,
)
from spacy_bioie.formats.convert import blank_tokenizer

from .builders import corpus, write_json

TEXT = "<i>E. coli</i> grew in 3 of the IL-6/STAT3 mice, don't they?\nYes"


@pytest.fixture
def source(tmp_path):
    return write_json(tmp_path / "in.json", {**corpus(), "2": corpus()["1"]})


def test_chain_of_all_formats_loses_nothing(source, tmp_path):
    names = ["a.spacy", "b.jsonl", "c.json", "d", "e.json"]
    path = source
    for name in names:
        result = convert(path, tmp_path / name)
        assert (result.documents, result.mentions, result.relations) == (2, 12, 10)
        assert result.off_borders == 2
        assert result.skipped == [] and result.not_found == []
        path = tmp_path / name
    last = {a.pmid: a for a in read_articles(path)}
    assert last == {a.pmid: a for a in read_articles(source)}
    assert json.loads((tmp_path / "c.json").read_text()).keys() == {"1", "2"}


def test_several_inputs_and_choice_of_documents(source, tmp_path):
    other = write_json(tmp_path / "other.json", {"3": corpus()["1"]})
    out = tmp_path / "out.jsonl"
    assert convert([source, other], out).documents == 3
    assert convert([source, other], out, documents=["2", "3"]).documents == 2
    result = convert([source, other], out, exclude_documents=["2", "9"])
    assert (result.documents, result.not_found) == (2, ["9"])
    result = convert([source, other], out, documents=["2", "3"], exclude_documents=["2"])
    assert [d.user_data["bioie_meta"]["id"] for d in read_jsonl(out, blank_pipeline())] == ["3"]


def test_documents_that_are_not_there(source, tmp_path):
    with pytest.raises(ValueError, match="1 of the documents to convert are in no input.*: 7"):
        convert(source, tmp_path / "out.spacy", documents=["1", "7"])
    with pytest.raises(ValueError, match="out.spacy: no document is left to write"):
        convert(source, tmp_path / "out.spacy", exclude_documents=["1", "2"])
    assert not (tmp_path / "out.spacy").exists()


def test_id_in_two_inputs(source, tmp_path):
    with pytest.raises(FormatError, match="in2.json: PMID 1: expected each id once"):
        convert([source, write_json(tmp_path / "in2.json", corpus())], tmp_path / "out.spacy")
    result = convert([source, tmp_path / "in2.json"], tmp_path / "o.spacy", skip_invalid=True)
    assert result.documents == 2 and [e.record for e in result.skipped] == ["PMID 1"]


def test_invalid_parts_are_skipped_and_kept_as_errors(tmp_path):
    values = corpus()
    values["1"]["entities"][1]["label"] = "MH group"
    source = write_json(tmp_path / "in.json", values)
    with pytest.raises(
        FormatError, match=r"in.json: PMID 1: entities\[1\].label: found 'MH group'"
    ):
        convert(source, tmp_path / "out.spacy")
    assert not (tmp_path / "out.spacy").exists()
    result = convert(source, tmp_path / "out.spacy", skip_invalid=True)
    assert (result.documents, result.mentions, result.relations) == (1, 5, 5)
    assert [e.field for e in result.skipped] == ["entities[1].label"]
    result = convert(source, tmp_path / "out.spacy", any_labels=True)
    assert result.mentions == 6 and not result.skipped


def test_document_that_the_target_cannot_hold(source, tmp_path):
    lines = [{"id": "1", "text": "one line"}, {"id": "2", "text": "two\nlines"}]
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf8")
    with pytest.raises(FormatError, match=r"in.jsonl: PMID 1: sections: found \['text'\]"):
        convert(path, tmp_path / "out.json")
    result = convert(path, tmp_path / "out.json", skip_invalid=True)
    assert result.documents == 1 and len(result.skipped) == 1
    assert [a.pmid for a in read_articles(tmp_path / "out.json")] == ["2"]


def test_layout_of_a_year_and_key_of_the_mentions(source, tmp_path):
    convert(source, tmp_path / "out.json", year=2025)
    assert "binary_tag_based_relations" in json.loads((tmp_path / "out.json").read_text())["1"]
    convert(source, tmp_path / "out.spacy", spans_key="gold")
    doc = next(iter(read_docbin(tmp_path / "out.spacy", blank_pipeline().vocab)))
    assert list(doc.spans) == ["gold"] and len(get_mentions(doc, "gold")) == 6


def test_tiers_stay_with_their_documents(source, tmp_path):
    other = write_json(tmp_path / "other.json", {"3": corpus()["1"]})
    convert(source, tmp_path / "gold.spacy", tier="gold")
    convert(other, tmp_path / "silver.spacy", tier="silver")
    convert(other, tmp_path / "none.spacy")

    def tiers(path):
        docs = read_docbin(path, blank_pipeline().vocab)
        return {doc.user_data["bioie_meta"]["id"]: get_tier(doc) for doc in docs}

    assert tiers(tmp_path / "none.spacy") == {"3": ""}
    parts = [tmp_path / "gold.spacy", tmp_path / "silver.spacy"]
    convert(parts, tmp_path / "train.spacy", exclude_documents=["2"])
    assert tiers(tmp_path / "train.spacy") == {"1": "gold", "3": "silver"}
    examples = Corpus(tmp_path / "train.spacy")(blank_pipeline())
    assert [eg.reference._.tier for eg in examples] == ["gold", "silver"]
    convert(tmp_path / "train.spacy", tmp_path / "train.jsonl")
    convert(tmp_path / "train.jsonl", tmp_path / "again.spacy")
    assert tiers(tmp_path / "again.spacy") == {"1": "gold", "3": "silver"}
    convert(parts, tmp_path / "bronze.spacy", tier="bronze")
    assert set(tiers(tmp_path / "bronze.spacy").values()) == {"bronze"}


def test_sample_corpus_to_json_to_docbin(sample_dir, tmp_path):
    totals = []
    for split in ("train", "dev"):
        path = tmp_path / f"{split}.json"
        result = convert(sample_dir / "articles", path, split=split)
        assert result.off_borders == 0
        again = convert(path, tmp_path / f"{split}.spacy")
        assert again.documents == result.documents and again.relations == result.relations
        articles = list(read_inline(sample_dir / "articles", split=split))
        assert list(read_articles(path)) == articles
        docs = read_docbin(tmp_path / f"{split}.spacy", blank_pipeline().vocab)
        assert [doc_to_article(doc) for doc in docs] == articles
        row = json.loads(path.read_text(encoding="utf8"))[articles[0].pmid]
        assert {"mention_level_relations", "concept_level_relations"} < set(row)
        totals.append(result.documents)
    assert sum(totals) >= 60


@pytest.mark.parametrize(
    "options,problem",
    [
        ({"source": "bioc"}, "Unknown format 'bioc': expected one of gutbrainie, inline"),
        ({"target": "csv"}, "Unknown format 'csv'"),
        ({"discontinuous": "skip"}, "A choice for discontinuous mentions was made for gutbrainie"),
        ({"symmetric": ["x"]}, "Symmetric labels were named without pairs of concepts"),
        ({"split": "train"}, "A split was named for gutbrainie: only inline"),
        ({"year": 2025}, "A year was named for docbin: only gutbrainie"),
        ({"tier": "gold", "target": "inline"}, "named for inline: only docbin and jsonl keep it"),
        ({"year": 2024, "target": "gutbrainie"}, "Unknown year 2024"),
        ({"lang": "xyz"}, "'xyz' cannot be loaded: .* No module named 'spacy.lang.xyz'"),
    ],
)
def test_arguments_that_do_not_fit(source, tmp_path, options, problem):
    with pytest.raises(ValueError, match=problem):
        convert(source, tmp_path / "out.spacy", **options)
    assert not (tmp_path / "out.spacy").exists()


def test_guesses(tmp_path):
    assert guess_format("x/a.json") == "gutbrainie"
    assert guess_format("a.jsonl") == "jsonl"
    assert guess_format("a.spacy") == "docbin"
    assert guess_format("a.txt") == "inline" == guess_format(tmp_path)
    assert guess_format("new", writing=True) == "inline"
    for name, writing in (("new", False), ("a.csv", False), ("a.txt", True)):
        with pytest.raises(ValueError, match="cannot tell the format from the name"):
            guess_format(name, writing=writing)


def test_tokenizers():
    assert [token.text for token in blank_pipeline()("<i>E</i>")] == ["<i>", "E", "</i>"]
    assert blank_pipeline("de").lang == "de"
    for lang in ("en", "de"):
        nlp = blank_pipeline(lang)
        tokenize, vocab = blank_tokenizer(lang)
        doc, expected = tokenize(TEXT), nlp(TEXT)
        assert doc.vocab is vocab and doc.lang_ == lang
        for name in ("text", "norm_", "like_num", "is_stop", "whitespace_"):
            assert [getattr(t, name) for t in doc] == [getattr(t, name) for t in expected], name


@pytest.mark.slow
def test_conversion_imports_no_component(source, tmp_path):
    """Making a pipeline would import them all, and with them the library of encoders."""
    code = (
        "import sys; from spacy_bioie.formats import convert; convert(*sys.argv[1:]); "
        "print(*(name for name in ('transformers', 'spacy_transformers') if name in sys.modules))"
    )
    command = [sys.executable, "-c", code, str(source), str(tmp_path / "out.spacy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "" and (tmp_path / "out.spacy").exists()


def test_what_a_language_lacks_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sudachipy", None)
    with pytest.raises(ValueError, match="'ja' cannot be loaded: .* requires SudachiPy"):
        blank_pipeline("ja")

    def fail(lang):
        raise ImportError("No module named 'some_plugin'")

    monkeypatch.setattr(spacy, "blank", fail)
    with pytest.raises(ValueError, match="'en' cannot be loaded: .* No module named 'some_plugin'"):
        blank_pipeline()


def test_read_ids(tmp_path):
    (tmp_path / "ids.txt").write_text("1\n\n 22 # why\n# none\n", encoding="utf8")
    assert read_ids(tmp_path / "ids.txt") == ["1", "22"]


@pytest.mark.parametrize("bad", ["", "{", "PK\x03\x04"])
def test_files_of_another_kind(tmp_path, bad):
    for suffix in ("json", "jsonl", "spacy"):
        path = tmp_path / f"in.{suffix}"
        path.write_text(bad, encoding="utf8")
        with pytest.raises(ValueError):
            convert(path, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
