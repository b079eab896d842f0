import json

import pytest

BASE = {"seeds": [], "data": {}, "commit": "0" * 40, "seconds": 1.0, "peak_memory_mb": 10}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write results, and return the README that is made of them."""
    import readme
    import results

    for module in (results, readme):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    scripts = readme.scripts()
    monkeypatch.setattr(readme, "scripts", lambda: scripts)
    monkeypatch.setattr(readme, "PATH", tmp_path / "README.md")

    def run(**found):
        for name, result in found.items():
            text = json.dumps({**BASE, **result})
            (tmp_path / f"{name}.json").write_text(text, encoding="utf8")
        readme.main()
        return (tmp_path / "README.md").read_text(encoding="utf8")

    return run


def linking(system, corpus="bc5cdr", **metrics):
    counts = {"mentions": 9432, "mentions_unseen_names": 10, "mentions_unseen_concepts": 5}
    left_out = ("several_ids", "no_id")
    counts.update({f"mentions_left_out_{name}": 7 for name in left_out})
    return {
        "benchmark": "linking_corpora",
        "system": system,
        "metrics": {**counts, "mentions_wrong_not_in_kb": 3, **metrics},
        "config": {"corpus": corpus, "names": {"kb": 1000, "train": 2000}},
    }


def test_scripts_with_their_commands(write):
    text = write()
    assert "| `linking_corpora.py` | Linking of gold mentions in BC5CDR" in text
    assert "| `gutbrainie.py` | " in text and "`python -m spacy project run gutbrainie` |" in text
    assert "`results.py`" not in text and "`readme.py`" not in text and "``" not in text


def test_linking_tables(write):
    text = write(
        a=linking("spacy_bioie", kb_acc1=0.75, train_acc1=0.875),
        b=linking("exact match", kb_acc1=0.5),
        c=linking("exact match", corpus="ncbi_disease", kb_acc1=0.25),
    )
    assert "`bc5cdr`: 9432 mentions, 10 of names and 5 of concepts unseen in training, 3" in text
    assert "names of the knowledge base (1,000)" in text and "and of training (2,000)" in text
    assert text.index("| exact match | 0.5000 |") < text.index("| spacy_bioie | 0.7500 |")
    assert text.index("| spacy_bioie | 0.8750 |") < text.index("| exact match | 0.2500 |")
    assert "| exact match | - |" in text


def test_linking_on_gutbrainie_puts_peers_first(write):
    counts = {"mentions": 1117, "mentions_unseen_names": 463, "mentions_unseen_concepts": 209}
    result = {"benchmark": "linking_gutbrainie", "config": {}}
    text = write(
        a={**result, "system": "spacy_bioie, linker", "metrics": {**counts, "gold_acc1": 0.87}},
        b={**result, "system": "exact match", "metrics": {**counts, "gold_acc1": 0.65}},
    )
    assert "1,117 gold mentions, 463 of names and 209 of concepts unseen in training" in text
    assert text.index("| exact match | 0.6500 |") < text.index("| spacy_bioie, linker | 0.8700 |")


def test_benchmarks_without_a_section_show_all_their_figures(write):
    result = {"benchmark": "long_documents", "config": {}}
    text = write(
        a={**result, "system": "Flat", "metrics": {"names": 4000000, "recall10": 1.0}},
        b={**result, "system": "SQ8", "metrics": {"recall10": 0.99, "mrr": None}},
    )
    assert "## Long documents" in text
    assert "| figure | Flat | SQ8 |" in text
    assert "| names | 4,000,000 | - |" in text and "| recall10 | 1.0000 | 0.9900 |" in text
