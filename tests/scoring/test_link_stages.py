import glob
import json

import pytest
import spacy
from spacy.training import Example

from spacy_bioie.annotation import Mention, set_mentions
from spacy_bioie.kb import build_knowledge_base
from spacy_bioie.kb.training_names import TrainingNames
from spacy_bioie.scoring.link_stages import evaluate_linking
from tests.kb.builders import make_kb

TRAINED = [("low mood", "DDF", "C1"), ("depression", "DDF", "C1")]


def examples(nlp, *mentions):
    """One document of mentions (words, label, concept id)."""
    doc = nlp.make_doc(" and ".join(words for words, _, _ in mentions))
    found, position = [], 0
    for words, label, concept_id in mentions:
        span = doc.char_span(position, position + len(words))
        found.append(Mention(span.start, span.end, label, kb_id=concept_id))
        position += len(words) + len(" and ")
    set_mentions(doc, "sc", found)
    return [Example(nlp.make_doc(doc.text), doc)]


GOLD = [
    ("Low Mood", "DDF", "C1"),  # seen name, seen concept
    ("depressive disorder", "DDF", "C1"),  # unseen name
    ("gut floras", "microbiome", "C2"),  # unseen concept, not in the dictionary
    ("depression", "DDF", "C3"),  # the training mentions say C1
    ("unlinked", "DDF", ""),
]


def test_stages_and_groups(nlp):
    figures = evaluate_linking(make_kb(mentions=TRAINED), examples(nlp, *GOLD))
    assert [
        figures[f"mentions{group}"]
        for group in ("", "_seen_names", "_unseen_names", "_seen_concepts", "_unseen_concepts")
    ] == [4, 2, 2, 2, 2]
    assert figures["dictionary_acc1"] == 0.5 and figures["dictionary_acc5"] == 0.75
    assert figures["dictionary_unseen_concepts_acc1"] == 0.0
    assert figures["search_unseen_concepts_acc1"] == 0.5
    assert figures["linker_acc1"] == 0.75
    assert figures["linker_unseen_names_acc1"] == 1.0
    assert figures["linker_mrr"] == pytest.approx((1 + 1 + 1 + 0.5) / 4)


def test_candidates_apart_from_the_choice_among_them(nlp):
    gold = [*GOLD, ("quite another thing", "DDF", "C5")]  # C5 has no name
    figures = evaluate_linking(make_kb(mentions=TRAINED), examples(nlp, *gold))
    assert figures["candidates_recall"] == figures["candidates_recall5"] == 0.8
    assert figures["disambiguation_acc1"] == pytest.approx(3 / 4)
    assert figures["linker_acc1"] == pytest.approx(0.8 * 3 / 4)
    assert figures["candidates_seen_concepts_recall"] == 1.0
    assert figures["candidates_unseen_concepts_recall"] == pytest.approx(2 / 3)
    assert figures["disambiguation_unseen_concepts_acc1"] == 0.5
    assert figures["disambiguation_unseen_names_acc1"] == 1.0


def test_candidates_are_not_cut_where_the_linker_cuts(nlp):
    """top_k says how many candidates a linker keeps, not how many it has to choose from."""
    figures = {}
    for top_k in (1, 5):
        blank = type(nlp)()
        linker = blank.add_pipe(
            "faiss_entity_linker", config={"context_weight": 0.0, "top_k": top_k}
        )
        linker.set_kb(lambda vocab: make_kb(mentions=TRAINED, vocab=vocab))
        figures[top_k] = evaluate_linking(linker, examples(nlp, *GOLD))
        assert linker.cfg["top_k"] == top_k
    assert figures[1]["linker_acc5"] < figures[5]["linker_acc5"] == 1.0
    assert figures[1]["candidates_recall"] == figures[5]["candidates_recall"] == 1.0
    assert figures[1]["disambiguation_acc1"] == 0.75


def test_linker_uses_its_own_settings(nlp):
    linker = nlp.add_pipe("faiss_entity_linker", config={"context_weight": 0.0, "n_search": 0})
    linker.set_kb(lambda vocab: make_kb(mentions=TRAINED, vocab=vocab))
    figures = evaluate_linking(linker, examples(nlp, *GOLD))
    assert figures["linker_acc1"] == figures["dictionary_acc1"] == 0.5
    assert figures["search_acc1"] == 0.0


def test_nothing_to_score(nlp):
    for gold in ([], [("unlinked", "DDF", "")]):
        figures = evaluate_linking(make_kb(), examples(nlp, *gold))
        assert figures["mentions"] == 0 and figures["linker_acc1"] is None


def test_real_links_by_spelling_alone(data_dir):
    """Official names and training mentions without a name encoder, on GutBrainIE's dev."""
    nlp = spacy.blank("en")
    folder = data_dir / "gutbrainie" / "Annotations"
    names = TrainingNames()
    for path in sorted(glob.glob(str(folder / "Train" / "[gp]*" / "json_format" / "*.json"))):
        for mention in read(path):
            names.add(*mention)
    kb, _ = build_knowledge_base([data_dir / "kb" / "gutbrainie_concepts.jsonl"], mentions=names)
    dev = examples(nlp, *read(folder / "Dev" / "json_format" / "dev.json"))
    figures = evaluate_linking(kb, dev)
    assert figures["mentions"] == 1117
    assert figures["linker_acc1"] >= 0.80 and figures["linker_acc5"] >= 0.91
    assert figures["linker_acc1"] > max(figures["search_acc1"], figures["dictionary_acc1"])


def read(path):
    with open(path, encoding="utf8") as opened:
        articles = json.load(opened)
    return [
        (entity["text_span"].strip() or "x", entity["label"], entity["uri"])
        for article in articles.values()
        for entity in article["entities"]
    ]
