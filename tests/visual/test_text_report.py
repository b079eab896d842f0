from spacy_bioie.annotation import Mention, set_mentions, set_relations
from spacy_bioie.visual.text_report import text_report


def test_report_shows_mentions_concepts_and_relations(nlp):
    doc = nlp("Butyrate in mice\nButyrate reached the gut of mice.")
    set_mentions(
        doc,
        "sc",
        [
            Mention(0, 1, "chemical", kb_id="CHEBI:17968", score=0.9),
            Mention(2, 3, "animal", kb_id="NCIT:C14238", score=0.8),
            Mention(7, 8, "anatomical location"),
        ],
    )
    set_relations(doc, "sc", [("T1", "located in", "T2", 0.75)])
    report = text_report(doc)
    lines = report.split("\n")
    assert lines[0] == "Mentions (3)"
    assert "T1" in lines[1] and "title 0-8" in lines[1] and "CHEBI:17968" in lines[1]
    assert "abstract 21-24" in lines[3] and " -  " in lines[3]
    assert "  0.75  T1 Butyrate  located in  T2 mice" in lines
    assert "  0.75  CHEBI:17968  located in  NCIT:C14238" in lines


def test_report_of_an_empty_document(nlp):
    assert text_report(nlp("")).startswith("Mentions (0)")
