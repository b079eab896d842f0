import pytest
from spacy.tokens import DocBin


@pytest.fixture
def sentencizer(nlp):
    nlp.add_pipe("biomedical_sentencizer")
    return nlp


@pytest.mark.parametrize(
    "text, expected",
    [
        ("We grew E. coli and L. reuteri. Both died.", 2),
        ("Mice vs. rats were compared. No effect was seen.", 2),
        ("As Fig. 2 shows, p was 0.05. The effect held (Figs. 3 and 4).", 2),
        ("Levels rose (p < 0.001). 16S rRNA was sequenced.", 2),
        ("Patients lacked vitamin D. The others did not.", 2),
        ("Infection with C. Difficile was frequent.", 1),
        ("Smith et al. 2020 found Lactobacillus spp. in mice, e.g. Swiss mice.", 1),
        ("It acts on the brain.Several modes exist.", 2),
        ("Is it so? It is! We think so.", 3),
        ("It was <i>B. longum</i>.</p> <b>Results</b>: It grew.", 2),
        ("no stop at all", 1),
    ],
)
def test_sentences(sentencizer, text, expected):
    assert len(list(sentencizer(text).sents)) == expected


def test_sections_begin_a_sentence(sentencizer):
    doc = sentencizer("A title without a stop\nthe abstract. It has two.")
    assert [sent.text.strip() for sent in doc.sents] == [
        "A title without a stop",
        "the abstract.",
        "It has two.",
    ]


def test_abbreviations_of_the_user(nlp):
    text = "Given at 5 a.u. Then stopped. End."
    nlp.add_pipe("biomedical_sentencizer", config={"abbreviations": ["a.u."]})
    assert len(list(nlp(text).sents)) == 2


@pytest.mark.parametrize("text", ["", " ", "\n", "...", "<i></i>", "\x00\x07", "🧠. Then 🦠."])
def test_odd_text(sentencizer, text):
    doc = sentencizer(text)
    assert doc.text == text
    assert all(token.is_sent_start is not None for token in doc)


def test_batch_equals_single_and_two_processes(sentencizer):
    texts = ["E. coli grew. It died.", "", "One. Two. Three."] * 3
    single = [[s.text for s in sentencizer(text).sents] for text in texts]
    assert [[s.text for s in doc.sents] for doc in sentencizer.pipe(texts)] == single
    two = sentencizer.pipe(texts, n_process=2)
    assert [[s.text for s in doc.sents] for doc in two] == single


def test_docbin_and_reload(sentencizer, tmp_path):
    import spacy

    doc = sentencizer("E. coli grew. It died.")
    sentencizer.to_disk(tmp_path)
    again = spacy.load(tmp_path)(doc.text)
    (stored,) = DocBin(docs=[again]).get_docs(sentencizer.vocab)
    assert [s.text for s in stored.sents] == [s.text for s in doc.sents]
