import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import Example

from spacy_bioie.annotation import Abbreviation, get_abbreviation_rows
from spacy_bioie.formats import read_articles
from spacy_bioie.formats.articles import article_to_doc
from spacy_bioie.pipeline.abbreviations import (
    find_definitions,
    find_occurrences,
    is_short_form,
    match_long_form,
)

TEXTS = [
    "SCFA and GBA\nShort-chain fatty acids (SCFAs) act on the gut-brain axis (GBA). SCFAs do.",
    "",
    "No short form at all (n = 3).",
    "One SCFA, no definition.",
    "IBS (irritable bowel syndrome) and IBS",
] * 2


@pytest.fixture
def detector(nlp):
    nlp.add_pipe("biomedical_sentencizer")
    nlp.add_pipe("abbreviations")
    return nlp


def pairs(text):
    return [
        (text[row.start : row.end], text[row.long_start : row.long_end])
        for row in find_definitions(text)
    ]


def found(doc):
    return [(span.text, span.start, span._.long_form.text) for span in doc._.abbreviations]


@pytest.mark.parametrize(
    "text", ["ASD", "5-HT", "TNF-α", "C. elegans", "16S rRNA", "IL-1β", "hERG"]
)
def test_short_forms(text):
    assert is_short_form(text)


@pytest.mark.parametrize(
    "text",
    ["", "A", "L.", "i.e.", "oral", "p = 0.1", "12", "-AB", "ABCDEFGHIJK", "A B C", "95%", "n=12"],
)
def test_no_short_forms(text):
    assert not is_short_form(text)


@pytest.mark.parametrize(
    "short, text, expected",
    [
        # the shortest match, its first sign at the head of a word
        ("ASD", "children with autism spectrum disorder", "autism spectrum disorder"),
        ("HMO", "many human milk oligosaccharides", "human milk oligosaccharides"),
        ("GI", "the gastrointestinal", "gastrointestinal"),
        ("TNF", "anti-tumor necrosis factor", "tumor necrosis factor"),
        ("mPFC", "the medial prefrontal cortex", "medial prefrontal cortex"),
        # initials come before the shortest match
        ("DD", "with depressive disorder", "depressive disorder"),
        ("OFT", "an open-field test", "open-field test"),
        # Greek letters and their names
        ("TNF-α", "tumour necrosis factor alpha", "tumour necrosis factor alpha"),
        ("aSyn", "of α-synuclein", "α-synuclein"),
        # locants
        ("MPTP", "of 1-methyl-4-phenyl-tetrahydropyridine", "1-methyl-4-phenyl-tetrahydropyridine"),
        ("LA", "of D-lactic acid", "D-lactic acid"),
    ],
)
def test_long_forms(short, text, expected):
    assert text[match_long_form(short, text) :] == expected


@pytest.mark.parametrize(
    "short, text", [("XYZ", "some words here"), ("IN", "protein"), ("AB", ""), ("AB", "b a")]
)
def test_no_long_form(short, text):
    assert match_long_form(short, text) == -1


@pytest.mark.parametrize(
    "text, expected",
    [
        ("autism spectrum disorder (ASD)", [("ASD", "autism spectrum disorder")]),
        ("autism spectrum disorder [ASD]", [("ASD", "autism spectrum disorder")]),
        ("healthy controls (HC, n = 27)", [("HC", "healthy controls")]),
        ("healthy controls (HC; young [12])", [("HC", "healthy controls")]),
        ("healthy controls (“HC”)", [("HC", "healthy controls")]),
        ("5-HT (5-hydroxytryptamine) rose", [("5-HT", "5-hydroxytryptamine")]),
        (
            "in PINK1 (PTEN induced putative kinase 1)",
            [("PINK1", "PTEN induced putative kinase 1")],
        ),
        (
            "gut-brain axis (GBA) and bile acids (BAs)",
            [("GBA", "gut-brain axis"), ("BAs", "bile acids")],
        ),
        # markup plays no part in the match, and stays in the text
        (
            "<i>Clostridium difficile</i> infection (<b>CDI</b>)",
            [("CDI", "Clostridium difficile</i> infection")],
        ),
        # the paper's filters, and more of them
        ("HC controls (HC)", []),
        ("Pro (PRO)", []),
        ("the degree of unsaturation (OU)", []),
        ("rose (mean difference (MD) 3 (SMD)", [("MD", "mean difference")]),
        ("a) hyper b) controls (HC)", []),
        ("mice (n = 30) and rats (p < 0.05)", []),
        ("a (b ( c", []),
        ("(ASD) alone", []),
        ("(only brackets", []),
        (") [wrong) order (", []),
    ],
)
def test_definitions(text, expected):
    assert pairs(text) == expected


def test_long_form_is_near():
    """The paper: at most |short| + 5 and 2 |short| words."""
    near = "alpha one two three four five beta"
    assert pairs(f"{near} (AB)") == []
    assert pairs("alpha two three beta (AB)") == [("AB", "alpha two three beta")]
    assert pairs("alpha two three four beta (AB)") == []
    assert pairs("AB (alpha two three four beta)") == []


def test_definitions_in_a_part_of_the_text():
    text = "bile acids. Basic amines (BA)"
    assert find_definitions(text, 12) == [Abbreviation(26, 28, 12, 24)]
    assert find_definitions("bile acids (BA)", 5) == []


