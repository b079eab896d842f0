import gzip
import json
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import Example

from spacy_bioie.annotation import Mention, get_mentions, set_mentions
from spacy_bioie.formats import article_to_doc, read_articles, write_docbin
from spacy_bioie.kb import Concept, read_concepts
from spacy_bioie.kb.gazetteer import GazetteerRules, build_gazetteer, read_stop_names
from spacy_bioie.scoring import score_spans

from .builders import make_kb

REPOSITORY = Path(__file__).resolve().parent.parent.parent
STOP_NAMES = REPOSITORY / "assets" / "gazetteer" / "stop_names.txt"
CONCEPTS = [
    Concept("C1", "Depression", ("depressive disorder", "MDD", "low mood"), types=("DDF",)),
    Concept("C2", "gut", ("Intestine", "was", "12", "x"), types=("anatomical location",)),
    Concept("C3", "TNF", ("tumor necrosis factor", "TNF-α", "CACHECTIN", "WAS"), types=("gene",)),
    Concept("C4", "Hypericum", ("St. John's wort", "st. john's wort"), types=("plant",)),
    Concept("C5", "nameless type"),
]
TEXT = "Depression (MDD, mdd) of the Gut, GUT and intestine: Tumor necrosis factor TNF, tnf-α, Tnf."


def build(nlp, sources=CONCEPTS, **rules):
    return build_gazetteer(sources, nlp.tokenizer, GazetteerRules(**rules))


def make_ruler(nlp, patterns):
    config = {"spans_key": "sc", "phrase_matcher_attr": "LOWER"}
    nlp.add_pipe("span_ruler", config=config).add_patterns(patterns)
    return nlp


def found(doc):
    return [(span.text, span.label_) for span in doc.spans["sc"]]


def test_patterns(nlp):
    patterns, report = build(nlp)
    assert [(row["label"], row["pattern"]) for row in patterns] == [
        ("DDF", "Depression"),
        ("plant", "Hypericum"),
        ("anatomical location", "Intestine"),
        ("plant", "St. John's wort"),
        ("gene", "TNF-α"),
        ("DDF", "depressive disorder"),
        ("DDF", "low mood"),
        ("plant", "st. john's wort"),  # it has other tokens
        ("gene", "tumor necrosis factor"),
        ("DDF", [{"ORTH": {"IN": ["MDD"]}}]),
        ("anatomical location", [{"ORTH": {"IN": ["Gut", "gut"]}}]),
        ("gene", [{"ORTH": {"IN": ["CACHECTIN", "TNF", "WAS"]}}]),
    ]
    assert report.to_dict() == {
        "names": 18,
        "unlabelled": 1,
        "wrong_length": 2,
        "stopped": 1,
        "ambiguous": 0,
        "phrases": 9,
        "cased": 6,
    }
    assert build(nlp, reversed(CONCEPTS))[0] == patterns


def test_ruler_finds_names(nlp):
    make_ruler(nlp, build(nlp)[0])
    assert found(nlp(TEXT)) == [
        ("Depression", "DDF"),
        ("MDD", "DDF"),
        ("Gut", "anatomical location"),
        ("intestine", "anatomical location"),
        ("Tumor necrosis factor", "gene"),
        ("TNF", "gene"),
        ("tnf-α", "gene"),
    ]
    text = "St. John's Wort was HYPERICUM, st. john's wort"
    assert [name for name, _ in found(nlp(text))] == ["St. John's Wort", "HYPERICUM", text[-15:]]


def test_batch_processes_docbin_and_reload(nlp, tmp_path):
    make_ruler(nlp, build(nlp)[0])
    texts = [TEXT, "", "Nothing.", "the gut"] * 2
    single = [found(nlp(text)) for text in texts]
    assert list(map(len, single)) == [7, 0, 0, 1] * 2
    assert [found(doc) for doc in nlp.pipe(texts)] == single
    assert [found(doc) for doc in nlp.pipe(texts, n_process=2)] == single
    (stored,) = DocBin(docs=[nlp(TEXT)]).get_docs(nlp.vocab)
    assert found(stored) == single[0]
    nlp.to_disk(tmp_path / "pipeline")
    assert found(spacy.load(tmp_path / "pipeline")(TEXT)) == single[0]


