"""The reranker of the component faiss_entity_linker."""

import shutil

import numpy
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Example

from spacy_bioie.annotation import Mention, get_mentions, set_mentions
from spacy_bioie.kb import Concept, build_knowledge_base
from spacy_bioie.kb.candidate_features import FEATURES
from spacy_bioie.kb.linking import LinkingSettings, find_candidates, score_pairs
from spacy_bioie.models import candidate_reranker
from spacy_bioie.models.candidate_reranker import CandidateReranker_v1, is_fitted
from spacy_bioie.pipeline import linker_reranking
from spacy_bioie.pipeline.linker_reranking import (
    after_rules,
    candidate_rows,
    insert_no_link,
    rerank,
)
from spacy_bioie.scoring.link_stages import evaluate_linking
from spacy_bioie.tokenization import EnglishTokenizer_v1
from tests.kb.builders import training_names

NAME = "faiss_entity_linker"
STEMS = "butyrate serotonin dopamine valerate tryptophan ghrelin orexin melatonin".split()
NEW_STEMS = ["kynurenine", "histamine"]
# Of two concepts a mention's name is nearer to one, but its label says that the other is meant
CONCEPTS = [
    concept
    for stem in STEMS + NEW_STEMS
    for concept in (
        Concept(f"CELL:{stem}", f"{stem} cell", types=("cell",)),
        Concept(f"GENE:{stem}", f"{stem} receptor gene", types=("gene",)),
    )
]
MODEL = {
    "@architectures": "spacy_bioie.MentionEncoder.v1",
    "hidden_width": 8,
    "dropout": 0.0,
    "tok2vec": {
        "@architectures": "spacy.HashEmbedCNN.v2",
        "pretrained_vectors": None,
        "width": 8,
        "depth": 1,
        "embed_size": 50,
        "window_size": 1,
        "maxout_pieces": 2,
        "subword_features": False,
    },
}


@pytest.fixture(autouse=True)
def few_mentions_are_enough(monkeypatch):
    monkeypatch.setattr(linker_reranking, "MIN_MENTIONS", 8)


def make_nlp(**settings):
    nlp = spacy.blank("en")
    nlp.tokenizer = EnglishTokenizer_v1()(nlp)
    settings = {"context_weight": 0.0, "label_weight": 0.0, "prior_weight": 0.0, **settings}
    nlp.add_pipe(NAME, config={"model": MODEL, **settings})
    return nlp


def make_doc(nlp, stem, *, links=True, odd=False):
    """Two mentions of one name with different labels; odd: and one that is no concept."""
    mentions = [("protein of cells", "gene", f"GENE:{stem}"), ("cells", "cell", f"CELL:{stem}")]
    doc = nlp.make_doc(
        " and ".join(f"{stem} {words}" for words, _, _ in mentions)
        + (f" in house {len(stem)} of {stem[:3]}" if odd else "")
    )
    found = []
    for words, label, concept_id in mentions:
        start = doc.text.index(f"{stem} {words}")
        span = doc.char_span(start, start + len(f"{stem} {words}"))
        found.append(Mention(span.start, span.end, label, kb_id=concept_id if links else ""))
    if odd:
        found.append(Mention(len(doc) - 4, len(doc), "gene"))
    set_mentions(doc, "sc", found)
    return doc


def make_examples(nlp, stems=STEMS, **settings):
    docs = [make_doc(nlp, stem, **settings) for stem in stems]
    return [Example(nlp.make_doc(doc.text), doc) for doc in docs]


def start(nlp, examples=None, mentions=()):
    linker = nlp.get_pipe(NAME)
    # types are labels where there are no training mentions
    linker.set_kb(
        lambda vocab: build_knowledge_base(
            CONCEPTS, vocab=vocab, mentions=training_names(*mentions)
        )[0]
    )
    examples = make_examples(nlp) if examples is None else examples
    nlp.initialize(lambda: examples)
    return linker


def unlinked(nlp, stems=STEMS + NEW_STEMS, **settings):
    return [make_doc(nlp, stem, links=False, **settings) for stem in stems]


def links(docs):
    return [[span.kb_id_ for span in doc.spans.get("sc", [])] for doc in docs]


def candidates(docs):
    return [[span._.kb_ents for span in doc.spans.get("sc", [])] for doc in docs]


def expected(stems=STEMS + NEW_STEMS):
    return [[f"GENE:{stem}", f"CELL:{stem}"] for stem in stems]


