import pytest
from spacy.tokens import DocBin

from spacy_bioie.annotation import Mention, set_mentions
from spacy_bioie.kb.training_names import TrainingNames, read_training_names


@pytest.fixture
def corpus(nlp, tmp_path):
    docs = []
    for text in ("Low mood and LOW-MOOD", "low mood ?", ""):
        doc = nlp.make_doc(text)
        if "and" in text:
            set_mentions(
                doc, "sc", [Mention(0, 2, "DDF", kb_id="C1"), Mention(3, 6, "DDF", kb_id="C1")]
            )
        elif text:
            set_mentions(doc, "sc", [Mention(0, 2, "human", kb_id="C2"), Mention(2, 3, "DDF")])
        docs.append(doc)
    DocBin(docs=docs).to_disk(tmp_path / "train.spacy")
    return tmp_path / "train.spacy"


def test_mentions_are_counted(corpus):
    names = read_training_names([corpus])
    assert names.counts == {("low mood", "DDF", "C1"): 2, ("low mood", "human", "C2"): 1}
    assert names.unlinked == 1
    assert read_training_names([corpus, corpus]).counts[("low mood", "DDF", "C1")] == 4
    assert read_training_names([]).counts == {}


def test_mentions_of_several_concepts_are_names_of_each():
    names = TrainingNames()
    names.add("breast and ovarian cancer", "DDF", "D001943|D010051")
    names.add("some cancer", "DDF", "-1")
    name = "breast and ovarian cancer"
    assert names.counts == {(name, "DDF", "D001943"): 1, (name, "DDF", "D010051"): 1}
    assert sorted(names.texts) == ["D001943", "D010051"] and names.unlinked == 1


def test_new_concepts_are_named_by_the_commonest_mention():
    names = TrainingNames()
    for text in ("b", "A", "A", "c", "c"):
        names.add(text, "DDF", "C1")
    (concept,) = names.new_concepts(["C2"])
    assert (concept.concept_id, concept.name) == ("C1", "A")
    assert names.new_concepts(["C1"]) == []


def test_errors_name_the_file(corpus, tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.spacy"):
        read_training_names([tmp_path / "absent.spacy"])
    with pytest.raises(ValueError, match=r"train.spacy': no Doc has the span group 'x'.*\['sc'\]"):
        read_training_names([corpus], "x")
    corpus.write_bytes(corpus.read_bytes()[:50])
    with pytest.raises(ValueError, match="train.spacy': expected a DocBin"):
        read_training_names([corpus])
