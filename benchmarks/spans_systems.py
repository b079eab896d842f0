"""The systems of ``spans.py``: settings that replace those of ``configs/spans_only.cfg``.

All have its tokenizer, encoder, batches, dropout of 0.1 in training and number of updates. The
rates of published recipes were chosen for larger encoders: they are multiplied so that the
encoder's is that of our config.
"""

from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

from spacy.util import load_config
from spans_data import VOCABULARIES

BASE = Path(__file__).resolve().parents[1] / "configs" / "spans_only.cfg"
BASE_STEPS = 376
WARMUP = 60 / BASE_STEPS  # of our config, kept where steps are cut
LEARN_RATE = 0.0003
ENCODER = load_config(BASE)["vars"]["encoder"]
WIDTH = 8  # of the widest span, where pointer and spancat are compared
MAX_EVALUATIONS = 5  # and one after the first update

Settings = Dict[str, Any]
LISTENER = {"@architectures": "spacy_bioie.TransformerListener.v1", "grad_factor": 1.0}
# spaCy's own layers name their parameters so; they learn as fast as our heads
STOCK_RATES = {"^(W|b|G|pad)$": 3.0}
MODEL = "components.nested_spancat.model"
SCALES = "training.optimizer.scales"
RATE = "training.optimizer.learn_rate"


@dataclass(frozen=True)
class System:
    """A row of the table.

    kind: "peer", "ours", "ablation" (of ``tagger``) or "ensemble", with "peer ensemble".
    settings: dotted path -> value, or a function of the number of updates that returns these.
    silver: whether it learns from silver documents.
    names: whether it reads the vocabularies of ``spans_data.prepare_names``, ``paths.names``.
    mentions: whether its encoder is that of ``mention_encoder.prepare_encoder``.
    vectors: whether it begins with those of ``word_vectors.prepare_vectors``.
    members, method: of an ensemble, the systems it is made of and how. One system stands for its
        runs of all seeds; several for one run each, of the first seed.
    base: the system whose trained model this is, with what is ``added``.
    added: components that follow the one that finds mentions, initialized with the documents of
        the training.
    """

    title: str
    kind: str
    settings: Union[Settings, Callable[[int], Settings]] = field(default_factory=dict)
    silver: bool = True
    names: bool = False
    mentions: bool = False
    vectors: bool = False
    members: Tuple[str, ...] = ()
    method: str = ""
    base: str = ""
    added: Tuple[str, ...] = ()

    def differs(self, steps: int) -> Settings:
        """What it replaces in the base config."""
        return self.settings(steps) if callable(self.settings) else self.settings


def stock(name: str, component: Settings, score: str) -> Settings:
    """A component of spaCy in the place of ``nested_spancat``.

    Without the sentencizer, over whose borders ``ner`` could not learn the few mentions that cross
    one: its oracle then fails.
    """
    return {
        "nlp.pipeline": ["transformer", name],
        "training.annotating_components": [],
        "components.biomedical_sentencizer": None,
        "components.nested_spancat": None,
        f"components.{name}": {"factory": name, **component},
        SCALES: STOCK_RATES,
        "training.score_weights": {"spans_sc_f": None, score: 1.0},
    }


def stock_ner() -> Settings:
    parser = {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "ner",
        "extra_state_tokens": False,
        "hidden_width": 64,
        "maxout_pieces": 2,
        "use_upper": False,
        "tok2vec": LISTENER,
    }
    return stock("ner", {"model": parser}, "ents_f")


def stock_spancat() -> Settings:
    model = {
        "@architectures": "spacy.SpanCategorizer.v1",
        "scorer": {"@layers": "spacy.LinearLogistic.v1"},
        "reducer": {"@layers": "spacy.mean_max_reducer.v1", "hidden_size": 128},
        "tok2vec": LISTENER,
    }
    sizes = list(range(1, WIDTH + 1))
    suggester = {"@misc": "spacy.ngram_suggester.v1", "sizes": sizes}
    component = {"spans_key": "sc", "threshold": 0.5, "model": model, "suggester": suggester}
    return stock("spancat", component, "spans_sc_f")


