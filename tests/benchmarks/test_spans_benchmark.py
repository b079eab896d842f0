from pathlib import Path

import numpy
import pytest
import spacy

from .spans_corpora import options, result_of, write_iob


def test_queue_results_and_report(spans_folder, capsys):
    import readme
    import spans

    folder, calls = spans_folder
    systems = ["stock_ner", "tagger_3", "tagger", "tagger_adaptive"]
    assert spans.main(options(folder, systems)) == 0
    result = result_of(folder, "spans_gutbrainie_8steps_tagger_seed2")
    assert result["config"]["documents"] == {"train": 7, "best": 4, "held_out": 2, "test": 3}
    assert set(result["details"]["counts"]) == {"9", "10", "11"}
    assert result["metrics"]["steps_per_second"] > 0
    assert {"strict_f animal", "official-2025_macro_f"} <= set(result["metrics"])
    numbers = [
        [int(n) for n in text.split("/")]
        for row in result["details"]["counts"].values()
        for text in row.values()
    ]
    hits, _, missed = numpy.sum(numbers, axis=0)
    assert hits + missed == 3 + 6 + 3 and result["metrics"]["strict_micro_r"] == round(hits / 12, 4)
    alpha = result_of(folder, "spans_gutbrainie_8steps_tagger_adaptive_seed1")["details"]["alpha"]
    assert [step for step, _ in alpha] == list(range(8)) and alpha[0] != alpha[-1]
    ensemble = result_of(folder, "spans_gutbrainie_8steps_tagger_3_seed1_2")
    assert ensemble["config"]["members"] == [["tagger", 1], ["tagger", 2]]
    trained = [name for command, name in calls if command == "train"]
    assert len(trained) == 6 and len(calls) == 6 + 7

    calls.clear()
    assert spans.main(options(folder, systems)) == 0 and not calls
    (folder / "results" / "spans_gutbrainie_8steps_tagger_seed1.json").unlink()
    assert spans.main(options(folder, systems)) == 0
    assert calls == [("evaluate", "tagger_seed1")]  # the model is there

    readme.main()
    text = (folder / "README.md").read_text("utf8")
    assert "| spaCy `ner` (`stock_ner`) | 1, 2 |" in text
    assert "The best single of ours by held-out documents is `tagger" in text
    assert "| `tagger_adaptive`, seed 1 |" in text
    assert "`gutbrainie`, dev: 7 training documents, 8 updates" in text


def test_what_fails_is_told_and_the_rest_goes_on(spans_folder, capsys):
    import spans

    folder, _ = spans_folder
    assert spans.main(options(folder, ["gutuzh_3", "gut_instincts"], "--documents", "3")) == 1
    said = capsys.readouterr().out
    assert "left out: its members are not trained: spans_gutbrainie_3docs_8steps_gutuzh" in said
    result = result_of(folder, "spans_gutbrainie_3docs_8steps_gut_instincts_seed1")
    assert result["config"]["documents"]["train"] == 3
    assert (
        "7.5e-05 x 1, 0.00015 x 1" in result["config"]["differs"]["training.optimizer.learn_rate"]
    )
    with pytest.raises(SystemExit):
        spans.parse(options(folder, ["unheard_of"]))


def test_components_are_added_to_a_trained_system(spans_folder):
    import spans

    folder, calls = spans_folder
    arguments = [*options(folder, ["tagger_consistent", "tagger"]), "--seeds", "1"]
    assert spans.main(arguments) == 0
    evaluations = [("evaluate", "tagger_consistent_seed1"), ("evaluate", "tagger_seed1")]
    assert calls == [("train", "tagger_seed1"), *evaluations]
    plain, added = (
        result_of(folder, f"spans_gutbrainie_8steps_tagger{name}_seed1")
        for name in ("", "_consistent")
    )
    assert (plain["config"]["added"], plain["config"]["members"]) == ([], [])
    assert added["config"]["added"] == ["abbreviations", "label_consistency"]
    assert added["metrics"]["training_seconds"] == plain["metrics"]["training_seconds"]
    assert added["config"]["differs"] == plain["config"]["differs"]


def test_vocabularies_are_read_by_the_system_that_names_them(spans_folder):
    import spans
    from spans_data import VOCABULARIES
    from spans_systems import SYSTEMS, make_config

    folder, calls = spans_folder
    arguments = [*options(folder, ["tagger_names"]), "--seeds", "1"]
    assert spans.main(arguments) == 0
    sources = result_of(folder, "spans_gutbrainie_8steps_tagger_names_seed1")["data"]
    for path, names in VOCABULARIES.items():
        assert sources[path.split("/")[1]]["documents"] == len(names)
    models = folder / "work" / "models" / "gutbrainie_8steps"
    nlp = spacy.load(models / "tagger_names_seed1" / "model-best")
    (layer,) = (x for x in nlp.get_pipe("nested_spancat").model.walk() if "table" in x.attrs)
    table = layer.attrs["table"]
    assert sorted(table.kinds) == sorted(n for names in VOCABULARIES.values() for n in names)
    found = table.find(nlp.make_doc("The serotonin Pfam of mice")).any(axis=1)
    assert found.tolist() == [False, True, True, False, False]

    # neither trained nor split again; other systems do not know of the folder
    calls.clear()
    split = (folder / "work" / "names" / "GO.jsonl").stat().st_mtime_ns
    assert spans.main([*arguments, "--again"]) == 0
    assert calls == [("evaluate", "tagger_names_seed1")]
    assert (folder / "work" / "names" / "GO.jsonl").stat().st_mtime_ns == split
    config = make_config(SYSTEMS["tagger"], 8, 1, Path("a"), Path("b"), "c")
    assert config["paths"] == {"train": "a", "dev": "b"}


