"""Training of encoders on mentions of several corpora, and its command."""

import json

import numpy
import pytest
import spacy
from spacy.tokens import DocBin
from transformers import AutoTokenizer
from typer.testing import CliRunner

from spacy_bioie.annotation import Mention, set_mentions
from spacy_bioie.cli import app
from spacy_bioie.models.windows import TransformerModel_v1
from spacy_bioie.training import mention_corpora
from spacy_bioie.training.encoder_steps import StepSettings
from spacy_bioie.training.mention_corpora import adapt_mentions
from spacy_bioie.training.tagged_pieces import NO_TAG, pack_tagged, read_tagged
from tests.span_pipeline import NESTED, TRAIN, make_examples
from tests.tiny_encoders import CLASSES

QUICK = StepSettings(learn_rate=5e-3, checkpoint_every=0)
SMALL = {"window": 32, "batch_size": 2}
TAGS = ["O", "B", "I"]


@pytest.fixture(scope="module", params=list(CLASSES))
def encoder(request, tmp_path_factory):
    return CLASSES[request.param](tmp_path_factory.mktemp("mentions") / request.param)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return CLASSES["bert"](tmp_path_factory.mktemp("mentions") / "tiny_bert")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Two corpora of the same texts; one calls some mentions otherwise, and others none."""
    folder = tmp_path_factory.mktemp("corpora")
    nlp = spacy.blank("en")
    one, other = ([eg.reference for eg in make_examples(nlp)] for _ in range(2))
    for doc in other:
        mentions = [m for m in doc.spans["sc"] if m.label_ == "DDF"]
        set_mentions(doc, "sc", [Mention(m.start, m.end, "Disease") for m in mentions])
    paths = [folder / "one.spacy", folder / "other.spacy"]
    for path, docs in zip(paths, (one, other), strict=True):
        DocBin(docs=docs * 4, store_user_data=True).to_disk(path)
    return paths


def save(folder, data):
    path = folder / "corpus.spacy"
    docs = [eg.reference for eg in make_examples(spacy.blank("en"), data)]
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    return path


def marked(found, tokenizer, offsets_of):
    """(label, text) of the tagged stretches of all documents."""
    stretches = []
    for (_, tags), text in zip(found.documents, offsets_of, strict=True):
        offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        for tag, (start, end) in zip(tags, offsets["offset_mapping"], strict=True):
            if tag and TAGS[(tag - 1) % 2 + 1] == "B":
                stretches.append([found.labels[(tag - 1) // 2], start, end, text])
            elif tag:
                assert stretches[-1][0] == found.labels[(tag - 1) // 2]
                stretches[-1][2] = end
    return [(label, text[start:end].strip()) for label, start, end, text in stretches]


def test_tags_say_where_mentions_stand(encoder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    texts = [text for text, _ in TRAIN if text]
    gold = [(label, text[i:j]) for text, spans in TRAIN for i, j, label in spans]
    found = read_tagged(save(tmp_path, TRAIN), tokenizer, "sc")
    assert found.labels == sorted({label for label, _ in gold})
    assert marked(found, tokenizer, texts) == gold and found.n_mentions == len(gold)
    # of nested ones the outer
    nested = read_tagged(save(tmp_path, NESTED), tokenizer, "sc")
    assert marked(nested, tokenizer, texts) == gold and nested.n_mentions == len(gold)


def test_neighbours_are_apart(bert, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(bert)
    path = save(tmp_path, [("gut gut mice", [(0, 3, "a"), (4, 7, "a"), (8, 12, "b")])])
    found = read_tagged(path, tokenizer, "sc")
    assert marked(found, tokenizer, ["gut gut mice"]) == [("a", "gut"), ("a", "gut"), ("b", "mice")]


def test_rows_hold_the_tags_of_their_pieces(encoder, corpora):
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    found = read_tagged(corpora[0], tokenizer, "sc")
    tagged = pack_tagged(found.documents, tokenizer, 20)
    pairs = numpy.concatenate(found.documents, axis=1)
    assert tagged.rows.ids[tagged.rows.text].tolist() == pairs[0].tolist()
    assert tagged.tags[tagged.rows.text].tolist() == pairs[1].tolist()
    assert (tagged.tags[~tagged.rows.text] == NO_TAG).all()
    last = tagged.take([len(tagged.tags) - 1])
    assert last.tags.shape == last.rows.ids.shape and last.rows.attention.all()


@pytest.mark.parametrize("kind", ["electra", "xlm_roberta"])
def test_heads_learn_and_the_encoder_loads(kind, corpora, tmp_path, nlp):
    encoder = CLASSES[kind](tmp_path / kind)
    out = tmp_path / "adapted"
    report = adapt_mentions(corpora, out, encoder, epochs=40, held_out=0.2, settings=QUICK, **SMALL)
    assert [c["labels"] for c in report["corpora"]] == [
        ["DDF", "anatomical location", "animal", "bacteria"],
        ["Disease"],
    ]
    figures = [c["piece_f1"] for c in report["corpora"]]
    assert all(0.0 < figure <= 1.0 for figure in figures) and sum(figures) > 1.0, figures
    assert report["losses"][-1] < 0.1 * report["losses"][0]
    before, model = TransformerModel_v1(encoder), TransformerModel_v1(str(out))
    before.initialize()
    model.initialize()
    old, new = before.transformer.state_dict(), model.transformer.state_dict()
    assert old.keys() == new.keys()
    assert any((old[name] != new[name]).any() for name in old if "attention" in name.lower())
    assert model.predict([nlp.make_doc("gut")]).model_output.last_hidden_state.shape[-1] == 32


def test_a_stopped_training_goes_on(bert, corpora, tmp_path, monkeypatch):
    settings = {**SMALL, "epochs": 2, "held_out": 0.2}
    whole = adapt_mentions(corpora, tmp_path / "whole", bert, **settings, settings=QUICK)
    steps = StepSettings(learn_rate=5e-3, checkpoint_every=2)
    batches, calls = mention_corpora._batches, []

    def stopping(*args):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return batches(*args)

    monkeypatch.setattr(mention_corpora, "_batches", stopping)
    with pytest.raises(KeyboardInterrupt):
        adapt_mentions(corpora, tmp_path / "parts", bert, **settings, settings=steps)
    monkeypatch.undo()
    assert (tmp_path / "parts.checkpoint").is_file() and not (tmp_path / "parts").exists()
    resumed = StepSettings(learn_rate=5e-3, checkpoint_every=2, resume=True)
    again = adapt_mentions(corpora, tmp_path / "parts", bert, **settings, settings=resumed)
    whole.pop("seconds"), again.pop("seconds")
    assert again == whole


def test_what_is_wrong(bert, corpora, tmp_path):
    bare = tmp_path / "bare.spacy"
    DocBin(docs=[spacy.blank("en")("Gut bacteria.")]).to_disk(bare)
    for paths, settings, message in (
        (corpora, {"window": 0}, "window is 0"),
        ([], {}, r"corpora \[\]"),
        (corpora, {"epochs": 0}, "epochs is 0, max_steps 0"),
        (corpora, {"held_out": 1.0}, "held_out 1.0"),
        (corpora, {"spans_key": "other"}, r"one.spacy' holds no mention in doc.spans\['other'\]"),
        ([bare], {}, "bare.spacy' holds no mention"),
    ):
        with pytest.raises(ValueError, match=message):
            adapt_mentions(paths, tmp_path / "out", bert, **settings)
    with pytest.raises(ValueError, match="'nowhere/at/all' cannot be loaded"):
        adapt_mentions(corpora, tmp_path / "out", "nowhere/at/all")
    assert not (tmp_path / "out").exists()


def run(*args):
    return CliRunner().invoke(app, ["adapt-mentions", *map(str, args)])


def test_command(bert, corpora, tmp_path):
    done = run(
        *(*corpora, tmp_path / "out", "--encoder", bert, "--window", "32", "--batch-size", "2"),
        *("--max-steps", "3", "--held-out", "0.2", "--json", tmp_path / "report.json"),
    )
    assert done.exit_code == 0, done.output
    assert "Adapting to mentions" in done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert report["steps"] == 3 and (tmp_path / "out" / "config.json").is_file()


def test_command_names_what_is_wrong(bert, corpora, tmp_path):
    bad = tmp_path / "bad.spacy"
    bad.write_text("no DocBin")
    done = run(bad, tmp_path / "out", "--encoder", bert, "-q")
    assert done.exit_code == 1 and "bad.spacy" in done.output
    done = run(tmp_path / "absent.spacy", tmp_path / "out", "--encoder", bert, "-q")
    assert done.exit_code == 1 and "absent.spacy" in done.output
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("x")
    done = run(*corpora, tmp_path / "out", "--encoder", bert, "-q")
    assert done.exit_code == 1 and "no encoder that could be replaced" in done.output
    assert run(*corpora, tmp_path / "out").exit_code == 2