@pytest.fixture(scope="module")
def trained():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linker_reranking, "MIN_MENTIONS", 8)
        nlp = make_nlp()
        start(nlp)
    return nlp


@pytest.fixture(scope="module")
def trained_for_no_link():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linker_reranking, "MIN_MENTIONS", 8)
        nlp = make_nlp(no_link=True)
        start(nlp, make_examples(nlp, odd=True))
    return nlp


def old_scores(nlp):
    """The candidates as the scores without a reranker rank them."""
    linker = nlp.get_pipe(NAME)
    out = []
    for doc in unlinked(nlp):
        mentions = get_mentions(doc)
        texts = [doc[mention.start : mention.end].text for mention in mentions]
        labels = [mention.label for mention in mentions]
        out.append(linker.kb.search(texts, labels, settings=linker.settings))
    return out


def test_it_learns_from_labels_what_similarity_has_wrong(trained):
    """Also for names and concepts that no document of the training has."""
    assert is_fitted(trained.get_pipe(NAME).reranker)
    assert links(trained.pipe(unlinked(trained))) == expected()
    wrong = [row[0][0][0] for row in old_scores(trained)]
    assert wrong == [f"CELL:{stem}" for stem in STEMS + NEW_STEMS]
    for row in candidates(trained.pipe(unlinked(trained))):
        for found in row:
            scores = [score for _, score in found]
            assert scores == sorted(scores, reverse=True) and 0 < sum(scores) <= 1.0001


def test_it_learns_from_votes():
    """Names like this one mean the gene: no label says so, and no training mention of the name."""
    nlp = make_nlp(n_search=20)
    linker = nlp.get_pipe(NAME)
    concepts = [Concept(c.concept_id, c.name) for c in CONCEPTS]
    mentions = [
        (f"{word} {stem} cell{end}", "x", f"GENE:{stem}")
        for stem in STEMS + NEW_STEMS
        for word in ("old", "odd", "old, odd")
        for end in ("", "s")
    ]
    names = training_names(*mentions)
    linker.set_kb(lambda vocab: build_knowledge_base(concepts, vocab=vocab, mentions=names)[0])
    docs = []
    for stem in STEMS:
        doc = nlp.make_doc(f"odder {stem} cell")
        set_mentions(doc, "sc", [Mention(0, 3, "x", kb_id=f"GENE:{stem}")])
        docs.append(doc)
    nlp.initialize(lambda: [Example(nlp.make_doc(doc.text), doc) for doc in docs])
    assert is_fitted(linker.reranker)
    texts = [f"{stem} cell" for stem in NEW_STEMS]
    new = [nlp.make_doc(text) for text in texts]
    for doc in new:
        set_mentions(doc, "sc", [Mention(0, len(doc), "x")])
    assert [row[0][0] for row in linker.kb.search(texts)] == [f"CELL:{s}" for s in NEW_STEMS]
    assert links(nlp.pipe(new)) == [[f"GENE:{stem}"] for stem in NEW_STEMS]


def test_initialized_twice_it_is_the_same(trained):
    nlp = make_nlp()
    first = start(nlp).reranker.to_bytes()
    numpy.random.seed(7)
    start(nlp)
    again = candidates(nlp.pipe(unlinked(nlp)))
    assert nlp.get_pipe(NAME).reranker.to_bytes() == first
    assert again == candidates(trained.pipe(unlinked(trained)))


def test_training_leaves_it_alone():
    nlp = make_nlp(context_weight=0.5)
    examples = make_examples(nlp)
    linker = start(nlp, examples)
    before = linker.reranker.to_bytes()
    optimizer = nlp.resume_training()
    for _ in range(2):
        nlp.update(examples, sgd=optimizer)
    assert linker.reranker.to_bytes() == before


def test_survives_disk_and_bytes(trained, tmp_path):
    docs = candidates(trained.pipe(unlinked(trained)))
    trained.to_disk(tmp_path / "pipeline")
    for again in (spacy.load(tmp_path / "pipeline"), make_nlp().from_bytes(trained.to_bytes())):
        assert is_fitted(again.get_pipe(NAME).reranker)
        assert candidates(again.pipe(unlinked(again))) == docs


def test_a_pipeline_that_was_saved_without_it_is_loaded(trained, tmp_path):
    trained.to_disk(tmp_path / "pipeline")
    (tmp_path / "pipeline" / NAME / "reranker").unlink()
    without = make_nlp(reranker=None)
    start(without)
    older = (spacy.load(tmp_path / "pipeline"), make_nlp().from_bytes(without.to_bytes()))
    for again in older:
        assert not is_fitted(again.get_pipe(NAME).reranker)
        assert candidates(again.pipe(unlinked(again))) == old_scores(trained)
    # one that has no use for it passes it over
    nlp = make_nlp(reranker=None).from_bytes(trained.to_bytes())
    assert candidates(nlp.pipe(unlinked(nlp))) == old_scores(trained)