def gut_instincts(steps: int) -> Settings:
    """A quarter, half and three quarters of the rate for a tenth of the steps each, the whole to
    two fifths, then 0.8 of the last one for each fifteenth (in 30 epochs: each second one)."""
    rates = []
    for step in range(steps):
        epoch = 30 * step / steps
        factor = (min(int(epoch / 3), 3) + 1) / 4
        rates.append(LEARN_RATE * factor * 0.8 ** max(0, 1 + int((epoch - 12) // 2)))
    return {
        f"{MODEL}.hidden_size": 384,
        f"{MODEL}.dropout": 0.3,
        "components.nested_spancat.tier_weights": {"platinum": 1.25, "gold": 1.25, "silver": 1.0},
        SCALES: {},
        RATE: rates,
    }


def mix(mode: str, per: str = "token") -> Settings:
    """AdaBioBERT's loss; its alpha learns at 0.01, as there."""
    loss = {"@misc": "spacy_bioie.AdaptiveMix.v1", "mode": mode, "per": per}
    scales = {"crf": 30.0, "head": 3.0, "alpha": 0.01 / LEARN_RATE}
    return {f"{MODEL}.loss": loss, **({} if mode == "fixed" else {SCALES: scales})}


def pointer(**settings: Any) -> Settings:
    model = load_config(BASE.with_name("spans_pointer.cfg"))["components"]["nested_spancat"][
        "model"
    ]
    return {MODEL: {**model, **settings}}


def with_names(words: Settings = LISTENER) -> Settings:
    """Vectors of words joined with marks of where names of vocabularies stand, which hold no
    mention of any corpus."""
    names = [name for of_file in VOCABULARIES.values() for name in of_file]
    sources = {name: f"${{paths.names}}/{name}.jsonl" for name in names}
    table = {"@misc": "spacy_bioie.NameTable.v1", "sources": sources}
    architecture = {"@architectures": "spacy_bioie.WithNameTable.v1", "width": 64}
    return {f"{MODEL}.tok2vec": {**architecture, "tok2vec": words, "table": table}}


def with_word_forms(vectors: bool = False) -> Settings:
    """Vectors of words joined with ones learned of their first letter, last three and shape: the
    encoder reads lower case alone.

    vectors: whether these are mixed with static ones.
    """
    attributes = ["PREFIX", "SUFFIX", "SHAPE"]
    embed = {"@architectures": "spacy.MultiHashEmbed.v2", "width": 64, "attrs": attributes}
    embed.update(rows=[500, 2000, 1000], include_static_vectors=vectors)
    encode = {"@architectures": "spacy.MaxoutWindowEncoder.v2", "width": 64, "depth": 1}
    encode.update(window_size=1, maxout_pieces=3)
    forms = {"@architectures": "spacy.Tok2Vec.v2", "embed": embed, "encode": encode}
    side_by_side = {"@layers": "concatenate.v1", "*": {"encoder": LISTENER, "forms": forms}}
    scales = {"crf": 30.0, "head": 3.0, **STOCK_RATES, "^E$": 30.0}
    return {f"{MODEL}.tok2vec": side_by_side, SCALES: scales}


def gliner() -> Settings:
    """GLiNER made anew over the encoder; in the place of the one label that is no word, words."""
    config = load_config(BASE.with_name("spans_gliner.cfg"))
    model = config["components"]["nested_spancat"]["model"]
    return {
        "nlp.pipeline": config["nlp"]["pipeline"],
        "components.transformer": None,
        MODEL: {**model, "prompts": {"DDF": "disease, disorder or finding"}},
        SCALES: config["training"]["optimizer"]["scales"],
    }


CONSISTENT = ("abbreviations", "label_consistency")


def consistent(base: str, title: str) -> System:
    """A system that is trained already, and its labels made consistent in each document."""
    title = f"{title}, one label for a name in a document"
    return System(title, "ours", base=base, added=CONSISTENT)


PER_SEQUENCE = {"@misc": "spacy_bioie.CrfLikelihood.v1", "per": "sequence"}
SYSTEMS: Dict[str, System] = {
    "stock_ner": System("spaCy `ner`", "peer", stock_ner()),
    "stock_spancat": System(f"spaCy `spancat`, n-grams to {WIDTH}", "peer", stock_spancat()),
    "lyx": System(
        "LYX: softmax per label, hidden layer, weights N/(C N_i), one rate",
        "peer",
        {
            f"{MODEL}.chains": "per_label",
            f"{MODEL}.decoder": "argmax",
            f"{MODEL}.hidden_size": 384,
            "components.nested_spancat.label_weights": "balanced",
            SCALES: {},
            "training.optimizer.L2": 0.1,
        },
    ),
    "gutuzh": System(
        "GutUZH: joint CRF per sequence, rates 1:10:100, no warm-up",
        "peer",
        {
            f"{MODEL}.loss": PER_SEQUENCE,
            SCALES: {"crf": 100.0, "head": 10.0},
            f"{RATE}.warmup_steps": 0,
        },
    ),
    "gut_instincts": System(
        "Gut-Instincts: dense CRF, dropout .3, tiers 1.25/1.25/1, one stepped rate",
        "peer",
        gut_instincts,
    ),
    "gliner": System("GLiNER over this encoder, to 12 words", "peer", gliner()),
    "tagger": System("SpanTagger, joint CRF, as `configs/spans_only.cfg`", "ours"),
    "tagger_bioes": System("SpanTagger, BIOES", "ours", {f"{MODEL}.scheme": "BIOES"}),
    "tagger_softmax": System("SpanTagger, argmax", "ours", {f"{MODEL}.decoder": "argmax"}),
    "tagger_labels": System(
        "SpanTagger, a CRF for each label", "ours", {f"{MODEL}.chains": "per_label"}
    ),
    "tagger_hidden": System("SpanTagger, hidden layer", "ours", {f"{MODEL}.hidden_size": 384}),
    "tagger_bilstm": System("SpanTagger, BiLSTM", "ours", {f"{MODEL}.lstm_size": 192}),
    "tagger_names": System(
        "SpanTagger beside a table of names (MeSH, MEDIC and open vocabularies)",
        "ours",
        with_names(),
        names=True,
    ),
    "tagger_word_forms": System(
        "SpanTagger beside prefixes, suffixes and shapes of words (spaCy's hash embeddings)",
        "ours",
        with_word_forms(),
    ),
    "tagger_forms_names": System(
        "SpanTagger beside both, word forms and the table of names",
        "ours",
        {**with_word_forms(), **with_names(with_word_forms()[f"{MODEL}.tok2vec"])},
        names=True,
    ),
    "tagger_forms_sequence": System(
        "SpanTagger beside word forms, likelihood per sequence",
        "ours",
        {**with_word_forms(), f"{MODEL}.loss": PER_SEQUENCE},
    ),
    "tagger_vectors": System(
        "SpanTagger beside static vectors (floret, of raw abstracts)",
        "ours",
        {
            f"{MODEL}.tok2vec": {
                "@architectures": "spacy_bioie.WithStaticVectors.v1",
                "width": 64,
                "tok2vec": LISTENER,
            }
        },
        vectors=True,
    ),
    "tagger_forms_vectors": System(
        "SpanTagger beside word forms mixed with static vectors",
        "ours",
        with_word_forms(vectors=True),
        vectors=True,
    ),
    "tagger_mentions": System(
        "SpanTagger, encoder trained on mentions of seven other corpora before",
        "ours",
        mentions=True,
    ),
    "tagger_consistent": consistent("tagger", "SpanTagger"),
    "tagger_names_consistent": consistent("tagger_names", "SpanTagger beside a table of names"),
    "tagger_word_forms_consistent": consistent("tagger_word_forms", "SpanTagger beside word forms"),
    "tagger_forms_sequence_consistent": consistent(
        "tagger_forms_sequence", "SpanTagger beside word forms, likelihood per sequence"
    ),
    "tagger_forms_vectors_consistent": consistent(
        "tagger_forms_vectors", "SpanTagger beside word forms and static vectors"
    ),
    "tagger_forms_names_consistent": consistent("tagger_forms_names", "SpanTagger beside both"),
    "tagger_adaptive": System(
        "SpanTagger, AdaBioBERT's alpha, CRF per token", "ours", mix("learned")
    ),
    "tagger_adaptive_sequence": System(
        "SpanTagger, AdaBioBERT's alpha, CRF per sequence", "ours", mix("learned", "sequence")
    ),
    "tagger_mix_fixed": System("SpanTagger, alpha fixed at .5", "ours", mix("fixed")),
    "tagger_mix_bounded": System("SpanTagger, alpha within .1 and .9", "ours", mix("bounded")),
    "tagger_mix_uncertainty": System("SpanTagger, uncertainty weights", "ours", mix("uncertainty")),
    "tagger_mix_gradnorm": System("SpanTagger, alpha by GradNorm", "ours", mix("gradnorm")),
    "pointer": System("SpanPointer, to 16 words", "ours", pointer()),
    "pointer_8": System(f"SpanPointer, to {WIDTH} words", "ours", pointer(max_width=WIDTH)),
    "pointer_zlpr": System("SpanPointer, to 16 words, ZLPR", "ours", pointer(loss="zlpr")),
    "tagger_no_warmup": System("SpanTagger, no warm-up", "ablation", {f"{RATE}.warmup_steps": 0}),
    "tagger_one_rate": System("SpanTagger, one rate for all", "ablation", {SCALES: {}}),
    "tagger_per_sequence": System(
        "SpanTagger, likelihood per sequence", "ablation", {f"{MODEL}.loss": PER_SEQUENCE}
    ),
    "tagger_tier_weights": System(
        "SpanTagger, tier weights 1.25/1.25/1 (none in the config)",
        "ablation",
        {"components.nested_spancat.tier_weights": {"platinum": 1.25, "gold": 1.25}},
    ),
    "tagger_light_silver": System(
        "SpanTagger, silver weighs .3",
        "ablation",
        {"components.nested_spancat.tier_weights": {"silver": 0.3}},
    ),
    "tagger_label_weights": System(
        "SpanTagger, label weights N/(C N_i)",
        "ablation",
        {"components.nested_spancat.label_weights": "balanced"},
    ),
    "tagger_no_silver": System("SpanTagger, no silver, as many updates", "ablation", silver=False),
    "lyx_tokens": System(
        "LYX, token probabilities", "peer ensemble", members=("lyx",), method="tokens"
    ),
    "gutuzh_3": System(
        "GutUZH, emissions averaged", "peer ensemble", members=("gutuzh",), method="emissions"
    ),
    "gut_instincts_vote": System(
        "Gut-Instincts, entity vote", "peer ensemble", members=("gut_instincts",), method="spans"
    ),
    "tagger_3": System(
        "SpanTagger, emissions averaged", "ensemble", members=("tagger",), method="emissions"
    ),
    "tagger_3_tokens": System(
        "SpanTagger, token probabilities", "ensemble", members=("tagger",), method="tokens"
    ),
    "tagger_3_weights": System(
        "SpanTagger, weights averaged", "ensemble", members=("tagger",), method="weights"
    ),
    "word_forms_3": System(
        "SpanTagger beside word forms, emissions averaged",
        "ensemble",
        members=("tagger_word_forms",),
        method="emissions",
    ),
    "word_forms_3_consistent": System(
        "SpanTagger beside word forms, emissions averaged, one label for a name in a document",
        "ensemble",
        members=("tagger_word_forms",),
        method="emissions",
        added=CONSISTENT,
    ),
    "mixed_vote": System(
        "Vote of five heads",
        "ensemble",
        members=("tagger", "tagger_bioes", "tagger_labels", "tagger_hidden", "pointer"),
        method="spans",
    ),
}


def make_config(
    system: System,
    steps: int,
    seed: int,
    train: Path,
    held_out: Path,
    encoder: str,
    names: Optional[Path] = None,
    vectors: Optional[Path] = None,
) -> Any:
    """The config that is trained: the base with the system's settings and this many updates.

    names: the folder of vocabularies, of a system that reads them.
    vectors: the folder of static vectors, of a system that begins with them.
    """
    config = load_config(BASE)
    assert config["training"]["optimizer"]["learn_rate"]["total_steps"] == BASE_STEPS
    common = {
        "paths": {"train": str(train), "dev": str(held_out)},
        "system.seed": seed,
        "training.max_epochs": 0,
        # spaCy counts updates from 0, and evaluates at multiples of the frequency
        "training.max_steps": steps - 1,
        "training.eval_frequency": next(
            n
            for n in range(1, steps)
            if (steps - 1) % n == 0 and (steps - 1) // n <= MAX_EVALUATIONS
        ),
        "vars.encoder": encoder,
        f"{RATE}.total_steps": steps,
        f"{RATE}.warmup_steps": round(WARMUP * steps),
        **({} if names is None else {"paths.names": str(names)}),
        **({} if vectors is None else {"initialize.vectors": str(vectors)}),
    }
    for path, value in {**common, **system.differs(steps)}.items():
        *sections, key = path.split(".")
        section = config
        for name in sections:
            section = section[name]
        if value is None:
            del section[key]
        else:
            section[key] = value
    return config


def describe_settings(settings: Settings) -> Settings:
    """Settings for a result: a list of rates as runs of equal ones."""
    rates = settings.get(RATE)
    if not isinstance(rates, list):
        return settings
    runs: List[str] = [f"{rate:.3g} x {len(list(same))}" for rate, same in groupby(rates)]
    return {**settings, RATE: ", ".join(runs)}
