"""Every config trains, is evaluated and is loaded again: on a CPU, over a tiny random encoder."""

import math
from pathlib import Path

import numpy
import pytest
import spacy
import srsly
from spacy.cli._util import app
from spacy.cli.evaluate import evaluate
from spacy.cli.init_config import fill_config
from spacy.cli.package import package
from spacy.tokens import DocBin
from spacy.util import load_config, load_model_from_config
from typer.testing import CliRunner

from spacy_bioie.models.candidate_reranker import is_fitted
from spacy_bioie.pipeline import linker_reranking
from tests.sample_training import (
    CONFIGS,
    REPOSITORY,
    SampleInputs,
    draw_predictions,
    keep_spans_only,
    train_sample,
    write_inputs,
)

TEXT = "Butyrate and anxiety.\nButyrate made by gut bacteria lowered anxiety in 12 mice."
# What cannot run on a CPU, or takes long there.
ON_CPU = {
    "bert_base_gpu": {"components.transformer.model.mixed_precision": False},
    # one epoch over so few links leaves a head that has hardly learned
    "linking_cross_encoder": {"components.faiss_entity_linker.reranker.epochs": 4},
}
STEPS = 3
# Their reranker is fitted to the few links of the sample, too.
FEW_LINKS = {"linking_cross_encoder"}
# Linkers that go by names alone: context_weight is 0
WITHOUT_LOSS = {
    (config, "faiss_entity_linker")
    for config in ("bert_base_gpu", "linking_cross_encoder", "minilm_cpu")
}

WITHOUT_LEARNING = {"biomedical_sentencizer", "abbreviations", "label_consistency"}

pytestmark = [
    # nested mentions of the sample, which one chain of tags cannot find
    pytest.mark.filterwarnings("ignore:.*cannot be learned:UserWarning"),
]

every_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)


def configs_with(component):
    """Parametrize over the configs whose pipeline has a component."""
    found = [p for p in CONFIGS if component in load_config(p)["nlp"]["pipeline"]]
    return pytest.mark.parametrize("config", found, ids=lambda path: path.stem)