def test_without_a_reranker_scores_are_the_old_ones(tmp_path):
    nlp = make_nlp(reranker=None, no_link=True)
    linker = start(nlp)
    assert linker.reranker is None
    assert candidates(nlp.pipe(unlinked(nlp))) == old_scores(nlp)
    nlp.to_disk(tmp_path / "pipeline")
    assert not (tmp_path / "pipeline" / NAME / "reranker").exists()
    again = spacy.load(tmp_path / "pipeline")
    assert again.get_pipe(NAME).reranker is None
    assert candidates(again.pipe(unlinked(again))) == old_scores(nlp)


@pytest.mark.parametrize("links", [True, False])
def test_too_few_links_do_not_fit_it(links, monkeypatch):
    # there are 16 links, none of which counts where documents have mentions only
    monkeypatch.setattr(linker_reranking, "MIN_MENTIONS", 17 if links else 1)
    nlp = make_nlp(no_link=True)
    linker = start(nlp, make_examples(nlp, links=links))
    assert not is_fitted(linker.reranker)
    assert candidates(nlp.pipe(unlinked(nlp))) == old_scores(nlp)
    if links:
        monkeypatch.setattr(linker_reranking, "MIN_MENTIONS", 16)
        assert is_fitted(start(nlp).reranker)


def test_search_by_context_passes_it_over(trained):
    nlp = make_nlp(search_by="context", context_weight=0.5, no_link=True)
    linker = start(nlp)
    assert not is_fitted(linker.reranker)
    before = candidates(nlp.pipe(unlinked(nlp)))
    linker.reranker.from_bytes(trained.get_pipe(NAME).reranker.to_bytes())
    assert is_fitted(linker.reranker)
    assert candidates(nlp.pipe(unlinked(nlp))) == before and before[0][0]


def test_documents_are_looked_up_without_what_they_say(monkeypatch):
    """A name of one document alone is new to the reranker, one of two documents is not."""
    seen = {}

    def spy(model, features, groups, gold, **settings):
        seen.update(features=features, groups=groups, gold=gold)

    monkeypatch.setattr(candidate_reranker, "fit_reranker", spy)
    columns = [FEATURES.index(name) for name in ("evidence", "log_equal", "log_label_count")]

    def said(stems):
        nlp = make_nlp()
        examples = make_examples(nlp, stems)
        mentions = [
            (eg.reference[m.start : m.end].text, m.label, m.kb_id)
            for eg in examples
            for m in get_mentions(eg.reference)
        ]
        linker = start(nlp, examples, mentions)
        assert linker.kb.training_mentions(f"GENE:{stems[0]}") > 0
        assert (numpy.diff(seen["groups"]) >= 0).all()
        assert seen["groups"].tolist()[-1] == 2 * len(stems) - 1
        # each mention has one right row, a candidate or the choice of no link
        right = numpy.bincount(seen["groups"], weights=seen["gold"])
        assert right.tolist() == [1] * 2 * len(stems)
        return (seen["features"][seen["gold"]][:, columns] > 0).any(axis=0).tolist()

    assert said(STEMS) == [False, False, False]
    # five folds of one document each
    assert said(STEMS[:4] + STEMS[:1]) == [True, True, True]


@Language.component("uppercase_note")
def uppercase_note(doc):
    doc.user_data["note"] = doc.text.upper()
    return doc


@Language.component("reader_of_mentions", requires=["doc.spans"])
def reader_of_mentions(doc):
    raise AssertionError("a component that needs mentions was run")


def test_rules_before_it_are_run_on_copies():
    nlp = make_nlp()
    nlp.add_pipe("uppercase_note", first=True)
    nlp.add_pipe("tagger", first=True)
    # these would raise an error: what they need is not there
    nlp.add_pipe("span_merger", before=NAME)
    nlp.add_pipe("reader_of_mentions", before=NAME)
    nlp.add_pipe("reader_of_mentions", name="after", last=True)
    examples = make_examples(nlp, STEMS[:2])
    found = after_rules(examples, nlp, NAME)
    assert [eg.predicted.user_data["note"] for eg in found] == [eg.text.upper() for eg in examples]
    assert all(eg.reference is old.reference for eg, old in zip(found, examples, strict=True))
    for eg in examples:
        assert "note" not in eg.predicted.user_data and not eg.predicted.spans
    found = after_rules(examples, None, NAME)
    assert all("note" not in eg.predicted.user_data for eg in found)


