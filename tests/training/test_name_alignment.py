"""Self-alignment of a name encoder, and its command."""

import json
import math

import numpy
import pytest
import torch
from spacy.vocab import Vocab
from typer.testing import CliRunner

from spacy_bioie.cli import app
from spacy_bioie.kb import Concept, load_knowledge_base, write_knowledge_base
from spacy_bioie.kb.name_encoders import TransformerNameEncoder
from spacy_bioie.kb.pooling_file import read_pooling
from spacy_bioie.training.encoder_steps import StepSettings
from spacy_bioie.training.name_alignment import adapt_names, multi_similarity_loss
from spacy_bioie.training.synonym_pairs import Kinship, make_names, split_pairs
from tests.kb.builders import training_names
from tests.tiny_encoder import make_tiny_bert
from tests.tiny_encoders import make_tiny_t5

# no name has a word of a synonym of its own
CONCEPTS = [
    Concept("A", "depression", ("low mood", "melancholia")),
    Concept("B", "gut bacteria", ("intestinal flora", "microbiota")),
    Concept("C", "serotonin", ("amino acid 5", "5-HT", "low mood")),
    Concept("D", "mice", ("Mus musculus", "MICE")),
    Concept("E", "lonely"),
    Concept("F"),
]
QUICK = StepSettings(learn_rate=3e-3, checkpoint_every=0)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("names") / "bert")


# The loss


def slow_loss(vectors, positives, negatives, alpha, beta, base, margin):
    """The same in the words of the papers, pair by pair."""
    total = 0.0
    for anchor in vectors:
        kin = [v for v, other in zip(vectors, positives[id(anchor)], strict=True) if other]
        strangers = [v for v, other in zip(vectors, negatives[id(anchor)], strict=True) if other]

        def far(v, anchor=anchor):
            return float((v - anchor).norm())

        hard = {
            (i, j)
            for i, p in enumerate(kin)
            for j, n in enumerate(strangers)
            if far(n) - far(p) <= margin
        }
        pulled = [kin[i] for i in {i for i, _ in hard}]
        pushed = [strangers[j] for j in {j for _, j in hard}]
        pull = sum(math.exp(-alpha * (float(anchor @ v) - base)) for v in pulled)
        push = sum(math.exp(beta * (float(anchor @ v) - base)) for v in pushed)
        total += math.log(1 + pull) / alpha + math.log(1 + push) / beta
    return total / len(vectors)


@pytest.mark.parametrize("margin", [0.0, 0.2, 0.7, 3.0])
def test_loss_is_that_of_the_papers(margin):
    torch.manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(9, 3), dim=1)
    concepts = numpy.array([0, 0, 0, 1, 1, 2, 2, 3, 3])
    positives = (concepts[:, None] == concepts) & ~numpy.eye(9, dtype=bool)
    negatives = concepts[:, None] != concepts
    negatives[0, 3] = negatives[3, 0] = False
    rows = list(vectors)
    expected = slow_loss(
        rows,
        {id(row): positives[i] for i, row in enumerate(rows)},
        {id(row): negatives[i] for i, row in enumerate(rows)},
        *(2.0, 10.0, 0.5, margin),
    )
    loss = multi_similarity_loss(
        vectors, positives, negatives, alpha=2.0, beta=10.0, base=0.5, margin=margin
    )
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_pairs_that_are_easy_have_no_gradient():
    vectors = torch.eye(4)[[0, 0, 1, 1]].clone().requires_grad_()
    same = torch.tensor([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]).bool()
    apart = ~same & ~torch.eye(4).bool()
    loss = multi_similarity_loss(vectors, same, apart, margin=0.2)
    loss.backward()
    assert loss.item() == 0.0 and not vectors.grad.any()
    assert multi_similarity_loss(vectors, same, apart, margin=2.0).item() > 0.1


# Names and pairs


def test_names_that_concepts_share_are_never_apart():
    names = make_names(concept.names for concept in CONCEPTS)
    assert names.texts.count("low mood") == 1 and "MICE" not in names.texts
    assert [len(own) for own in names.concepts] == [3, 3, 4, 2, 1]
    row = names.texts.index
    rows = numpy.array([row("depression"), row("low mood"), row("serotonin"), row("mice")])
    positives, negatives = Kinship(names).masks(rows, numpy.array([0, 0, 2, 3]))
    assert positives.tolist() == [[i != j and {i, j} == {0, 1} for j in range(4)] for i in range(4)]
    # "low mood" was drawn for A, but is a name of C too
    assert not negatives[1, 2] and not negatives[2, 1] and negatives[0, 2] and negatives[1, 3]
    with pytest.raises(ValueError, match="No concept has two different names"):
        make_names(concept.names for concept in [Concept("X", "x", ("X",)), Concept("Y", "y")])