over_a_transformer = configs_with("transformer")
finding_mentions = configs_with("nested_spancat")
spans_alone = pytest.mark.parametrize(
    "config", [p for p in CONFIGS if p.stem.startswith("spans_")], ids=lambda path: path.stem
)
relations_alone = pytest.mark.parametrize(
    "config", [p for p in CONFIGS if p.stem.startswith("relations_")], ids=lambda path: path.stem
)
links_alone = pytest.mark.parametrize(
    "config", [p for p in CONFIGS if p.stem.startswith("linking_")], ids=lambda path: path.stem
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> SampleInputs:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def trained(inputs, tmp_path_factory):
    """Train a config once, and return the folder of its last pipeline."""
    folders: dict[str, Path] = {}

    def train_once(config: Path) -> Path:
        if config.stem not in folders:
            folder = tmp_path_factory.mktemp(config.stem)
            options = inputs.overrides(config, STEPS) | ON_CPU.get(config.stem, {})
            with pytest.MonkeyPatch.context() as patch:
                if config.stem in FEW_LINKS:
                    patch.setattr(linker_reranking, "MIN_MENTIONS", 8)
                folders[config.stem] = train_sample(config, folder, options)
        return folders[config.stem]

    return train_once


def differences(part, whole, path=()):
    """The settings of one config that another lacks, or has with another value."""
    if not isinstance(part, dict):
        return [] if part == whole else [(path, part, whole)]
    return [
        found
        for key, value in part.items()
        for found in differences(value, whole.get(key), (*path, key))
    ]


def annotations(doc):
    spans = [(s.start, s.end, s.label_, s.kb_id_, s.id_) for s in doc.spans["sc"]]
    relations = [(r.head.id_, r.label, r.tail.id_) for r in doc._.relations]
    return spans, relations


def test_there_are_configs():
    assert {path.stem for path in CONFIGS} == {
        "bert_base_gpu",
        "coding",
        "linking_contextual",
        "linking_cross_encoder",
        "minilm_cpu",
        "relations_atlop",
        "relations_cross_encoder",
        "relations_marker",
        "spans_gliner",
        "spans_only",
        "spans_pointer",
        "tok2vec_cpu",
    }


@every_config
def test_config_is_complete(config, tmp_path):
    """Filling adds defaults, and takes nothing away or over."""
    fill_config(tmp_path / "filled.cfg", config, silent=True)
    written = load_config(config)
    filled = load_config(tmp_path / "filled.cfg")
    assert differences(written, filled) == []
    nlp = load_model_from_config(filled, auto_fill=False)
    assert nlp.pipe_names == written["nlp"]["pipeline"]
    schema = written["paths"].get("schema")
    assert schema is None or (REPOSITORY / schema).is_file()


@every_config
def test_config_has_a_comment_that_says_what_it_is(config):
    assert config.read_text(encoding="utf8").startswith("# ")


@every_config
def test_config_trains(config, inputs, trained):
    folder = trained(config)
    performance = srsly.read_json(folder / "meta.json")["performance"]
    nlp = spacy.load(folder)
    learning = [name for name, pipe in nlp.pipeline if getattr(pipe, "is_trainable", False)]
    assert set(learning) == set(nlp.pipe_names) - WITHOUT_LEARNING
    for name in learning:
        loss = performance[f"{name}_loss"]
        assert math.isfinite(loss), name
        assert (loss > 0) != ((config.stem, name) in WITHOUT_LOSS), name
    # the settings of the config reached the training
    training = load_config(folder / "config.cfg")["training"]
    assert training["max_steps"] == STEPS
    assert set(load_config(config)["training"]["score_weights"]) <= set(performance)


@over_a_transformer
def test_training_changes_the_encoder(config, inputs, trained):
    from transformers import AutoModel

    nlp = spacy.load(trained(config))
    before = AutoModel.from_pretrained(inputs.encoder).state_dict()
    after = nlp.get_pipe("transformer").model.transformer.state_dict()
    query = "encoder.layer.0.attention.self.query.weight"
    assert before[query].shape == after[query].shape
    assert not numpy.array_equal(before[query].numpy(), after[query].numpy())


@finding_mentions
def test_trained_pipeline_is_evaluated(config, inputs, trained, tmp_path):
    scores = evaluate(str(trained(config)), inputs.dev, tmp_path / "scores.json")
    written = srsly.read_json(tmp_path / "scores.json")
    assert written["spans_sc_f"] == pytest.approx(scores["spans_sc_f"])
    expected = {"ner_strict_micro_f", "ner_2025_micro_f", "ner_2026_micro_f"}
    if not config.stem.startswith("spans_"):
        expected |= {"nel_gold_acc1", "nel_gold_acc5", "nerd_strict_micro_f"}
        expected |= {f"rel_{i}_{t}_micro_f" for i in ("gold", "pred") for t in ("bt", "tt", "tm")}
    expected |= set(load_config(config)["training"]["score_weights"])
    missing = {name for name in expected if not isinstance(written.get(name), float)}
    assert missing == set()
    # the dictionary of training mentions knows some of the names, whatever has been learned
    if not config.stem.startswith("spans_"):
        assert 0.1 < written["nel_gold_acc1"] <= written["nel_gold_acc5"] < 1


@finding_mentions
def test_trained_pipeline_is_loaded_again(config, trained, tmp_path):
    nlp = draw_predictions(spacy.load(trained(config)))
    assert nlp.tokenizer.explain("<i>x")[0][1] == "<i>"
    doc = nlp(TEXT)
    assert [section.name for section in doc._.sections] == ["title", "abstract"]
    assert len(list(doc.sents)) == 2
    spans, relations = annotations(doc)
    assert len(spans) > 2 and bool(relations) != config.stem.startswith("spans_")
    nlp.to_disk(tmp_path / "pipeline")
    for again in (spacy.load(tmp_path / "pipeline"), nlp.from_bytes(nlp.to_bytes())):
        assert annotations(again(TEXT)) == (spans, relations)
        (piped,) = again.pipe([TEXT])
        assert annotations(piped) == (spans, relations)


@finding_mentions
def test_trained_pipeline_is_packaged(config, trained, tmp_path):
    """What a package needs otherwise: ``test_packaging``."""
    nlp = draw_predictions(spacy.load(trained(config)))
    nlp.to_disk(tmp_path / "pipeline")
    options = {"name": "bioie_test", "version": "1.0.0", "create_sdist": False}
    package(tmp_path / "pipeline", tmp_path, **options, require_parent=True)
    folder = tmp_path / "en_bioie_test-1.0.0"
    requirements = srsly.read_json(folder / "meta.json")["requirements"]
    assert any(name.startswith("spacy-bioie") for name in requirements)
    again = spacy.load(folder / "en_bioie_test" / "en_bioie_test-1.0.0")
    assert annotations(again(TEXT)) == annotations(nlp(TEXT))


@relations_alone
def test_relations_alone_are_scored_and_loaded_again(config, inputs, trained, tmp_path):
    """Over gold mentions: the pipeline finds none by itself."""
    with pytest.warns(UserWarning, match="no doc.spans"):
        scores = evaluate(str(trained(config)), inputs.dev)
    assert {f"rel_gold_{kind}_micro_f" for kind in ("bt", "tt", "tm")} <= set(scores)
    assert not [name for name in scores if name.startswith(("ner_", "nel_"))]
    nlp = spacy.load(trained(config))
    nlp.get_pipe("relation_extractor").cfg["threshold"] = 0.0
    nlp.to_disk(tmp_path / "pipeline")
    found = []
    for pipeline in (nlp, spacy.load(tmp_path / "pipeline")):
        doc = next(DocBin().from_disk(inputs.dev).get_docs(pipeline.vocab))
        assert len(doc.spans["sc"]) > 2
        doc.user_data.clear()
        for _, pipe in pipeline.pipeline:
            doc = pipe(doc)
        found.append([(r.head.id_, r.label, r.tail.id_, r.score) for r in doc._.relations])
    assert len(found[0]) > 2 and found[0] == found[1]


@links_alone
def test_links_alone_are_scored_and_loaded_again(config, inputs, trained, tmp_path):
    """Over gold mentions: the pipeline finds none by itself."""
    scores = evaluate(str(trained(config)), inputs.dev)
    assert 0.1 < scores["nel_gold_acc1"] <= scores["nel_gold_acc5"] < 1
    assert not [name for name in scores if name.startswith(("ner_", "rel_"))]
    nlp = spacy.load(trained(config))
    if config.stem in FEW_LINKS:
        assert is_fitted(nlp.get_pipe("faiss_entity_linker").reranker)
    nlp.to_disk(tmp_path / "pipeline")
    found = []
    for pipeline in (nlp, spacy.load(tmp_path / "pipeline")):
        doc = next(DocBin().from_disk(inputs.dev).get_docs(pipeline.vocab))
        for _, pipe in pipeline.pipeline:
            doc = pipe(doc)
        found.append([span._.kb_ents for span in doc.spans["sc"]])
    assert len(found[0]) > 2 and all(found[0]) and found[0] == found[1]


@spans_alone
def test_spans_alone_train_on_a_corpus_of_spans(config, inputs, tmp_path):
    corpora = {
        name: keep_spans_only(getattr(inputs, name), tmp_path / f"{name}.spacy")
        for name in ("train", "dev")
    }
    assert not any(doc.user_data for doc in DocBin().from_disk(corpora["train"]).get_docs(_vocab()))
    options = inputs._replace(**corpora).overrides(config, STEPS)
    folder = train_sample(config, tmp_path / "trained", options)
    scores = evaluate(str(folder), corpora["dev"])
    assert isinstance(scores["spans_sc_f"], float)
    assert not [name for name in scores if name.startswith(("rel_", "nel_", "nerd_"))]


@over_a_transformer
def test_variables_are_kept(config, inputs, trained):
    """[vars] is no section of spaCy's own; without it a pipeline could not be loaded again."""
    folder = trained(config)
    raw = load_config(folder / "config.cfg")
    assert raw["vars"]["encoder"] == inputs.encoder
    assert raw["components"]["transformer"]["model"]["name"] == "${vars.encoder}"
    nlp = spacy.load(folder)
    settings = nlp.config.interpolate()["components"]["transformer"]["model"]
    assert settings["name"] == inputs.encoder


@every_config
def test_optimizer_is_made_outside_of_spacy_train(config, inputs):
    """nlp.initialize, resume_training and `spacy assemble` do not look up variables in it."""
    options = inputs.overrides(config)
    paths = {name: value for name, value in options.items() if not name.startswith("training.")}
    nlp = load_model_from_config(load_config(config, overrides=paths), auto_fill=True)
    assert nlp.create_optimizer().scales


def test_trained_components_are_assembled_into_another_pipeline(trained, tmp_path):
    (config,) = (path for path in CONFIGS if path.stem == "minilm_cpu")
    folder = tmp_path / "trained"
    nlp = draw_predictions(spacy.load(trained(config)))
    nlp.to_disk(folder)
    assembly = load_config(config)
    assembly["components"] = {name: {"source": str(folder)} for name in assembly["nlp"]["pipeline"]}
    assembly["initialize"] = {"vectors": None}
    del assembly["training"]
    assembly.to_disk(tmp_path / "assembly.cfg")
    arguments = ["assemble", str(tmp_path / "assembly.cfg"), str(tmp_path / "assembled")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output or result.exception
    assembled = spacy.load(tmp_path / "assembled")
    assert annotations(nlp(TEXT))[0] and annotations(assembled(TEXT)) == annotations(nlp(TEXT))


def _vocab():
    return spacy.blank("en").vocab