def test_it_learns_with_abbreviations_expanded(monkeypatch):
    seen = []
    find = linker_reranking.find_mention_candidates

    def spy(kb, docs, *args, **kwargs):
        seen.extend(docs)
        return find(kb, docs, *args, **kwargs)

    monkeypatch.setattr(linker_reranking, "find_mention_candidates", spy)
    # names of the knowledge base or nothing: the short form alone finds no concept
    nlp = make_nlp(n_search=0)
    nlp.add_pipe("abbreviations", first=True)
    examples = []
    for stem in STEMS:
        doc = nlp.make_doc(f"{stem} cell ( {stem[0].upper()}C ) and {stem[0].upper()}C again")
        set_mentions(doc, "sc", [Mention(6, 7, "cell", kb_id=f"CELL:{stem}")])
        examples.append(Example(nlp.make_doc(doc.text), doc))
    linker = start(nlp, examples)
    assert is_fitted(linker.reranker)
    assert len(seen) == len(STEMS) and all(doc._.abbreviations for doc in seen)
    for eg in examples:
        assert not eg.predicted._.abbreviations and not eg.predicted.user_data
    nlp = make_nlp(n_search=0)
    assert not is_fitted(start(nlp, examples).reranker)


def test_batch_equals_single_and_processes(trained_for_no_link):
    nlp = trained_for_no_link
    docs = candidates(nlp.pipe(unlinked(nlp, odd=True)))
    assert candidates([nlp(doc) for doc in unlinked(nlp, odd=True)]) == docs
    two = nlp.pipe(unlinked(nlp, odd=True), n_process=2, batch_size=4)
    assert candidates(two) == docs


def test_empty_input(trained, trained_for_no_link):
    for nlp in (trained, trained_for_no_link):
        linker = nlp.get_pipe(NAME)
        assert linker.predict([]) == [] and list(nlp.pipe([])) == []
        docs = [nlp.make_doc(text) for text in ("", "no group here", "no mention here")]
        set_mentions(docs[2], "sc", [])
        assert links(nlp.pipe(docs)) == [[], [], []]
    # a name of nothing
    doc = trained.make_doc("\u200b")
    set_mentions(doc, "sc", [Mention(0, 1, "gene")])
    assert candidates([trained(doc.copy())]) == [[[]]]
    assert candidates([trained_for_no_link(doc.copy())]) == [[[("", 1.0)]]]


def test_no_link_where_no_concept_fits(trained_for_no_link):
    nlp = trained_for_no_link
    docs = list(nlp.pipe(unlinked(nlp, odd=True)))
    assert [row[:2] for row in links(docs)] == expected()
    for doc, row in zip(docs, candidates(docs), strict=True):
        assert doc.spans["sc"][2].kb_id_ == ""
        assert row[2][0][0] == "" and row[2][0][1] > row[2][1][1] and len(row[2]) == 5
        for found in row:
            scores = [score for _, score in found]
            assert scores == sorted(scores, reverse=True)
    data = DocBin(docs=docs, store_user_data=True).to_bytes()
    assert candidates(DocBin().from_bytes(data).get_docs(nlp.vocab)) == candidates(docs)
    # without it the best of the concepts is a link all the same
    linker = nlp.get_pipe(NAME)
    linker.cfg["no_link"] = False
    try:
        docs = list(nlp.pipe(unlinked(nlp, odd=True)))
    finally:
        linker.cfg["no_link"] = True
    assert all(all(row) for row in links(docs))
    assert all("" not in dict(found) for row in candidates(docs) for found in row)


def test_scores_take_the_choice_of_no_link(trained_for_no_link):
    nlp = trained_for_no_link
    figures = nlp.evaluate(make_examples(nlp, odd=True))
    assert figures["nel_gold_acc1"] == figures["nel_gold_mrr"] == 1.0
    examples = make_examples(nlp, odd=True)
    for eg, doc in zip(examples, unlinked(nlp, STEMS, odd=True), strict=True):
        eg.predicted = nlp(doc)
    # two mentions without a link agree
    assert nlp.get_pipe(NAME).score(examples)["nerd_strict_micro_f"] == pytest.approx(1.0)
    stages = evaluate_linking(nlp.get_pipe(NAME), examples)
    assert stages["linker_acc1"] == stages["disambiguation_acc1"] == 1.0
    assert stages["search_acc1"] < 1 and stages["mentions"] == 2 * len(STEMS)