def test_pairs_are_bounded_and_repeatable():
    names = make_names(
        [
            Concept(f"C{i}", f"name {i}", tuple(f"name {i} {j}" for j in range(9))).names
            for i in range(10)
        ]
    )
    every = split_pairs(names, 50, 0.0, 0)
    assert len(every.pairs) == 10 * 45 and every.held_out == []
    split = split_pairs(names, 7, 0.3, 0)
    assert len(split.held_out) == 3 and len(split.pairs) == 7 * 7
    assert not set(split.pairs[:, 0]) & set(split.held_out)
    assert len({tuple(pair) for pair in split.pairs.tolist()}) == len(split.pairs)
    for concept, first, second in split.pairs:
        assert first != second and {first, second} <= set(names.concepts[concept].tolist())
    assert (split_pairs(names, 7, 0.3, 0).pairs == split.pairs).all()
    assert split_pairs(names, 7, 0.3, 1).held_out != split.held_out


# Training


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_synonyms_come_together(bert, tmp_path, pooling):
    report = adapt_names(
        CONCEPTS,
        tmp_path / "adapted",
        bert,
        pooling=pooling,
        epochs=0,
        max_steps=60,
        held_out=0,
        batch_size=8,
        settings=QUICK,
    )
    assert report["losses"][-1] < 0.3 * report["losses"][0]
    assert (report["concepts"], report["names"], report["pairs"]) == (5, 12, 13)
    assert report["steps"] == 60 and report["nearest_is_synonym_before"] is None
    names = ["gut bacteria", "intestinal flora", "mice", "mus musculus", "amino acid 5", "5-HT"]
    before, after = (
        TransformerNameEncoder(str(folder), pooling=pooling).encode(names)
        for folder in (bert, tmp_path / "adapted")
    )
    for i, vectors in enumerate((before, after)):
        nearest = (vectors @ vectors.T - 2 * numpy.eye(len(names))).argmax(axis=1)
        assert (nearest.tolist() == [1, 0, 3, 2, 5, 4]) is bool(i)


def test_held_out_names_are_measured(bert, tmp_path):
    concepts = [
        Concept(f"C{i}", f"{word}s {other}", (f"{other} of {word}",))
        for i, (word, other) in enumerate(
            (a, b)
            for a in ("gut", "brain", "sleep", "diet", "mice")
            for b in ("cell", "acid", "stress", "anxiety")
        )
    ]
    report = adapt_names(
        concepts, tmp_path / "out", bert, held_out=0.5, epochs=15, batch_size=8, settings=QUICK
    )
    assert report["held_out_concepts"] == 10 and report["steps"] == 30
    assert report["nearest_is_synonym_after"] > report["nearest_is_synonym_before"]
    assert report["nearest_is_synonym_after"] >= 0.6


def test_mentions_are_names_too(bert, tmp_path):
    mentions = training_names(
        ("black dog", "thing", "A"), ("black dog", "thing", "A"), ("new thing", "thing", "X"),
        ("newest thing", "thing", "X"), ("nameless", "thing", "F"),
    )  # fmt: skip
    figures = [
        adapt_names(CONCEPTS, tmp_path / "out", bert, mentions=given, epochs=1, settings=QUICK)
        for given in (mentions, ())
    ]
    assert [figure["concepts"] for figure in figures] == [7, 5]
    assert figures[0]["names"] == figures[1]["names"] + 4
    assert figures[0]["pairs"] == figures[1]["pairs"] + 3 + 1


def test_synonyms_of_a_knowledge_base(bert, tmp_path):
    write_knowledge_base(tmp_path / "kb", [CONCEPTS])
    settings = {"epochs": 1, "held_out": 0, "settings": QUICK}
    alone, again = (
        adapt_names(sources, tmp_path / "out", bert, **settings)
        for sources in (CONCEPTS, [tmp_path / "kb"])
    )
    assert alone["losses"] == again["losses"] and alone["pairs"] == again["pairs"] == 13
    more = [str(tmp_path / "kb"), Concept("E", "solitary")]
    assert adapt_names(more, tmp_path / "out", bert, **settings)["pairs"] == 14
    (tmp_path / "kb" / "names.faiss").unlink()
    with pytest.raises(ValueError, match="names.faiss' is missing"):
        adapt_names([tmp_path / "kb"], tmp_path / "out", bert, **settings)


