"""The component code_linker: it learns, reloads, calibrates, and shares an encoder."""

import json
import pickle
import shutil
from functools import partial

import numpy
import pytest
import spacy
from spacy.cli.train import train as spacy_train
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.util import fix_random_seed, load_config

from spacy_bioie.annotation import META_KEY, Mention, code_evidence, get_mentions, set_mentions
from spacy_bioie.formats import write_jsonl
from spacy_bioie.kb import Concept
from spacy_bioie.kb.code_set import CodeSet
from spacy_bioie.prediction import predict
from spacy_bioie.scoring.coding_files import evaluate_coding_files
from spacy_bioie.tokenization import EnglishTokenizer_v1
from spacy_bioie.training.terminology_corpus import TerminologyCorpus_v1
from tests import linking_pipeline
from tests.linking_pipeline import TOK2VEC, candidates, links, pipe
from tests.sample_training import CONFIGS
from tests.tiny_encoder import make_tiny_bert

NAME = "code_linker"
LISTENER = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32, "upstream": "*"}
# The text says which of two codes of one name is meant
LETTERS = [
    ("The heart attack was treated with aspirin .", [("heart attack", "I21")]),
    ("Pain of the joints by gout , and heart attack .", [("gout", "M10"), ("heart attack", "I21")]),
    ("The kidney failure needs dialysis .", [("failure", "N17")]),
    ("The cardiac failure needs digoxin .", [("failure", "I50")]),
    ("Nothing of note .", []),
    ("", []),
]
CODES = CodeSet(
    [
        Concept("I21", "myocardial infarction", ("MI",)),
        Concept("M10", "podagra"),
        Concept("N17", "renal insufficiency"),
        Concept("I50", "cardiac insufficiency"),
        Concept("Z99", "never seen"),
    ]
)

make_doc = partial(linking_pipeline.make_doc, label="disease")


def make_examples(nlp, letters=LETTERS, links=True):
    return [Example(nlp.make_doc(text), make_doc(nlp, text, m, links)) for text, m in letters]


def unlinked(nlp, letters=LETTERS):
    """Documents as a component before the linker leaves them."""
    return [make_doc(nlp, text, mentions, links=False) for text, mentions in letters]


def make_nlp(tok2vec=TOK2VEC, *, model=None, **settings):
    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.tokenizer = EnglishTokenizer_v1()(nlp)
    architecture = model or {
        "@architectures": "spacy_bioie.CodeClassifier.v1",
        "hidden_width": 32,
        "dropout": 0.0,
        "tok2vec": tok2vec,
    }
    nlp.add_pipe(NAME, config={"model": architecture, **settings})
    return nlp


def train(nlp, examples=None, steps=40, rate=0.01):
    examples = make_examples(nlp) if examples is None else examples
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = rate
    losses = {}
    for _ in range(steps):
        losses = nlp.update(examples, sgd=optimizer, losses={})
    return losses[NAME]


def assert_same_candidates(docs, others):
    found, expected = candidates(docs), candidates(others)
    assert any(expected) and len(found) == len(expected)
    for rows, others in zip(found, expected, strict=True):
        for row, other in zip(rows, others, strict=True):
            assert [code for code, _ in row] == [code for code, _ in other]
            assert [p for _, p in row] == pytest.approx([p for _, p in other], abs=1e-5)


EXPECTED = [[code for _, code in mentions] for _, mentions in LETTERS]


