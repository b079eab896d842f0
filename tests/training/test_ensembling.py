"""Trained pipelines joined into one: by scores, by probabilities, by a vote over spans."""

import json
import shutil
import warnings

import pytest
import spacy
from spacy.cli.package import package
from spacy.tokens import DocBin
from spacy.training import Corpus

from spacy_bioie.models.span_head import TEMPERATURE
from spacy_bioie.pipeline.span_ensemble import SpanEnsemble
from spacy_bioie.training.ensembling import join_scores, join_spans, write_ensemble
from spacy_bioie.training.tune_spans import tune_saved_pipeline
from tests.pipelines import (
    ARTICLES,
    NEW_TEXT,
    TEXTS,
    make_pipeline,
    make_reference,
    save_knowledge_base,
    train_in_memory,
    what_was_found,
)
from tests.tiny_encoder import make_tiny_bert

from ..span_pipeline import assert_same_spans, borders, scores_of

pytestmark = pytest.mark.slow

METHODS = pytest.mark.parametrize("method", ["emissions", "tokens", "spans"])
ALL_TEXTS = [*TEXTS, NEW_TEXT, "", " "]
SPANS = ("nested_spancat",)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders of trained pipelines: everything on a transformer; and spans alone on another
    transformer, on a tok2vec, with argmax, of other labels, and by rules."""
    folder = tmp_path_factory.mktemp("members")
    kb = save_knowledge_base(folder / "kb")
    berts = [make_tiny_bert(folder / f"bert_{seed}", seed=seed) for seed in (1, 2)]
    argmax = {"nested_spancat": {"model": {
        "@architectures": "spacy_bioie.SpanTagger.v1", "decoder": "argmax", "scheme": "BIOES",
        "chains": "per_label", "dropout": 0.0,
        "tok2vec": {"@architectures": "spacy.Tok2VecListener.v1", "width": 32},
    }}}  # fmt: skip
    pipelines = {
        "all": make_pipeline("transformer", berts[0], kb),
        "seed": make_pipeline("transformer", berts[1], heads=SPANS),
        "tok2vec": make_pipeline("tok2vec", heads=SPANS),
        "argmax": make_pipeline("tok2vec", heads=SPANS, settings=argmax),
        "few": make_pipeline("", heads=SPANS),
    }
    for name, nlp in pipelines.items():
        # other orders of the documents, and so of the labels
        articles = {"all": ARTICLES, "few": ARTICLES[2:3]}.get(name, ARTICLES[::-1])
        train_in_memory(nlp, articles, steps={"few": 1, "all": 60, "seed": 60}.get(name, 40))
        nlp.to_disk(folder / name)
    rules = make_pipeline("", heads=())
    ruler = rules.add_pipe("span_ruler", config={"spans_key": "sc"})
    ruler.add_patterns([{"label": "animal", "pattern": "rats"}, {"label": "x", "pattern": "."}])
    rules.to_disk(folder / "rules")
    docs = [make_reference(pipelines["all"], article) for article in ARTICLES]
    DocBin(docs=docs, store_user_data=True).to_disk(folder / "gold.spacy")
    return folder


def load(saved, *names):
    return [spacy.load(saved / name) for name in names]


def assert_same(docs, others, *, everything=False):
    for doc, other in zip(docs, others, strict=True):
        assert_same_spans(doc, other)
        if everything:
            assert what_was_found(doc) == what_was_found(other)


@METHODS
def test_ensemble_of_one_is_the_pipeline(saved, tmp_path, method):
    (member,) = load(saved, "all")
    if method == "tokens":  # the best tags one by one are not the best sequence of a CRF
        (member,) = load(saved, "argmax")
    nlp = write_ensemble([member.path], tmp_path / "out", method=method)
    assert nlp.pipe_names[-1] == ("span_ensemble" if method == "tokens" else "relation_extractor")
    if method == "spans":  # linkers write doc.spans too, but find no mentions
        assert nlp.pipe_names[1:3] == ["nested_spancat", "span_vote"]
    expected = list(member.pipe(ALL_TEXTS))
    assert sum(len(doc.spans["sc"]) for doc in expected) > 10
    everything = method != "tokens"
    assert_same(nlp.pipe(ALL_TEXTS), expected, everything=everything)
    assert_same(spacy.load(tmp_path / "out").pipe(ALL_TEXTS), expected, everything=everything)


@pytest.mark.parametrize("method", ["emissions", "spans"])
def test_the_same_pipeline_twice_is_itself(saved, tmp_path, method):
    nlp = write_ensemble([saved / "all"] * 2, tmp_path / "out", method=method, weights=[1, 3])
    assert_same(nlp.pipe(TEXTS), load(saved, "all")[0].pipe(TEXTS), everything=True)


@METHODS
def test_saved_ensemble_is_a_pipeline_like_any_other(saved, tmp_path, method):
    names = ["all", "seed", *([] if method == "emissions" else ["tok2vec", "argmax"])]
    nlp = write_ensemble([saved / name for name in names], tmp_path / "out", method=method)
    docs = list(nlp.pipe(ALL_TEXTS))
    assert any(doc._.relations for doc in docs)  # over the mentions of the ensemble
    again = spacy.load(tmp_path / "out")
    assert_same(again.pipe(ALL_TEXTS), docs, everything=True)
    assert_same([again(text) for text in ALL_TEXTS], docs, everything=True)
    assert_same(again.pipe(ALL_TEXTS, n_process=2, batch_size=2), docs, everything=True)
    back = DocBin(docs=docs[:5], store_user_data=False).get_docs(nlp.vocab)
    assert_same(back, docs[:5])
    meta = json.loads((tmp_path / "out" / "meta.json").read_text(encoding="utf8"))
    assert meta["ensemble"]["method"] == method and meta["performance"] == {}
    assert [m["weight"] for m in meta["ensemble"]["members"]] == [1 / len(names)] * len(names)
    for doc, article in zip(docs, ARTICLES, strict=False):
        assert borders(doc) == borders(make_reference(nlp, article))
    assert again.evaluate(list(Corpus(saved / "gold.spacy")(again)))["spans_sc_f"] == 1.0


@pytest.mark.parametrize("method", ["emissions", "spans"])
def test_relations_are_averaged_with_the_mentions(saved, tmp_path, method):
    nlp = write_ensemble([saved / "all"] * 2, tmp_path / "out", method=method, relations=True)
    assert "relation_ensemble" in nlp.pipe_names and "relation_extractor" not in nlp.pipe_names
    expected = load(saved, "all")[0].pipe(TEXTS)
    assert_same(nlp.pipe(TEXTS), expected, everything=True)
    again = spacy.load(tmp_path / "out")
    docs = list(again.pipe(TEXTS))
    assert any(doc._.relations for doc in docs)
    assert_same(docs, nlp.pipe(TEXTS), everything=True)
    scores = again.evaluate(list(Corpus(saved / "gold.spacy")(again)))
    assert scores["rel_gold_tm_micro_f"] > 0 and scores["spans_sc_f"] == 1.0


def test_averaged_weights_have_no_relations_of_their_own(saved, tmp_path):
    with pytest.raises(ValueError, match="expected no relations"):
        write_ensemble([saved / "all"], tmp_path / "out", method="weights", relations=True)


def test_package(saved, tmp_path):
    nlp = write_ensemble([saved / "all", saved / "seed"], tmp_path / "out")
    package(tmp_path / "out", tmp_path, name="joint", version="1.0.0", create_sdist=False)
    folder = tmp_path / "en_joint-1.0.0"
    shutil.rmtree(tmp_path / "out")
    again = spacy.load(folder / "en_joint" / "en_joint-1.0.0")
    assert_same(again.pipe(TEXTS), nlp.pipe(TEXTS), everything=True)
    assert any("spacy-bioie" in line for line in again.meta["requirements"])


def test_members_keep_their_encoders(saved):
    nlp = join_scores(load(saved, "all", "seed"), "emissions")
    members = nlp.get_pipe("span_ensemble").model.layers
    for member, name in zip(members, ("all", "seed"), strict=True):
        (alone,) = load(saved, name)
        doc = nlp.get_pipe("transformer")(nlp.make_doc(NEW_TEXT))
        expected = alone(NEW_TEXT)
        output = member.predict([doc]).emissions
        model = alone.get_pipe("nested_spancat").model
        assert output == pytest.approx(model.predict([expected]).emissions, abs=1e-4)
    assert nlp.pipe_names == [
        *("transformer", "span_ensemble", "faiss_entity_linker", "relation_extractor")
    ]
    # the first one's own encoder runs once, for the ensemble and for what comes after
    listening = nlp.get_pipe("transformer").listener_map
    assert sorted(listening) == ["faiss_entity_linker", "relation_extractor", "span_ensemble"]


def test_thresholds_are_means_and_can_be_tuned(saved, tmp_path):
    members = load(saved, "argmax", "tok2vec")
    members[0].get_pipe("nested_spancat").cfg.update(threshold=0.2, thresholds={"DDF": 0.6})
    members[1].get_pipe("nested_spancat").cfg.update(threshold=0.4)
    nlp = join_scores(members, "tokens")
    pipe = nlp.get_pipe("span_ensemble")
    assert pipe.cfg["threshold"] == pytest.approx(0.3)
    assert pipe.cfg["thresholds"] == {"DDF": pytest.approx(0.5)}
    nlp.to_disk(tmp_path / "out")
    found = tune_saved_pipeline(tmp_path / "out", saved / "gold.spacy", calibrate=True)
    assert found["ner_strict_micro_f"] == 1.0
    pipe = spacy.load(tmp_path / "out").get_pipe("span_ensemble")
    assert isinstance(pipe, SpanEnsemble)
    assert pipe.model.attrs[TEMPERATURE] == pytest.approx(found["temperature"]) != 1.0
    assert pipe.cfg["threshold"] == pytest.approx(found["threshold"])


def test_an_ensemble_may_be_a_member(saved, tmp_path):
    inner = join_scores(load(saved, "argmax", "tok2vec"), "tokens")
    inner.to_disk(tmp_path / "inner")
    nlp = write_ensemble([tmp_path / "inner", saved / "tok2vec"], tmp_path / "out", method="tokens")
    assert_same(spacy.load(tmp_path / "out").pipe(TEXTS), nlp.pipe(TEXTS))
    twice = join_scores([spacy.load(tmp_path / "inner") for _ in range(2)])
    assert_same(twice.pipe(TEXTS), inner.pipe(TEXTS))


def test_votes(saved):
    texts = ["Rats and anxiety of rats."]
    found = {
        name: set(borders(doc))
        for name in ("tok2vec", "argmax", "rules")
        for doc in load(saved, name)[0].pipe(texts)
    }
    assert found["rules"] == {(4, 5, "animal"), (5, 6, "x")}
    for merge, expected in (
        ("union", found["tok2vec"] | found["argmax"] | found["rules"]),
        ("intersection", found["tok2vec"] & found["argmax"] & found["rules"]),
        ("vote", {row for a in found.values() for row in a if _votes(found, row) > 1}),
    ):
        nlp = join_spans(load(saved, *found), merge=merge)
        (doc,) = nlp.pipe(texts)
        assert set(borders(doc)) == expected
        # each member leaves what it found
        for name, key in zip(found, ("sc", "sc_2", "sc_3"), strict=True):
            if key != "sc":
                assert set(borders(doc, key)) == found[name]
    assert nlp.pipe_names == [
        *("nested_spancat_2", "span_merger_2", "span_ruler_3", "span_merger_3"),
        *("tok2vec", "nested_spancat", "span_vote"),
    ]


def test_votes_are_weighted_by_score(saved):
    members = ("rules", "rules", "few")
    (doc,) = join_spans(load(saved, *members), merge="union").pipe(["rats."])
    assert (0, 1, "animal") in borders(doc)
    best = dict(zip(borders(doc), scores_of(doc), strict=True))[0, 1, "animal"]
    assert best >= 2 / 3
    nlp = join_spans(load(saved, "rules", "few"), [1.0, 3.0], merge="union", min_score=0.2)
    assert (1, 2, "x") in borders(nlp("rats."))  # a quarter of all votes
    nlp = join_spans(load(saved, "rules", "few"), [1.0, 3.0], merge="union", min_score=0.3)
    assert (1, 2, "x") not in borders(nlp("rats."))


@pytest.mark.parametrize(
    "names,method,message",
    [
        (["all", "few"], "emissions", "few': 'nested_spancat' has the labels .*expected those of"),
        (["tok2vec", "argmax"], "emissions", r"chains is \['joint', 'per_label'\]"),
        (["tok2vec", "rules"], "tokens", "name of a nested_spancat.*has none"),
        (["few", "empty"], "spans", "empty' has no component that writes mentions"),
        (["few", "other"], "spans", "other' has another tokenizer than '.*few'"),
        ([], "spans", "at least one pipeline"),
        (["few"], "soup", "Unknown method 'soup'"),
    ],
)
def test_pipelines_have_to_fit(saved, tmp_path, names, method, message):
    spacy.blank("en").to_disk(saved / "other")
    make_pipeline("", heads=()).to_disk(saved / "empty")
    with pytest.raises(ValueError, match=message):
        write_ensemble([saved / name for name in names], tmp_path / "out", method=method)
    assert not (tmp_path / "out").exists()


def test_settings(saved, tmp_path):
    for settings, message in (
        ({"min_votes": 2}, r"\['min_votes'\] are for the method 'spans' alone"),
        ({"weights": [1.0]}, r"weights are \[1.0\], expected 2"),
    ):
        with pytest.raises(ValueError, match=message):
            write_ensemble([saved / "few"] * 2, tmp_path / "out", **settings)
    with pytest.raises(ValueError, match="min_votes is 3, expected 1 to 2"):
        write_ensemble([saved / "few"] * 2, tmp_path / "out", method="spans", min_votes=3)
    with pytest.raises(OSError, match="absent"):
        write_ensemble([saved / "few", "absent"], tmp_path / "out")
    (tmp_path / "file").write_text("x", encoding="utf8")
    with pytest.raises(ValueError, match="is no pipeline"):
        write_ensemble([saved / "few"] * 2, tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_ensemble_is_not_initialized(saved):
    nlp = join_scores(load(saved, "few"))
    with pytest.raises(ValueError, match="'span_ensemble' is an ensemble of trained members"):
        nlp.initialize()


def test_no_warnings(saved):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        join_spans(load(saved, "all", "rules"))(NEW_TEXT)


def _votes(found, row):
    return sum(row in rows for rows in found.values())