def test_pooling_is_kept_beside_the_encoder(bert, tmp_path):
    for pooling in ("mean", "cls"):  # the second replaces what the first one has left
        adapt_names(CONCEPTS, tmp_path / "out", bert, pooling=pooling, max_steps=1, settings=QUICK)
        encoder = TransformerNameEncoder(str(tmp_path / "out"))
        assert encoder.pooling == encoder.settings()["pooling"] == pooling
    with pytest.raises(
        ValueError, match="pooling is 'mean', but '.*1_Pooling/config.json' says 'c"
    ):
        TransformerNameEncoder(str(tmp_path / "out"), pooling="mean")
    # an encoder that was trained for one pooling may be trained for another
    adapt_names(
        CONCEPTS,
        tmp_path / "out",
        str(tmp_path / "out"),
        pooling="mean",
        max_steps=1,
        settings=QUICK,
    )
    assert read_pooling(tmp_path / "out") == "mean"


def test_encoder_half_of_t5(tmp_path):
    encoder = make_tiny_t5(tmp_path / "t5")
    report = adapt_names(
        CONCEPTS, tmp_path / "out", encoder, pooling="mean", epochs=20, held_out=0, settings=QUICK
    )
    assert report["losses"][-1] < report["losses"][0]
    saved = json.loads((tmp_path / "out" / "config.json").read_text())
    assert saved["architectures"] == ["T5EncoderModel"]
    assert TransformerNameEncoder(str(tmp_path / "out")).encode(["mice"]).shape == (1, 32)


def test_wrong_settings(bert, tmp_path):
    for settings, message in (
        ({"pooling": "max"}, "pooling is 'max'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"epochs": 0}, "epochs is 0, max_steps 0"),
        ({"held_out": 1.0}, "held_out 1.0"),
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"layers": 3}, "layers is 3: expected 1 to 2"),
    ):
        with pytest.raises(ValueError, match=message):
            adapt_names(CONCEPTS, tmp_path / "out", bert, **settings)
    with pytest.raises(ValueError, match="'nowhere/at/all' cannot be loaded"):
        adapt_names(CONCEPTS, tmp_path / "out", "nowhere/at/all")
    assert list(tmp_path.iterdir()) == []


# The command


def run(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def test_command_gives_an_encoder_for_build_kb(bert, tmp_path):
    source = tmp_path / "concepts.jsonl"
    source.write_text("".join(json.dumps(c.to_record()) + "\n" for c in CONCEPTS))
    result = run(
        *("adapt-names", source, tmp_path / "adapted", "--encoder", bert, "--epochs", "3"),
        *("--held-out", "0.3", "--seed", "4", "--pooling", "cls", "--layers", "1"),
        *("--json", tmp_path / "report.json"),
    )
    assert result.exit_code == 0, result.output
    assert "Aligning names" in result.stderr and "Reading concepts.jsonl" in result.stderr
    report = json.loads(result.stdout)
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert report["steps"] == 3 and report["held_out_concepts"] == 1
    assert not (tmp_path / "adapted.checkpoint").exists()
    assert json.loads((tmp_path / "adapted" / "config.json").read_text())["num_hidden_layers"] == 1
    build = ("build-kb", tmp_path / "kb", source, "--encoder", tmp_path / "adapted", "-q")
    result = run(*build, "--pooling", "mean")
    assert result.exit_code == 1 and "pooling is 'mean', but" in result.output
    result = run(*build)
    assert result.exit_code == 0, result.output
    kb = load_knowledge_base(tmp_path / "kb")(Vocab())
    assert kb.vectorizer.encoder.pooling == "cls" and kb.search(["mice"])[0][0][0] == "D"
    result = run(
        *(
            "adapt-names",
            tmp_path / "kb",
            tmp_path / "again",
            "--encoder",
            bert,
            "--max-steps",
            "1",
        ),
        *("--held-out", "0", "--quiet"),
    )
    assert result.exit_code == 0 and json.loads(result.stdout)["pairs"] == 13, result.output


def test_command_names_what_is_wrong(bert, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"concept_id": "A"}\n{"concept_id": 1}\n')
    result = run("adapt-names", bad, tmp_path / "out", "--encoder", bert)
    assert result.exit_code == 1 and "line 2" in result.output
    result = run("adapt-names", tmp_path / "absent", tmp_path / "out", "--encoder", bert)
    assert result.exit_code == 1 and "absent" in result.output
    assert not (tmp_path / "out").exists()
    assert run("adapt-names", bad, tmp_path / "out").exit_code == 2
