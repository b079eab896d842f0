"""``relations.py`` over a tiny encoder and a few documents of the sample corpus."""

import json

import numpy
import pytest

from spacy_bioie.formats import convert
from tests.sample_training import SAMPLE
from tests.tiny_encoder import make_tiny_bert

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
PUBTATOR = """{0}|t|Butyrate lowers anxiety.
{0}|a|Butyrate and serotonin, but not alcohol, lowered anxiety.
{0}\t0\t8\tButyrate\tChemical\tD1
{0}\t16\t23\tanxiety\tDisease\tD2
{0}\t25\t33\tButyrate\tChemical\tD1
{0}\t38\t47\tserotonin\tChemical\tD3
{0}\t57\t64\talcohol\tChemical\tD4
{0}\t74\t81\tanxiety\tDisease\tD2
{0}\tCID\tD1\tD2

"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of data as the real one, of sample documents, and an encoder."""
    folder = tmp_path_factory.mktemp("data")
    sources = {}
    for split in ("train", "dev"):
        convert(SAMPLE / "articles", folder / f"{split}.json", split=split)
        sources[split] = json.loads((folder / f"{split}.json").read_text(encoding="utf8"))
    train = {k: v for k, v in sources["train"].items() if v["relations"]}
    dev = dict(list({k: v for k, v in sources["dev"].items() if v["relations"]}.items())[:2])
    names = list(train)
    tiers = {"platinum": names[:2], "gold": names[2:4], "silver": names[4:6]}
    annotations = folder / "gutbrainie" / "Annotations"
    for tier, chosen in tiers.items():
        place = annotations / "Train" / f"{tier}_quality" / "json_format"
        write(place / f"train_{tier}.json", {name: train[name] for name in chosen})
    write(annotations / "Dev" / "json_format" / "dev.json", dev)
    found = {pmid: {"entities": article["entities"][:-1]} for pmid, article in dev.items()}
    write(folder / "peers" / "gut-instincts_ner_dev.json", found)
    stored = {pmid: {"relations": article["relations"]} for pmid, article in dev.items()}
    for file in ("gut-instincts_tm", "gut-instincts_tt"):
        write(folder / "peers" / f"{file}_dev.json", stored)
    for task in ("T621", "T622", "T623"):
        write(folder / "peers" / f"organisers_{task}_BaselineRun_ATLOP.json", stored)
    (folder / "held_out.txt").write_text(f"{names[0]}\n{names[2]}\n", encoding="utf8")
    for split, n in (("train", 10), ("dev", 2)):
        (folder / "bc5cdr").mkdir(exist_ok=True)
        text = "".join(PUBTATOR.format(100 * n + i) for i in range(n))
        (folder / "bc5cdr" / f"CDR_{split}.PubTator.txt").write_text(text, encoding="utf8")
    make_tiny_bert(folder / "encoder", max_positions=512)
    return folder


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf8")