def test_corpus_of_iob_files(spans_folder):
    import readme
    import spans

    folder, _ = spans_folder
    write_iob(folder, 40)
    arguments = ["--corpus", "ncbi_disease", "--seeds", "1"]
    systems = ["tagger_adaptive_sequence", "stock_ner"]
    assert spans.main([*options(folder, systems), *arguments]) == 0
    result = result_of(folder, "spans_ncbi_disease_8steps_tagger_adaptive_sequence_seed1")
    assert result["config"]["documents"] == {"train": 3, "best": 3, "held_out": 1, "test": 4}
    rows = [row["Disease"].split("/") for row in result["details"]["counts"].values()]
    hits, _, missed = numpy.asarray(rows, dtype=int).sum(axis=0)
    assert hits + missed == 20
    metrics = result["metrics"]
    assert 0 <= metrics["token_macro_f"] <= 1 and metrics["token_accuracy"] * 200 == pytest.approx(
        round(metrics["token_accuracy"] * 200), abs=0.02
    )  # of the tokens of the file
    readme.main()
    text = (folder / "README.md").read_text("utf8")
    assert "| token accuracy | token macro-F1 | token micro-F1 without O |" in text
    assert "official 2025" not in text and "ten sentences in succession" in text
    assert "would end at about 0.510; one that each lowered, at 0.490." in text
    (row,) = [line for line in text.split("\n") if "adaptive_sequence`, seed 1" in line]
    assert row.endswith(" of 7 |")


def test_corpus_that_is_not_there(spans_folder):
    import spans

    folder, _ = spans_folder
    with pytest.raises(SystemExit, match="JNLPBA-IOB' has no train.tsv. Expected the corpus 'jnlp"):
        spans.main([*options(folder, ["tagger"]), "--corpus", "jnlpba"])
    assert spans.parse([*options(folder, [])[:4], "--corpus", "jnlpba"]).systems == [
        *("tagger", "tagger_adaptive_sequence", "tagger_adaptive", "tagger_mix_fixed"),
        *("tagger_mix_bounded", "tagger_mix_uncertainty", "tagger_mix_gradnorm", "stock_ner"),
    ]


@pytest.mark.slow
def test_speed_by_turns(spans_folder, monkeypatch):
    import readme
    import spans
    import spans_speed

    folder, calls = spans_folder
    monkeypatch.setattr(spans_speed, "TURNS", 2)
    monkeypatch.setattr(spans_speed, "UPDATES", 3)
    with pytest.raises(SystemExit, match="Train these"):
        spans_speed.main(options(folder, spans_speed.NAMES))
    assert spans.main([*options(folder, spans_speed.NAMES), "--seeds", "1"]) == 0
    calls.clear()
    spans_speed.main(options(folder, spans_speed.NAMES))
    assert [name for command, name in calls if command == "train"] == 2 * spans_speed.NAMES
    metrics = result_of(folder, "spans_speed_gutbrainie_8steps")["metrics"]
    ratio = metrics["stock_ner documents_per_second"] / metrics["tagger documents_per_second"]
    assert metrics["tagger/stock_ner inference_time"] == pytest.approx(ratio, rel=1e-3)
    readme.main()
    assert "| `pointer_8` / `stock_spancat` |" in (folder / "README.md").read_text("utf8")


@pytest.mark.slow
def test_every_system_trains(spans_folder):
    import spans
    from spans_systems import SYSTEMS

    folder, _ = spans_folder
    # what is learned from other corpora, or from raw text, has tests of its own
    bases = {name: SYSTEMS[system.base or name] for name, system in SYSTEMS.items()}
    names = [name for name, base in bases.items() if not (base.mentions or base.vectors)]
    assert spans.main([*options(folder, names), "--seeds", "1", "--steps", "3"]) == 0
    for name in names:
        result = result_of(folder, f"spans_gutbrainie_3steps_{name}_seed1")
        assert result["metrics"]["strict_micro_f"] >= 0 and result["config"]["name"] == name


def test_rates_of_gut_instincts():
    from spans_systems import RATE, gut_instincts

    rates = numpy.asarray(gut_instincts(60)[RATE]) / 0.0003
    numpy.testing.assert_allclose(rates[[0, 6, 12, 18, 23]], [0.25, 0.5, 0.75, 1, 1])
    numpy.testing.assert_allclose(rates[[24, 28, 59]], [0.8, 0.64, 0.8**9])
