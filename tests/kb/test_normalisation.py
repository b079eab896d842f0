import pytest

from spacy_bioie.kb.normalisation import normalise_name


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Gut  Microbiota", "gut microbiota"),
        ("gut-microbiota", "gut microbiota"),
        ("gut\u2010microbiota", "gut microbiota"),
        ("IL\u20116", "il 6"),
        ("H<sub>2</sub>O\u2082", "h2o2"),
        ("<i>E. coli</i>", "e. coli"),
        ("&alpha;-synuclein", "α synuclein"),
        ("α-Synuclein", "α synuclein"),
        ("Sjögren’s syndrome", "sjogren's syndrome"),
        ("ΚΑΡΔΙΆ", "καρδιά"),
        ("йод", "йод"),
        ("µg", "μg"),
        ("a\nb\tc\u200bd", "a b c d"),
        ("-", "-"),
        ("", ""),
        (" \n", ""),
        ("p < 0.05 & x", "p < 0.05 & x"),
        ("😀 Smile", "😀 smile"),
    ],
)
def test_forms(text, expected):
    assert normalise_name(text) == expected


@pytest.mark.parametrize("text", ["Sjögren’s–Syndrome", "--A--", "ﬁbre²", "İstanbul", "\x00x\x07"])
def test_normalising_twice_changes_nothing(text):
    assert normalise_name(normalise_name(text)) == normalise_name(text)