def test_occurrences():
    text = "GBA, then gut-brain axis (GBA): GBAs, non-GBA, GBA2, gba, DGBA, SGBA"
    (definition,) = find_definitions(text)
    rows = find_occurrences(text, [definition])
    assert [(row.start, text[row.start : row.end]) for row in rows] == [
        (0, "GBA"),
        (26, "GBA"),
        (32, "GBAs"),
        (42, "GBA"),
    ]
    assert {row[2:] for row in rows} == {(10, 24)}
    alone = find_occurrences(text, [definition], plurals=False)
    assert [row.start for row in alone] == [0, 26, 42]
    assert find_occurrences(text, []) == []


def test_plural_definitions_and_their_singular():
    text = "bile acids (BAs), one BA"
    assert [row.start for row in find_occurrences(text, find_definitions(text))] == [12, 22]
    text = "bile acids (BAs), basal area (BA), BA and BAs"
    rows = find_occurrences(text, find_definitions(text))
    assert [text[row.long_start] + text[row.start : row.end] for row in rows] == [
        *("bBAs", "bBA", "bBA", "bBAs")
    ]
    assert rows[2].long_start == text.index("basal")


def test_a_second_definition_counts_from_its_place():
    text = "MD. Mean difference (MD), MD. Mild dysbiosis (MD), MD"
    rows = find_occurrences(text, find_definitions(text))
    longs = [text[row.long_start : row.long_end] for row in rows]
    assert longs == ["Mean difference"] * 3 + ["Mild dysbiosis"] * 2


def test_the_longest_short_form_counts():
    text = "mild stress (MS), repeated mild stress (R-MS), R-MS, MS"
    rows = find_occurrences(text, find_definitions(text))
    assert [text[row.start : row.end] for row in rows] == ["MS", "R-MS", "R-MS", "MS"]


def test_component(detector):
    doc = detector(TEXTS[0])
    scfa, gba = "Short-chain fatty acids", "gut-brain axis"
    assert [(text, long) for text, _, long in found(doc)] == [
        ("SCFA", scfa),
        ("GBA", gba),
        ("SCFAs", scfa),
        ("GBA", gba),
        ("SCFAs", scfa),
    ]
    assert found(detector(TEXTS[4])) == [
        ("IBS", 0, "irritable bowel syndrome"),
        ("IBS", 7, "irritable bowel syndrome"),
    ]


def test_definitions_stay_in_a_sentence_and_a_section(nlp, detector):
    text = "It holds bile. Acids (BA) were low."
    assert found(detector(text)) == []
    assert nlp.pipe_names == ["biomedical_sentencizer", "abbreviations"]
    with nlp.select_pipes(enable="abbreviations"):
        assert found(nlp(text)) != []
        assert found(nlp("About bile\nacids (BA) of mice")) == []


@pytest.mark.parametrize("text", ["", " ", "\n", "()", "((", "(A1)", "\x00(B2)", "🧠 (🦠 A1)"])
def test_odd_text(detector, text):
    doc = detector(text)
    assert doc.text == text and doc._.abbreviations == []


def test_long_text_without_sentences(nlp):
    nlp.add_pipe("abbreviations")
    doc = nlp("word " * 3000 + "bile acids (BA) " * 3 + "( " * 3000 + "() " * 2000)
    assert [long for _, _, long in found(doc)] == ["bile acids"] * 3


def test_batch_equals_single_and_two_processes(detector):
    single = [found(detector(text)) for text in TEXTS]
    assert sum(map(len, single)) == 14
    assert [found(doc) for doc in detector.pipe(TEXTS)] == single
    assert [found(doc) for doc in detector.pipe(TEXTS, n_process=2)] == single


def test_docbin(detector):
    doc = detector(TEXTS[0])
    (stored,) = DocBin(docs=[doc], store_user_data=True).get_docs(detector.vocab)
    assert found(stored) == found(doc) != []


def test_settings_survive_a_reload(nlp, tmp_path):
    text = "gut-brain axis (GBA) GBAs"
    nlp.add_pipe("abbreviations", config={"plurals": False})
    nlp.to_disk(tmp_path / "pipeline")
    again = spacy.load(tmp_path / "pipeline")
    assert len(again(text)._.abbreviations) == len(nlp(text)._.abbreviations) == 1
    settings = {"components": {"abbreviations": {"plurals": True}}}
    assert len(spacy.load(tmp_path / "pipeline", config=settings)(text)._.abbreviations) == 2


def test_it_learns_nothing(detector):
    examples = [Example(detector.make_doc(text), detector(text)) for text in TEXTS]
    detector.initialize(lambda: examples)
    assert detector.update(examples) == {}
    assert "abbreviations" not in detector.evaluate(examples)


def test_real_abstracts(data_dir, detector):
    folder = data_dir / "gutbrainie" / "Annotations" / "Train" / "platinum_quality" / "json_format"
    articles = read_articles(folder / "train_platinum.json")
    docs = [detector(article_to_doc(article, detector).text) for article in articles]
    defined = {
        (short, long.lower()) for doc in docs for short, _, long in found(doc) if len(short) > 2
    }
    assert sum(bool(get_abbreviation_rows(doc)) for doc in docs) > len(docs) / 2
    assert {
        ("ASD", "autism spectrum disorder"),
        ("SCFAs", "short-chain fatty acids"),
        ("BDNF", "brain-derived neurotrophic factor"),
    } <= defined