@pytest.fixture
def run(data, tmp_path, monkeypatch):
    """Run the script, with results in a folder of their own. RETURNS: a result."""
    import relations
    import relations_data

    monkeypatch.setenv("BIOIE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(relations_data, "SPLIT", data / "held_out.txt")
    for module in (relations, __import__("results")):
        monkeypatch.setattr(module, "FOLDER", tmp_path / "results")

    def command(*options):
        inputs = ["--data", str(data), "--work", str(data / "work")]
        inputs += ["--encoder", str(data / "encoder"), "--steps", "2"]
        monkeypatch.setattr("sys.argv", ["relations.py", *inputs, *map(str, options)])
        relations.main()

    def one(system, *options, corpus="gutbrainie"):
        command("--systems", system, "--corpus", corpus, *options)
        name = f"relations_{corpus}_{system}"
        found = (tmp_path / "results").glob(f"{name}*.json")
        (path,) = (path for path in found if path.stem.partition("_seed")[0] == name)
        return json.loads(path.read_text(encoding="utf8"))

    one.command = command
    return one


def test_stored_predictions_of_the_gold_relations(run):
    for system in ("gut_instincts_tm", "gut_instincts_tt", "organisers"):
        metrics = run(system)["metrics"]
        assert metrics["stored_bt_micro_f"] == metrics["stored_tt_micro_f"] == 1.0
        assert metrics.get("stored_tm_micro_f", 1.0) == 1.0


def check(run, key):
    """Run a system and compare its figures with the counts of documents beside them."""
    import relations
    from relations_report import read_counts

    system = relations.SYSTEMS[key]
    result = run(key)
    assert result["config"]["role"] == system.role and result["seeds"] in ([], [11])
    metrics, counts = result["metrics"], result["details"]["counts"]
    for name, levels in counts.items():
        assert set(levels) >= {"bt", "tt"}
        for level, line in levels.items():
            hits, false, missed = read_counts(line).sum(axis=0).tolist()
            assert hits + missed > 0 and len(read_counts(line)) == 2
            expected = 2 * hits / (2 * hits + false + missed)
            assert metrics[f"{name}_{level}_micro_f"] == pytest.approx(expected, abs=1e-4)
    if system.role == "fixed":
        return
    assert set(counts) == {"gold", "gut_instincts"}
    assert metrics["train_steps"] == (2 if system.epochs else 0)
    assert metrics["predict_pairs"] > 0 and metrics["predict_docs_per_second"] > 0
    assert metrics[f"gold_{system.reading}_tm_micro_f"] == metrics["gold_tm_micro_f"]
    rows = result["details"]["tables"]["gold"]["distance"].values()
    assert sum(row["gold"] for row in rows) > 0


def test_systems_and_the_tables(run, data, tmp_path, monkeypatch):
    import readme
    import relations

    for key in ("gut_instincts_tm", "prior", "pairs_frozen", "frozen_every_pair"):
        check(run, key)
    check(run, "lyx_cross_encoder")
    # a trained pipeline gives a system and an input
    (pipeline,) = (data / "work" / "models").glob("relations_gutbrainie_pairs_frozen_seed11_*")
    joint = run(relations.JOINT, "--pipeline", pipeline, "--inputs", "gold,own")
    assert set(joint["details"]["counts"]) == {"gold", "own"} and joint["seeds"] == [11]
    monkeypatch.setattr(readme, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(readme, "PATH", tmp_path / "README.md")
    monkeypatch.setattr(readme, "scripts", list)
    readme.main()
    text = (tmp_path / "README.md").read_text(encoding="utf8")
    for part in ("## Relations over one encoder", "same sentence", "mentions that a trained"):
        assert part in text
    assert "| `pairs_frozen` | `lyx_cross_encoder` | +" in text
    assert "| `pairs_frozen` | `gut_instincts_tm` | -" in text
    assert "| Gut-Instincts, five models for TM (`gut_instincts_tm`) | - | 1.0000 |" in text
    assert "Documents by CPU time in those of the cross-encoder: `pairs_" in text
    assert "Trainings cut short: " in text
    assert "`pairs_frozen`: one thing changed" in text and "no schema (`frozen_every_pair`)" in text


@pytest.mark.slow
def test_all_other_systems(run):
    import relations

    for key in relations.SYSTEMS:
        system = relations.SYSTEMS[key]
        if key != relations.JOINT and not system.members and not system.mentions:
            check(run, key)


def test_encoder_that_has_learned_mentions(run, data, monkeypatch):
    import mention_encoder

    path = "bc5cdr/CDR_train.PubTator.txt"
    monkeypatch.setattr(mention_encoder, "CORPORA", {"bc5cdr": ("pubtator", path)})
    settings = {"epochs": 0, "max-steps": 2, "window": 32, "held-out": 0.1}
    monkeypatch.setattr(mention_encoder, "SETTINGS", settings)
    check(run, "frozen_mentions")
    (folder,) = (data / "work" / "models").glob("relations_gutbrainie_frozen_mentions_*")
    config = (folder / "config.cfg").read_text(encoding="utf8")
    (encoder,) = (data / "work" / "mentions").glob("*/encoder")
    assert json.dumps(str(encoder)) in config


def test_ensembles_average_what_was_trained(run, data):
    import spacy

    found = run("frozen_ensemble", "--seeds", "11,17", "--inputs", "gold")
    names = [f"relations_gutbrainie_pairs_frozen_seed{seed}" for seed in (11, 17)]
    assert found["seeds"] == [11, 17] and found["config"]["members"] == names
    models = data / "work" / "models"
    costs = [
        json.loads((folder / "cost.json").read_text(encoding="utf8"))
        for name in names
        for folder in models.glob(f"{name}_*")
    ]
    spent = found["metrics"]["train_cpu_seconds"]
    assert spent == pytest.approx(sum(cost["train_cpu_seconds"] for cost in costs), abs=0.01)
    (pipeline,) = models.glob(f"{names[0]}_*")
    joint = run("joint_ensemble", "--seeds", "17", "--pipeline", pipeline, "--inputs", "gold")
    assert joint["config"]["members"] == ["relations_gutbrainie_pairs_joint", names[1]]
    for name in ("frozen_ensemble_seed11_17", "joint_ensemble_seed17"):
        nlp = spacy.load(models / f"relations_gutbrainie_{name}")
        assert len(nlp.get_pipe("relation_extractor").model.layers) == 2
    # both are of the same models
    for level in ("bt", "tt", "tm"):
        key = f"gold_{level}_micro_f"
        assert joint["metrics"][key] == pytest.approx(found["metrics"][key])
    for options in (("joint_ensemble",), ("frozen_ensemble", "--seeds", "11")):
        with pytest.raises(SystemExit):
            run.command("--systems", *options)
    nlp = spacy.load(pipeline)
    nlp.meta["refitted"] = {"updates": 2}
    nlp.to_disk(data / "refitted")
    with pytest.raises(ValueError, match="refitted' has seen the documents that its threshold"):
        run("pairs_joint", "--pipeline", data / "refitted", "--again")


def test_a_frozen_encoder_stays_and_is_asked_once(run, data, monkeypatch):
    import relations_training
    import spacy

    asked = []

    def watched(nlp):
        encoder = nlp.get_pipe("transformer")
        compute = encoder.pipe
        encoder.pipe = lambda docs, **options: compute(
            [asked.append(doc.text) or doc for doc in docs], **options
        )
        store(nlp)

    def save(*arguments):
        saved.append(save_encoder(*arguments))
        return saved[-1]

    saved, save_encoder = [], relations_training._save_encoder
    monkeypatch.setattr(relations_training, "_save_encoder", save)
    store = relations_training.store_encoder_output
    monkeypatch.setattr(relations_training, "store_encoder_output", watched)
    run("pairs_frozen", "--seeds", 5, "--steps", 4)
    assert len(asked) == len(set(asked)) == 5  # four training documents, one to check
    (folder,) = (data / "work" / "models").glob("relations_gutbrainie_pairs_frozen_seed5_*")
    (source,) = saved
    outputs = []
    for path in (folder, source):
        nlp = spacy.load(path)
        doc = nlp.get_pipe("transformer")(nlp.make_doc("Butyrate and anxiety."))
        outputs.append(doc._.trf_data.model_output.last_hidden_state)
    numpy.testing.assert_array_equal(*outputs)


def test_results_and_models_that_exist_are_left_alone(run, data, tmp_path):
    run("pairs_frozen", "--seeds", 3)
    path = tmp_path / "results" / "relations_gutbrainie_pairs_frozen_seed3.json"
    (folder,) = (data / "work" / "models").glob("relations_gutbrainie_pairs_frozen_seed3_*")
    trained = (folder / "cost.json").stat().st_mtime_ns
    path.write_text("{}")
    run.command("--systems", "pairs_frozen", "--seeds", 3)
    assert path.read_text() == "{}"
    run("pairs_frozen", "--seeds", 3, "--again")
    assert json.loads(path.read_text())["metrics"]
    assert (folder / "cost.json").stat().st_mtime_ns == trained
    # another length of the training is another model
    run("pairs_frozen", "--seeds", 3, "--again", "--steps", 1)
    assert len(list(folder.parent.glob("relations_gutbrainie_pairs_frozen_seed3_*"))) == 2


def test_relations_of_concepts(run):
    result = run("pairs_frozen", corpus="bc5cdr")
    metrics, documents = result["metrics"], result["config"]["documents"]
    assert documents == {"train": 9, "held_out": 1, "dev": 2, "check": 1}
    assert 0 <= metrics["gold_c_micro_f"] <= 1 and "gold_tm_micro_f" not in metrics
    # in each of two documents, only chemicals may be heads: three of them, and one disease
    assert metrics["predict_pairs"] == 2 * 4 * 2
    prior = run("prior", corpus="bc5cdr")["metrics"]
    assert (prior["gold_c_micro_r"], prior["gold_c_micro_p"]) == (1.0, 0.3333)


def test_several_runs_have_processes_of_their_own(run, monkeypatch):
    import relations

    commands = []

    def fail_second(command):
        commands.append(command)
        return type("Done", (), {"returncode": len(commands) == 2})

    monkeypatch.setattr(relations.subprocess, "run", fail_second)
    with pytest.raises(SystemExit, match="1 of 3 runs failed: relations_gutbrainie_pairs_seed7"):
        run.command("--systems", "prior,pairs", "--seeds", "7,8")
    assert ["--systems", "pairs"] == commands[1][commands[1].index("--systems") :][:2]
    assert ["--seeds", "8"] == commands[2][commands[2].index("--seeds") :][:2]
    assert "--again" in commands[0] and "--steps" in commands[0]
    assert "--documents" not in commands[0] and "--pipeline" not in commands[0]


def test_wrong_usage(run, monkeypatch, capsys):
    for options, message in (
        (["--systems", "pairs,nothing"], "Unknown systems ['nothing']"),
        (["--systems", "pairs_joint"], "'pairs_joint' needs --pipeline"),
        (["--systems", "atlop", "--corpus", "bc5cdr"], "Unknown systems ['atlop'] for bc5cdr"),
        (["--inputs", "own"], "expected gold among them"),
    ):
        with pytest.raises(SystemExit):
            run.command(*options)
        assert message in capsys.readouterr().err
    monkeypatch.delenv("BIOIE_RESULTS")
    with pytest.raises(SystemExit):
        run.command("--systems", "prior", "--documents", 2)
    assert "set BIOIE_RESULTS" in capsys.readouterr().err
