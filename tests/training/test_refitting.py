"""A tuned pipeline that is trained once more on all documents."""

import json

import pytest
import spacy
from spacy.cli.train import train
from spacy.tokens import DocBin
from thinc.api import Config
from typer.testing import CliRunner

from spacy_bioie.annotation import set_tier
from spacy_bioie.cli import app
from spacy_bioie.training import refitting
from spacy_bioie.training.refitting import refit
from spacy_bioie.training.update_counter import UPDATES

from .. import relation_pipeline  # noqa: F401  (registers mark_words)
from ..pipelines import ARTICLES, make_pipeline, make_reference, training_config

SPANS = "nested_spancat"
RATE = {
    "@schedules": "warmup_linear.v1",
    "warmup_steps": 2,
    "total_steps": 13,
    "initial_rate": 0.003,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A pipeline that is trained and tuned, and the file of twice as many documents."""
    folder = tmp_path_factory.mktemp("refitting")
    nlp = make_pipeline("", heads=[SPANS])
    for name, times in (("train", 1), ("all", 2)):
        docs = [make_reference(nlp, article) for article in ARTICLES] * times
        DocBin(docs=docs, store_user_data=True).to_disk(folder / f"{name}.spacy")
    config = training_config(
        nlp,
        str(folder / "train.spacy"),
        max_steps=12,
        eval_frequency=12,
        score_weights={"spans_sc_f": 1.0},
        before_update={"@callbacks": "spacy_bioie.count_updates.v1"},
    )
    config["training"]["optimizer"]["learn_rate"] = RATE
    config.to_disk(folder / "spans.cfg")
    train(folder / "spans.cfg", folder / "trained")
    tuned = spacy.load(folder / "trained" / "model-last")
    tuned.get_pipe(SPANS).cfg["threshold"] = 0.125
    tuned.to_disk(folder / "tuned")
    return folder / "tuned", folder / "all.spacy"


def test_checkpoints_know_their_updates(files):
    trained = files[0].with_name("trained")
    assert spacy.load(trained / "model-last").meta[UPDATES] == 13
    assert spacy.load(trained / "model-best").meta[UPDATES] in (1, 13)


def test_all_documents_are_learned_from(files, tmp_path, monkeypatch):
    configs = []

    def watch(config, **settings):
        configs.append(config.interpolate())
        return init(config, **settings)

    init = refitting.init_nlp
    monkeypatch.setattr(refitting, "init_nlp", watch)
    tuned, corpus = files
    result = refit(tuned, corpus, tmp_path / "final", overrides={"training.dropout": 0.25})
    n = len(ARTICLES)
    assert (result["documents_before"], result["documents"]) == (n, 2 * n)
    assert (result["updates_before"], result["updates"]) == (13, 26)
    assert result["thresholds"][SPANS]["threshold"] == 0.125
    (training,) = (config["training"] for config in configs)
    assert training["optimizer"]["learn_rate"] == {**RATE, "total_steps": 26}
    assert training["dropout"] == 0.25
    assert configs[0]["corpora"]["train"]["path"] == str(corpus)
    # what was chosen, and what it reached, is of the tuned one
    final, before = spacy.load(tmp_path / "final"), spacy.load(tuned)
    assert final.get_pipe(SPANS).cfg == before.get_pipe(SPANS).cfg
    assert final.meta["performance"] == before.meta["performance"] != {}
    assert final.meta[UPDATES] == 26
    weights = [nlp.get_pipe(SPANS).model.to_bytes() for nlp in (final, before)]
    assert weights[0] != weights[1]
    assert final.meta["refitted"] == {k: v for k, v in result.items() if k != "thresholds"}
    assert [path.name for path in tmp_path.iterdir()] == ["final"]
    # it can be done again, over what is there
    again = refit(tmp_path / "final", corpus, tmp_path / "final", updates=2, documents=n)
    assert (again["updates_before"], again["updates"]) == (2, 4)


def test_one_update_is_not_endless(files, tmp_path):
    assert (
        refit(files[0], files[0].with_name("train.spacy"), tmp_path / "out", updates=1)["updates"]
        == 2
    )


def test_rate_whose_end_is_a_variable(files, tmp_path, monkeypatch):
    tuned, corpus = files
    nlp = spacy.load(tuned)
    nlp.config["vars"] = {"total": 13}
    nlp.config["training"]["optimizer"]["learn_rate"]["total_steps"] = "${vars.total}"
    nlp.to_disk(tmp_path / "tuned")
    refit(tmp_path / "tuned", corpus, tmp_path / "final", updates=1)
    config = Config().from_disk(tmp_path / "final" / "config.cfg")
    assert config["training"]["optimizer"]["learn_rate"]["total_steps"] == 26


class Stop(Exception):
    """Raised in the place of a training."""


def test_stages_are_as_long_in_epochs(files, tmp_path, monkeypatch):
    """Documents of the good tier lengthen the epochs that go over them alone the most."""
    configs = []

    def watch(config, **settings):
        configs.append(config.interpolate()["training"])
        raise Stop

    monkeypatch.setattr(refitting, "init_nlp", watch)
    nlp = spacy.load(files[0])
    for name, tiers in (("train", ["silver", "silver", "gold"]), ("all", ["silver"] * 3)):
        docs = [nlp.make_doc("Gut and brain.") for _ in range(6 if name == "all" else 3)]
        for doc, tier in zip(docs, [*tiers, "gold", "gold", "gold"], strict=False):
            set_tier(doc, tier)
        DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / f"{name}.spacy")
    settings = nlp.config["corpora"]["train"]
    settings["path"] = str(tmp_path / "train.spacy")
    stages = {"@batchers": "spacy_bioie.TierStages.v1", "epochs": 2, "tiers": ["gold"]}
    one = {"@batchers": "spacy.batch_by_sequence.v1", "size": 1}
    nlp.config["training"]["batcher"] = {**stages, "batcher": one}
    nlp.to_disk(tmp_path / "tuned")
    for before, after in ((3, 6), (5, 10), (6, 12), (7, 15), (10, 24)):
        with pytest.raises(Stop):
            refit(tmp_path / "tuned", tmp_path / "all.spacy", tmp_path / "out", updates=before)
        assert configs[-1]["max_steps"] == after - 1
        # 2 epochs of 3 updates and 7 of one; 2 of 6 and 7 of 3
        assert configs[-1]["optimizer"]["learn_rate"]["total_steps"] == 33
    # what the pipeline learned from is not there any more
    with pytest.raises(Stop):
        refit(
            *(tmp_path / "tuned", tmp_path / "all.spacy", tmp_path / "out"), updates=7, documents=3
        )
    assert configs[-1]["max_steps"] == 14 - 1
    with pytest.raises(ValueError, match="Epoch 1 has no batch: expected documents in each"):
        next(refitting._epoch_sizes(nlp.config, []))


def test_frozen_components_are_taken_over(files, tmp_path):
    corpus = files[1]
    nlp = make_pipeline("tok2vec", heads=[SPANS])
    config = training_config(nlp, str(corpus), max_steps=2, eval_frequency=2, score_weights={})
    config.to_disk(tmp_path / "spans.cfg")
    train(tmp_path / "spans.cfg", tmp_path / "trained")
    tuned = spacy.load(tmp_path / "trained" / "model-last")
    tuned.config["training"].update(
        frozen_components=["tok2vec"], annotating_components=["tok2vec"]
    )
    tuned.to_disk(tmp_path / "tuned")
    refit(tmp_path / "tuned", corpus, tmp_path / "final", updates=2)
    final = spacy.load(tmp_path / "final")
    for name, same in (("tok2vec", True), (SPANS, False)):
        weights = [pipeline.get_pipe(name).model.to_bytes() for pipeline in (final, tuned)]
        assert (weights[0] == weights[1]) == same, name


def test_what_is_wrong(files, tmp_path):
    tuned, corpus = files
    silent = spacy.load(tuned)
    del silent.meta[UPDATES]
    silent.to_disk(tmp_path / "silent")
    with pytest.raises(ValueError, match="silent': its meta does not say how many updates"):
        refit(tmp_path / "silent", corpus, tmp_path / "out")
    silent.config["training"]["max_epochs"] = -1
    silent.to_disk(tmp_path / "silent")
    with pytest.raises(ValueError, match="max_epochs is -1"):
        refit(tmp_path / "silent", corpus, tmp_path / "out", updates=2)
    DocBin().to_disk(tmp_path / "empty.spacy")
    with pytest.raises(ValueError, match="Expected documents in both training corpora"):
        refit(tuned, tmp_path / "empty.spacy", tmp_path / "out")
    for name in ("paths.train", "corpora.train.path", "training.max_steps", "training.patience"):
        with pytest.raises(ValueError, match=rf"\['{name}'\] cannot be overridden"):
            refit(tuned, corpus, tmp_path / "out", overrides={name: 7})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine", encoding="utf8")
    with pytest.raises(ValueError, match="no pipeline"):
        refit(tuned, corpus, tmp_path / "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.spacy", "mine", "silent"]


def test_missing_labels_are_known_before_the_training(files, tmp_path, monkeypatch):
    """Thresholds of labels that the new pipeline lacks cannot be copied."""
    monkeypatch.setattr(refitting, "train", None)
    tuned, _ = files
    nlp = make_pipeline("", heads=[SPANS])
    docs = [make_reference(nlp, article) for article in ARTICLES]
    for doc in docs:
        doc.spans["sc"] = [span for span in doc.spans["sc"] if span.label_ == "DDF"]
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "other.spacy")
    with pytest.raises(ValueError, match="'nested_spancat': expected the labels .* are missing"):
        refit(tuned, tmp_path / "other.spacy", tmp_path / "out", updates=2)
    assert [path.name for path in tmp_path.iterdir()] == ["other.spacy"]


def run(*arguments):
    return CliRunner().invoke(app, ["refit", *map(str, arguments)])


def test_command(files, tmp_path):
    tuned, corpus = files
    out = tmp_path / "final"
    done = run(tuned, corpus, out, "--updates", "2", "-q", "--training.dropout", "0.5")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["updates"] == 4
    assert Config().from_disk(out / "config.cfg")["training"]["dropout"] == 0.5
    shown = run(tuned, corpus, out, "--updates", "2")
    assert shown.exit_code == 0 and "Pipeline: ['" in shown.stdout
    done = run(tuned, tmp_path / "absent.spacy", tmp_path / "other", "-q")
    assert done.exit_code == 1 and "absent.spacy" in done.output
    done = run(tmp_path / "absent", corpus, tmp_path / "other", "-q")
    assert done.exit_code == 1 and "absent" in done.output
    assert run(tuned, corpus).exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["final"]