@pytest.mark.parametrize(
    "rules, kind, label",
    [
        ({}, "DDF", "DDF"),
        ({}, "", ""),
        ({"labels": {"DDF": "disease"}}, "DDF", "disease"),
        ({"labels": {"DDF": "disease"}}, "gene", ""),
        ({"label": "x"}, "DDF", "x"),
        ({"label": "x"}, "", "x"),
        ({"label": "x", "labels": {"DDF": "DDF"}}, "DDF", "x"),
        ({"label": "x", "labels": {"DDF": "DDF"}}, "gene", ""),
    ],
)
def test_labels(rules, kind, label):
    assert GazetteerRules(**rules).label_of(kind) == label


@pytest.mark.parametrize(
    "name, forms",
    [
        ("TNF", ["TNF"]),
        ("CADASIL", ["CADASIL"]),
        ("mPFC", ["mPFC"]),
        ("gut", ["gut", "Gut"]),
        ("Zinc", ["zinc", "Zinc"]),
        ("Ca", ["Ca"]),
        ("p53", ["p53"]),
        ("mouse", []),
        ("SCFAs", []),
    ],
)
def test_case(name, forms):
    assert GazetteerRules().cased_forms(name) == forms


def test_short_length_is_a_setting():
    assert GazetteerRules(short_length=0).cased_forms("gut") == []
    assert GazetteerRules(short_length=0).cased_forms("TNF") == ["TNF"]
    assert GazetteerRules(short_length=5).cased_forms("mouse") == ["mouse", "Mouse"]


def test_stop_names():
    rules = GazetteerRules(stop_names={"rest", "OR", "low mood"})
    names = ("rest", "Rest", "REST", "or", "OR", "Low mood")
    assert [name for name in names if rules.is_stopped(name)] == ["rest", "Rest", "OR", "Low mood"]


def test_length_is_a_setting(nlp):
    patterns, report = build(nlp, min_length=4, max_length=9)
    names = [row["pattern"] for row in patterns if isinstance(row["pattern"], str)]
    assert names == ["Hypericum", "Intestine", "TNF-α", "low mood"]
    assert report.wrong_length == 12


def test_names_of_several_labels(nlp):
    concepts = [
        Concept("1", "Cold", types=("DDF", "weather")),
        Concept("2", "common cold", ("cold",), types=("DDF",)),
        Concept("3", "Flu", types=("b", "a")),
    ]
    patterns, report = build(nlp, concepts, stop_names=(), short_length=0)
    pairs = [(row["label"], row["pattern"]) for row in patterns]
    assert report.ambiguous == 2
    assert pairs == [
        ("DDF", "Cold"),
        ("weather", "Cold"),
        ("a", "Flu"),
        ("b", "Flu"),
        ("DDF", "common cold"),
    ]
    patterns, report = build(nlp, concepts, stop_names=(), short_length=0, one_label=True)
    assert [(row["label"], row["pattern"]) for row in patterns] == [pairs[i] for i in (0, 2, 4)]
    assert (report.ambiguous, report.phrases) == (2, 3)


def test_sources(nlp, tmp_path):
    """Files of concepts, corpora and knowledge bases; the last give labels of mentions too."""
    record = json.dumps({"id": "A", "name": "butyric  acid", "types": ["chemical"]})
    (tmp_path / "concepts.jsonl").write_text(record, encoding="utf8")
    with gzip.open(tmp_path / "more.jsonl.gz", "wt", encoding="utf8") as file:
        file.write(json.dumps({"id": "B", "name": "lactic acid", "types": ["chemical"]}))
    doc = nlp.make_doc("propionic acid of mice")
    set_mentions(doc, "gold", [Mention(0, 2, "chemical"), Mention(3, 4, "animal")])
    DocBin(docs=[doc]).to_disk(tmp_path / "train.spacy")
    untyped = [Concept("C", "acetic acid"), Concept("D", "formic acid")]
    make_kb(untyped, mentions=[("vinegar", "chemical", "C")]).to_disk(tmp_path / "kb")
    names = ("concepts.jsonl", "more.jsonl.gz", "train.spacy", "kb")
    sources = [tmp_path / name for name in names]
    patterns, report = build_gazetteer(
        sources, nlp.tokenizer, GazetteerRules(short_length=0), spans_key="gold"
    )
    assert [(row["label"], row["pattern"]) for row in patterns] == [
        ("chemical", "acetic acid"),
        ("chemical", "butyric acid"),
        ("chemical", "lactic acid"),
        ("animal", "mice"),
        ("chemical", "propionic acid"),
    ]
    assert report.unlabelled == 1