@pytest.fixture(scope="module")
def encoder_dir(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture(scope="module")
def trained():
    nlp = make_nlp()
    train(nlp)
    return nlp


def text_model(name, **settings):
    return {
        "@architectures": "spacy_bioie.MentionTextClassifier.v1",
        "name": name,
        "hidden_size": 32,
        "dropout": 0.0,
        **settings,
    }


def test_overfits_on_context_and_reloads(trained, tmp_path):
    docs = pipe(trained, unlinked(trained))
    assert links(docs) == EXPECTED
    assert trained.get_pipe(NAME).labels == ("I21", "I50", "M10", "N17")
    trained.to_disk(tmp_path / "pipeline")
    for again in (spacy.load(tmp_path / "pipeline"), make_nlp().from_bytes(trained.to_bytes())):
        assert_same_candidates(pipe(again, unlinked(again)), docs)
        assert [doc._.codes for doc in pipe(again, unlinked(again))] == [d._.codes for d in docs]


def test_candidates_are_probabilities(trained):
    trained.get_pipe(NAME).cfg["top_k"] = 3
    try:
        docs = pipe(trained, unlinked(trained))
    finally:
        trained.get_pipe(NAME).cfg["top_k"] = 5
    for rows in candidates(docs):
        for row in rows:
            scores = [score for _, score in row]
            assert len(row) == 3 and scores == sorted(scores, reverse=True) and sum(scores) < 1
    whole = candidates(pipe(trained, unlinked(trained)))[0][0]
    assert sum(score for _, score in whole) == pytest.approx(1.0) and len(whole) == 4


def test_documents_have_codes_with_their_mentions(trained):
    doc = trained(make_doc(trained, *LETTERS[1], links=False))
    assert {row["code"]: row["mentions"] for row in doc._.codes} == {"M10": ["T1"], "I21": ["T2"]}
    evidence = code_evidence(doc)
    assert [(item.text, item.start) for item in evidence["I21"]] == [("heart attack", 33)]
    for row in doc._.codes:
        assert row["score"] == evidence[row["code"]][0].score > 0.5
    assert trained(make_doc(trained, *LETTERS[4]))._.codes == []


def test_predictions_are_written_with_their_codes_and_scored(trained, tmp_path):
    nlp = spacy.blank("en")
    nlp.tokenizer = EnglishTokenizer_v1()(nlp)
    ruler = nlp.add_pipe("span_ruler", config={"spans_key": "sc"})
    names = {words for _, mentions in LETTERS for words, _ in mentions}
    ruler.add_patterns([{"label": "disease", "pattern": name} for name in sorted(names)])
    nlp.add_pipe(NAME, source=trained)
    (tmp_path / "texts").mkdir()
    gold = []
    for number, (text, mentions) in enumerate(LETTERS[:5]):
        (tmp_path / "texts" / f"{number}.txt").write_text(text, encoding="utf8")
        gold.append(make_doc(nlp, text, mentions))
        gold[-1].user_data[META_KEY] = {"id": str(number)}
    write_jsonl(gold, tmp_path / "gold.jsonl")
    (path,) = predict(nlp, tmp_path / "texts", tmp_path / "out")
    rows = [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]
    found = {row["code"]: row["mentions"] for row in rows[1]["codes"]}
    ids = {mention["text"]: mention["id"] for mention in rows[1]["mentions"]}
    assert found == {"M10": [ids["gout"]], "I21": [ids["heart attack"]]}
    for row in rows[1]["codes"]:
        (mention,) = [m for m in rows[1]["mentions"] if m["id"] in row["mentions"]]
        assert row["score"] == mention["candidates"][0][1]
    assert rows[4]["codes"] == []
    for task in ("el", "mlc-x"):
        figures = evaluate_coding_files(tmp_path / "gold.jsonl", path, task, resamples=0)
        assert figures["averages"]["macro_f"] == pytest.approx(1)


def test_annotation_keeps_what_mentions_carry(trained):
    doc = make_doc(trained, *LETTERS[1], links=False)
    before = [(span.id_, span.label_) for span in doc.spans["sc"]]
    doc.spans["sc"].attrs["char_offsets"] = [[23, 26], [33, 45]]
    doc.spans["sc"].attrs["note"] = "mine"
    group = trained(doc).spans["sc"]
    assert [(span.id_, span.label_) for span in group] == before
    assert group.attrs["scores"].tolist() == [0.5, 0.5] and group.attrs["note"] == "mine"
    assert get_mentions(doc)[0].char_offsets == (23, 26)


def test_batch_equals_single_and_two_processes(trained):
    docs = [trained(doc) for doc in unlinked(trained)]
    assert_same_candidates(pipe(trained, unlinked(trained), batch_size=6), docs)
    two = pipe(trained, unlinked(trained), n_process=2, batch_size=2)
    assert_same_candidates(two, docs)
    assert [[row["code"] for row in doc._.codes] for doc in two] == [
        [row["code"] for row in doc._.codes] for doc in docs
    ]


def test_documents_without_mentions_or_tokens(trained):
    docs = [trained.make_doc(text) for text in ("", "   ", "no group here")]
    docs.append(make_doc(trained, *LETTERS[4]))
    docs = pipe(trained, docs)
    assert ["sc" in doc.spans for doc in docs] == [False, False, False, True]
    assert not any(doc._.codes for doc in docs)
    assert trained.get_pipe(NAME).predict([]) == []
    assert trained.get_pipe(NAME).update([]) == {NAME: 0.0}
    empty = [Example(trained.make_doc(""), trained.make_doc(""))]
    assert trained.get_pipe(NAME).update(empty) == {NAME: 0.0}


def test_odd_texts(trained):
    for text in ("<i></i>", "\x00\x07 \u200b", "😀", "gout " * 2000):
        doc = trained.make_doc(text)
        set_mentions(doc, "sc", [Mention(0, 1, "never seen"), Mention(0, len(doc), "")])
        assert len(trained(doc).spans["sc"].attrs["candidates"]) == 2


def test_docbin_and_pickle(trained):
    docs = pipe(trained, unlinked(trained))
    data = DocBin(docs=docs, store_user_data=True).to_bytes()
    again = list(DocBin().from_bytes(data).get_docs(trained.vocab))
    for copies in (again, pickle.loads(pickle.dumps(docs))):
        assert candidates(copies) == candidates(docs) and links(copies) == EXPECTED
        assert [doc._.codes for doc in copies] == [doc._.codes for doc in docs]


def test_threshold_makes_no_link(trained):
    linker = trained.get_pipe(NAME)
    linker.cfg["threshold"] = 1.0
    try:
        docs = pipe(trained, unlinked(trained))
    finally:
        linker.cfg["threshold"] = 0.0
    assert {kb_id for row in links(docs) for kb_id in row} == {""}
    assert not any(doc._.codes for doc in docs)
    assert len(docs[0].spans["sc"].attrs["candidates"][0]) > 0  # they stand for a look


def test_loss_and_gradient_agree(trained):
    """The gradient is the slope of the loss; mentions without a code have none."""
    linker = trained.get_pipe(NAME)
    letters = [*LETTERS[:2], ("Gout of unknown kind .", [("Gout", "")])]
    examples = make_examples(trained, letters)
    set_mentions(examples[0].reference, "sc", [Mention(1, 3, "d", kb_id="I21|I50")])
    random = numpy.random.default_rng(0)
    scores = [random.normal(size=(n, 4)).astype("float32") for n in (1, 2, 1)]
    _, gradient = linker.get_loss(examples, scores)
    assert not gradient[2].any()
    for i, row, column in ((0, 0, 1), (1, 1, 0), (1, 0, 3)):
        losses = []
        for step in (0.01, -0.01):
            moved = [array.copy() for array in scores]
            moved[i][row, column] += step
            losses.append(linker.get_loss(examples, moved)[0])
        slope = (losses[0] - losses[1]) / 0.02
        assert gradient[i][row, column] == pytest.approx(slope, abs=1e-3)


def test_labels_may_be_given():
    nlp = make_nlp()
    linker = nlp.get_pipe(NAME)
    examples = make_examples(nlp)
    with pytest.warns(UserWarning, match="1 of 5 codes .* closed set, for example 'M10'"):
        linker.initialize(lambda: examples, labels=["I50", "I21", "N17"])
    assert linker.labels == ("I50", "I21", "N17") and linker.label_data == list(linker.labels)
    assert linker.add_label("I50") == 0
    with pytest.raises(ValueError, match="E922"):
        linker.add_label("M10")
    assert linker.labels == ("I50", "I21", "N17")
    assert numpy.isfinite(nlp.update(examples)[NAME])


def test_codes_of_a_table_and_its_terms():
    """A code that no letter has is learned from its terms alone."""
    nlp = make_nlp()
    linker = nlp.get_pipe(NAME)
    read = TerminologyCorpus_v1(lambda nlp: make_examples(nlp), CODES)
    examples = list(read(nlp))
    linker.initialize(lambda: examples, codes=CODES)
    assert linker.labels == tuple(CODES.codes)
    optimizer = nlp.create_optimizer()
    optimizer.learn_rate = 0.01
    for _ in range(40):
        nlp.update(examples, sgd=optimizer)
    letters = [*LETTERS, ("never seen", [("never seen", "Z99")]), ("MI", [("MI", "I21")])]
    assert links(pipe(nlp, unlinked(nlp, letters))) == [*EXPECTED, ["Z99"], ["I21"]]


def test_calibration_is_saved_and_makes_gold_likelier(trained, tmp_path):
    nlp = make_nlp().from_bytes(trained.to_bytes())
    linker = nlp.get_pipe(NAME)
    # held out: one of three is not as the linker says
    letters = [*LETTERS[:2], (LETTERS[2][0], [("failure", "I50")])]
    found = linker.calibrate(make_examples(nlp, letters))
    assert found["temperature"] > 1.5 and found["ece_after"] < found["ece_before"]
    docs = pipe(nlp, unlinked(nlp))
    assert links(docs) == EXPECTED
    assert candidates(docs)[0][0][0][1] < candidates(pipe(trained, unlinked(trained)))[0][0][0][1]
    nlp.to_disk(tmp_path / "pipeline")
    loaded = spacy.load(tmp_path / "pipeline")
    assert_same_candidates(pipe(loaded, unlinked(loaded)), docs)
    assert linker.calibrate(make_examples(nlp, letters))["ece_before"] == found["ece_after"]
    with pytest.raises(ValueError, match="'code_linker': probabilities cannot be calibrated"):
        linker.calibrate(make_examples(nlp, LETTERS[4:]))


def test_scores_on_gold_and_predicted_input(trained):
    figures = trained.evaluate(make_examples(trained))
    # nothing in the pipeline finds mentions, but the candidates of gold mentions are scored
    assert figures["nel_gold_acc1"] == figures["nel_gold_mrr"] == 1.0
    assert figures["mlcx_gold_micro_f"] == pytest.approx(1.0)
    assert figures["el_micro_f"] == figures["mlcx_micro_f"] == 0.0
    examples = make_examples(trained)
    for eg, doc in zip(examples, unlinked(trained), strict=True):
        eg.predicted = trained(doc)
    figures = trained.get_pipe(NAME).score(examples)
    assert figures["el_micro_f"] == figures["mlcx_micro_f"] == pytest.approx(1.0)
    figures = trained.evaluate(make_examples(trained, links=False))
    assert figures["nel_gold_acc1"] is None and figures["mlcx_gold_micro_f"] is None


def test_gold_scores_heed_the_threshold(trained):
    linker = trained.get_pipe(NAME)
    linker.cfg["threshold"] = 1.0
    try:
        figures = linker.score(make_examples(trained))
    finally:
        linker.cfg["threshold"] = 0.0
    assert figures["mlcx_gold_micro_r"] == 0.0 and figures["nel_gold_acc1"] == 1.0


@pytest.mark.parametrize(
    "setting, value, message",
    [
        ("threshold", 1.5, "threshold is 1.5, expected a probability"),
        ("top_k", 0, "top_k is 0, expected 1 or more"),
        ("loss_weight", -1.0, "loss_weight is -1.0, expected 0 or more"),
    ],
)
def test_settings_out_of_range(setting, value, message):
    with pytest.raises(ValueError, match=f"Component 'code_linker': {message}"):
        make_nlp(**{setting: value})


def test_no_codes(tmp_path):
    nlp = make_nlp()
    linker = nlp.get_pipe(NAME)
    with pytest.raises(ValueError, match=r"'code_linker' has no codes.*components.code_linker.cod"):
        nlp.initialize(lambda: make_examples(nlp, links=False))
    with pytest.raises(ValueError, match="'code_linker' has no codes"):
        nlp(make_doc(nlp, *LETTERS[0]))
    for code in ("", 7):
        with pytest.raises(ValueError, match=f"the code is {code!r}, expected a string"):
            linker.add_label(code)
    nlp.to_disk(tmp_path / "pipeline")  # an unfinished pipeline is saved all the same
    assert spacy.load(tmp_path / "pipeline").get_pipe(NAME).labels == ()


def shared_nlp(**settings):
    nlp = make_nlp(LISTENER, **settings)
    nlp.add_pipe("tok2vec", config={"model": TOK2VEC}, first=True)
    return nlp


def shared_gradient(nlp, examples, **settings):
    """The gradient that one update gives the shared tok2vec, as a sum of absolute values."""
    nlp.update(examples, sgd=False, **settings)
    total = 0.0
    for node in nlp.get_pipe("tok2vec").model.walk():
        for name in node.param_names:
            if node.has_grad(name):
                total += float(numpy.abs(node.get_grad(name)).sum())
                node.set_grad(name, numpy.zeros_like(node.get_grad(name)))
    return total


def test_loss_weight_scales_the_gradient_of_the_shared_layer():
    sums = []
    for weight in (1.0, 0.5, 0.0):
        nlp = shared_nlp(loss_weight=weight)
        examples = make_examples(nlp)
        nlp.initialize(lambda examples=examples: examples)
        sums.append(shared_gradient(nlp, examples))
    assert sums[0] > 0 and sums[1] == pytest.approx(sums[0] / 2, rel=1e-3) and sums[2] == 0


def test_documents_without_codes_keep_the_gradient_of_other_components():
    """The linker is the last listener: what the tagger learned must reach the encoder."""
    nlp = shared_nlp()
    tagger = {"@architectures": "spacy.Tagger.v2", "tok2vec": LISTENER}
    nlp.add_pipe("tagger", config={"model": tagger}, before=NAME)
    examples = tagged(make_examples(nlp))
    optimizer = nlp.initialize(lambda: examples)
    nlp.update(examples, sgd=optimizer)  # the tagger's weights begin at zero
    for chosen in (make_examples(nlp, links=False), make_examples(nlp)[4:]):
        assert shared_gradient(nlp, tagged(chosen)) > 0
    # frozen, it is the last listener all the same, and the gradient of the others is lost
    shared_gradient(nlp, examples, exclude=[NAME])
    with pytest.warns(UserWarning, match="no gradient came back to the encoder"):
        shared_gradient(nlp, examples, exclude=[NAME])


def tagged(examples):
    for eg in examples:
        for token in eg.reference:
            token.tag_ = "AB"[token.i % 2]
    return examples


def test_encoder_output_that_is_missing_is_an_error():
    nlp = shared_nlp()
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    with nlp.select_pipes(disable="tok2vec"):
        with pytest.raises(ValueError, match="'code_linker' listens to 'tok2vec'"):
            pipe(nlp, unlinked(nlp))
    assert "nel_gold_acc1" not in nlp.get_pipe(NAME).score(make_examples(nlp))


def test_replaced_listener_reloads(tmp_path):
    nlp = shared_nlp()
    train(nlp)
    docs = pipe(nlp, unlinked(nlp))
    assert links(docs) == EXPECTED
    nlp.replace_listeners("tok2vec", NAME, ["model.tok2vec"])
    nlp.to_disk(tmp_path / "pipeline")
    loaded = spacy.load(tmp_path / "pipeline")
    assert_same_candidates(pipe(loaded, unlinked(loaded)), docs)


def test_over_the_texts_of_mentions(encoder_dir, tmp_path):
    """An encoder of its own reads translated texts; the pipeline needs no file afterwards."""
    encoder = shutil.copytree(encoder_dir, tmp_path / "encoder")
    (tmp_path / "terms.tsv").write_text("Herzinfarkt\theart attack\n", encoding="utf8")
    translate = {"@misc": "spacy_bioie.TermTranslator.v1", "path": str(tmp_path / "terms.tsv")}
    nlp = make_nlp(model=text_model(str(encoder), translate=translate))
    assert train(nlp, make_examples(nlp, LETTERS[:3]), steps=30, rate=0.002) < 0.1
    letters = [*LETTERS[:3], ("Ein Herzinfarkt .", [("Herzinfarkt", "I21")])]
    docs = pipe(nlp, unlinked(nlp, letters))
    assert links(docs) == [[code for _, code in mentions] for _, mentions in letters]
    assert_same_candidates([nlp(doc) for doc in unlinked(nlp, letters)], docs)
    shutil.rmtree(encoder)
    (tmp_path / "terms.tsv").unlink()
    nlp.to_disk(tmp_path / "pipeline")
    loaded = spacy.load(tmp_path / "pipeline")
    assert_same_candidates(pipe(loaded, unlinked(loaded, letters)), docs)
    assert_same_candidates(pipe(loaded, unlinked(loaded, letters), n_process=2, batch_size=2), docs)
    assert pipe(loaded, [loaded.make_doc("no mention")])[0]._.codes == []


def test_the_config_trains_on_a_corpus_of_codes(encoder_dir, tmp_path):
    """``spacy train`` of configs/coding.cfg with terms of a table of codes."""
    (config,) = (path for path in CONFIGS if path.stem == "coding")
    nlp = make_nlp()
    docs = [make_doc(nlp, text, mentions) for text, mentions in LETTERS]
    DocBin(docs=docs).to_disk(tmp_path / "corpus.spacy")
    rows = [f"{code}\t{name}\n" for name, code in CODES.terms()]
    (tmp_path / "codes.tsv").write_text("code\tdescription\n" + "".join(rows), encoding="utf8")
    paths = {name: str(tmp_path / "corpus.spacy") for name in ("train", "dev")}
    options = {f"paths.{name}": path for name, path in paths.items()} | {
        "paths.codes": str(tmp_path / "codes.tsv"),
        "vars.encoder": encoder_dir,
        "components.transformer.model.window": 64,
        "components.code_linker.model.dropout": 0.0,
        "training.dropout": 0.0,
        "training.max_epochs": 30,
        "training.eval_frequency": 15,
        "training.batcher.size": 8,
        "training.optimizer.learn_rate.warmup_steps": 1,
        "training.optimizer.learn_rate.total_steps": 100,
        "training.optimizer.learn_rate.initial_rate": 0.003,
    }
    assert load_config(config)["corpora"]["train"]["@readers"].endswith("TerminologyCorpus.v1")
    spacy_train(config, tmp_path / "output", overrides=options)
    shutil.rmtree(tmp_path / "output" / "model-last")
    trained = spacy.load(tmp_path / "output" / "model-best")
    assert trained.get_pipe(NAME).labels == tuple(CODES.codes)
    assert trained.meta["performance"]["nel_gold_acc1"] == 1.0
    found = pipe(trained, unlinked(trained))
    assert links(found) == EXPECTED
    # behind a pipeline that finds mentions, as the config says
    trained.replace_listeners("transformer", NAME, ["model.tok2vec"])
    other = spacy.blank("en")
    other.tokenizer = EnglishTokenizer_v1()(other)
    other.add_pipe(NAME, source=trained)
    assert_same_candidates(pipe(other, unlinked(other)), found)