def test_no_link_is_ranked_by_its_probability():
    ranked = [[("A", 0.5), ("B", 0.2)], [("A", 0.9)], []]
    no_link = numpy.asarray([0.3, 0.1, 1.0])
    assert insert_no_link(ranked, no_link, 5) == [
        [("A", 0.5), ("", 0.3), ("B", 0.2)],
        [("A", 0.9), ("", 0.1)],
        [("", 1.0)],
    ]
    assert insert_no_link(ranked, no_link, 1) == [[("A", 0.5)], [("A", 0.9)], [("", 1.0)]]
    # of equal scores, to five decimals, the concept comes first
    assert insert_no_link([[("A", 0.5)]], numpy.asarray([0.500001]), 5)[0][0][0] == "A"


def test_probabilities_of_candidates_and_no_link_sum_to_one(trained):
    linker = trained.get_pipe(NAME)
    names, labels = ["butyrate cells", "", "unheard"], ["gene", "cell", "never seen"]
    pairs = find_candidates(linker.kb, names, labels, LinkingSettings(details=True))
    n = len(pairs.mentions)
    docs = [trained.make_doc("a name")]
    mentions = [[Mention(0, 2, label) for label in labels]]
    scores = score_pairs(linker.kb, pairs, LinkingSettings())
    rows = candidate_rows(linker.kb, docs, mentions, pairs, scores)
    plain, none = rerank(linker.reranker, rows, None, 0.0)
    context = numpy.random.default_rng(0).uniform(-1, 1, n)
    for found, no_link in (
        (plain, none),
        rerank(linker.reranker, rows, context, 2.0),
    ):
        sums = numpy.bincount(pairs.mentions, weights=found, minlength=3) + no_link
        assert sums.tolist() == pytest.approx([1, 1, 1])
        assert no_link[1] == 1 and 0 < no_link[0] < 1
    # the context takes from all but the candidate that it suits best
    odds = numpy.log(found / no_link[pairs.mentions]) - numpy.log(plain / none[pairs.mentions])
    best = numpy.asarray([context[pairs.mentions == mention].max() for mention in pairs.mentions])
    numpy.testing.assert_allclose(odds, 2 * (context - best), atol=1e-6)


def test_context_joins_the_scores(trained, monkeypatch):
    """With everything against it, the context chooses the other concept."""
    nlp = make_nlp().from_bytes(trained.to_bytes())
    linker = nlp.get_pipe(NAME)
    linker.cfg["context_weight"] = 5.0
    cells = [i for i, c in enumerate(linker.kb.tables.concept_ids) if c.startswith("CELL")]

    def stub(model, kb, docs, mentions, pairs, component):
        return numpy.isin(pairs.concepts, cells).astype("float64")

    monkeypatch.setattr("spacy_bioie.pipeline.faiss_entity_linker.context_cosines", stub)
    found = links(nlp.pipe(unlinked(nlp)))
    assert found == [[f"CELL:{stem}"] * 2 for stem in STEMS + NEW_STEMS]


def test_another_knowledge_base_without_another_fit(trained):
    """It reads what a candidate is like, not which concept it is."""
    nlp = make_nlp().from_bytes(trained.to_bytes())
    other = [Concept(c.concept_id.lower(), c.name, types=c.types) for c in reversed(CONCEPTS)]
    nlp.get_pipe(NAME).set_kb(lambda vocab: build_knowledge_base(other, vocab=vocab)[0])
    found = links(nlp.pipe(unlinked(nlp)))
    assert found == [[concept_id.lower() for concept_id in row] for row in expected()]


def test_reranker_of_another_size_is_loaded_with_its_config(tmp_path):
    settings = {"@architectures": "spacy_bioie.CandidateReranker.v1", "hidden_size": 6}
    nlp = make_nlp(reranker=settings)
    start(nlp)
    docs = candidates(nlp.pipe(unlinked(nlp)))
    nlp.to_disk(tmp_path / "pipeline")
    shutil.move(tmp_path / "pipeline", tmp_path / "moved")
    again = spacy.load(tmp_path / "moved")
    assert again.get_pipe(NAME).reranker.model.layers[0].get_dim("nO") == 6
    assert candidates(again.pipe(unlinked(again))) == docs
    assert CandidateReranker_v1().model.layers[0].get_dim("nO") == 32