def test_mentions_are_counted(nlp, tmp_path):
    doc = nlp.make_doc("mice mice Mice")
    mentions = [Mention(0, 1, "b"), Mention(1, 2, "b"), Mention(2, 3, "a"), Mention(0, 3, "c")]
    set_mentions(doc, "sc", mentions)
    write_docbin([doc], tmp_path / "train.spacy")
    patterns, _ = build(nlp, [tmp_path / "train.spacy"], one_label=True, short_length=0)
    assert patterns == [
        {"label": "b", "pattern": "Mice"},
        {"label": "c", "pattern": "mice mice Mice"},
    ]


def test_errors(nlp, tmp_path):
    with pytest.raises(ValueError, match="No name is left for the gazetteer .*unlabelled=18"):
        build(nlp, labels={"food": "food"})
    with pytest.raises(ValueError, match="No name is left for the gazetteer .*names=0"):
        build(nlp, [])
    for name in ("absent.jsonl", "absent.spacy"):
        with pytest.raises(FileNotFoundError, match=name):
            build(nlp, [tmp_path / name])
    (tmp_path / "bad.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="bad.jsonl', line 1: no field 'concept_id'"):
        build(nlp, [tmp_path / "bad.jsonl"])
    (tmp_path / "bad.spacy").write_text("x")
    with pytest.raises(ValueError, match="bad.spacy': expected a DocBin"):
        build(nlp, [tmp_path / "bad.spacy"])
    with pytest.raises(FileNotFoundError, match=f"'{tmp_path}': expected a folder with"):
        build(nlp, [tmp_path])
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(ValueError, match="meta.json' is foreign"):
        build(nlp, [tmp_path])


def test_stop_names_are_read(tmp_path):
    path = tmp_path / "stop.txt"
    path.write_text("# a comment\nrest\n\n  low mood \nOR\n", encoding="utf8")
    assert read_stop_names(path) == ["rest", "low mood", "OR"]
    with pytest.raises(FileNotFoundError, match="No such list of stop names: '.*absent.txt'"):
        read_stop_names(tmp_path / "absent.txt")
    path.write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match="stop.txt': expected UTF-8 text"):
        read_stop_names(path)


def test_stop_names_of_this_repository(nlp, sample_dir):
    names = read_stop_names(STOP_NAMES)
    assert len(names) > 300 and names == sorted({name.lower() for name in names})
    concepts = list(read_concepts(sample_dir / "concepts.jsonl"))
    stopped = GazetteerRules(stop_names=frozenset(names)).is_stopped
    assert not [name for concept in concepts for name in concept.names if stopped(name)]


def test_training_names_on_real_abstracts(data_dir, nlp, tmp_path):
    """Exact matches of training names find half of the mentions, with half of them wrong."""
    folder = data_dir / "gutbrainie" / "Annotations"
    platinum = folder / "Train" / "platinum_quality" / "json_format" / "train_platinum.json"
    docs = [article_to_doc(article, nlp) for article in read_articles(platinum)]
    write_docbin(docs, tmp_path / "train.spacy")
    rules = GazetteerRules(one_label=True)
    patterns, _ = build_gazetteer([tmp_path / "train.spacy"], nlp.tokenizer, rules)
    make_ruler(nlp, patterns)
    nlp.add_pipe("span_merger", config={"input_keys": ["sc"], "overlap": "flat"})
    gold = [article_to_doc(a, nlp) for a in read_articles(folder / "Dev/json_format/dev.json")]
    figures = score_spans([Example(nlp(doc.text), doc) for doc in gold])
    assert sum(len(get_mentions(doc)) for doc in gold) > 1000
    assert 0.4 < figures["ner_strict_micro_f"] < 0.6
