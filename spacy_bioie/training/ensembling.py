"""Ensembles: trained pipelines joined into one that is saved, packaged and loaded like any other.

The first pipeline stays as it is but for its ``nested_spancat``; what comes after that (linker,
relations) works on the mentions of the ensemble. All others bring an encoder of their own.
"""

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from spacy.language import Language
from spacy.ty import ListenedToComponent
from spacy.util import load_model

from ..annotation import SPANS_KEY
from ..models.span_ensemble import normalised_weights
from ..pipeline.nested_spancat import NestedSpanCategorizer
from ..pipeline.span_merger import SpanMerger
from .own_encoders import give_own_encoder
from .relation_averaging import average_relations
from .saved_pipeline import check_replaceable, find_component, folder_to_replace
from .weight_averaging import average_saved_pipelines

AnyPath = Union[str, Path]
METHODS = ("emissions", "tokens", "spans", "weights")


def write_ensemble(
    pipelines: Sequence[AnyPath],
    output: AnyPath,
    *,
    method: str = "emissions",
    weights: Optional[Sequence[float]] = None,
    component: Optional[str] = None,
    spans_key: str = SPANS_KEY,
    relations: bool = False,
    **voting: Any,
) -> Language:
    """Join trained pipelines and save the result.

    pipelines: names or folders. output: folder for the ensemble, which takes the place of a
        pipeline that is there when it is complete.
    method: "emissions" or "tokens", see ``join_scores``; "spans", see ``join_spans``; or
        "weights", see ``weight_averaging``.
    weights: of the pipelines, above 0; even by default.
    component: of "emissions" and "tokens": name of the ``nested_spancat``; not needed where each
        pipeline has one.
    relations: average the relations of the pipelines, too, see ``average_relations``.
    spans_key: of "spans": the group of the mentions. voting: further settings of ``join_spans``.

    RETURNS: the ensemble. Its ``meta`` names the members, and no scores.
    Raises OSError or ValueError where something cannot be read, joined or written.
    """
    if method not in METHODS:
        raise ValueError(f"Unknown method '{method}': expected one of {', '.join(METHODS)}.")
    if not pipelines:
        raise ValueError("Expected at least one pipeline.")
    if voting and method != "spans":
        raise ValueError(f"{sorted(voting)} are for the method 'spans' alone, not '{method}'.")
    if relations and method == "weights":
        raise ValueError("The method 'weights' averages relations anyway: expected no relations.")
    check_replaceable(Path(output))
    shares = normalised_weights(weights, len(pipelines))
    if method == "weights":
        joined = average_saved_pipelines(pipelines, weights)
    else:
        members = [load_model(pipeline) for pipeline in pipelines]
        if relations:
            # of copies, as the members' encoders are needed once more for their mentions
            others = [load_model(pipeline) for pipeline in pipelines[1:]]
            members[0] = average_relations([members[0], *others], weights=weights)
        names = [str(pipeline) for pipeline in pipelines]
        if method == "spans":
            joined = join_spans(members, weights, spans_key=spans_key, names=names, **voting)
        else:
            joined = join_scores(members, method, weights, component=component, names=names)
    joined.meta["performance"] = {}
    joined.meta["ensemble"] = {
        "method": method,
        "members": [
            {"pipeline": str(p), "weight": w} for p, w in zip(pipelines, shares, strict=True)
        ],
    }
    with folder_to_replace(Path(output)) as folder:
        joined.to_disk(folder)
    return joined


def join_scores(
    members: Sequence[Language],
    method: str = "emissions",
    weights: Optional[Sequence[float]] = None,
    *,
    component: Optional[str] = None,
    names: Optional[Sequence[str]] = None,
) -> Language:
    """Put a ``span_ensemble`` in the place of the first pipeline's ``nested_spancat``.

    members: are used up. method: "emissions" or "tokens", see ``spacy_bioie.SpanEnsemble.v1``.
    component: see ``write_ensemble``. names: of the members, for errors.

    The thresholds are the means of the members'. Tune them anew.

    RETURNS: the first pipeline.
    Raises ValueError where the pipelines differ in language, tokens, static vectors or labels,
    or their models cannot be joined in this way.
    """
    names = _names(members, names)
    _check_texts(members, names)
    found = [
        find_component(nlp, NestedSpanCategorizer, "nested_spancat", component) for nlp in members
    ]
    pipes: List[Any] = [nlp.get_pipe(name) for nlp, name in zip(members, found, strict=True)]
    labels = list(pipes[0].labels)
    for pipe, name in zip(pipes, names, strict=True):
        if set(pipe.labels) != set(labels):
            raise ValueError(
                f"Pipeline '{name}': '{pipe.name}' has the labels {sorted(pipe.labels)}, expected "
                f"those of '{names[0]}': {sorted(labels)}."
            )
    orders = [[list(pipe.labels).index(label) for label in labels] for pipe in pipes]
    for nlp, pipe in zip(members[1:], pipes[1:], strict=True):
        give_own_encoder(nlp, pipe.name)
    configs = [_config(nlp, pipe.name) for nlp, pipe in zip(members, pipes, strict=True)]
    threshold, thresholds = _mean_thresholds([pipe.cfg for pipe in pipes])
    in_order = all(order == sorted(order) for order in orders)
    config = {
        "model": {
            "@architectures": "spacy_bioie.SpanEnsemble.v1",
            "method": method,
            "weights": None if weights is None else list(weights),
            "label_orders": None if in_order else orders,
            "*": {f"member_{i}": config["model"] for i, config in enumerate(configs, 1)},
        },
        "spans_key": pipes[0].key,
        "threshold": threshold,
        "thresholds": thresholds,
        "set_ents": pipes[0].set_ents,
        "scorer": configs[0].get("scorer"),
    }
    joined = members[0]
    name = _free_name(joined, "span_ensemble")
    ensemble: Any = joined.add_pipe("span_ensemble", name, config=config, before=found[0])
    joined.remove_pipe(found[0])
    for label in labels:
        ensemble.add_label(label)
    ensemble.model.set_dim("nO", len(labels))
    for layer, pipe in zip(ensemble.model.layers, pipes, strict=True):
        layer.from_dict(pipe.model.to_dict())
    return joined


def join_spans(
    members: Sequence[Language],
    weights: Optional[Sequence[float]] = None,
    *,
    spans_key: str = SPANS_KEY,
    merge: str = "vote",
    min_votes: Optional[int] = None,
    min_score: float = 0.0,
    scores: str = "all",
    overlap: str = "any",
    names: Optional[Sequence[str]] = None,
) -> Language:
    """Let pipelines vote on mentions, whatever finds them: taggers, rules, gazetteers.

    Each further pipeline brings its components up to the last one that writes mentions, under
    their names with its number ("nested_spancat_2"), and leaves its mentions in the group
    ``SPANS-KEY_NUMBER``. A ``span_merger`` then writes those of the ensemble.

    members: are used up. weights: of their scores, see ``span_merger``.
    spans_key: the group of the mentions in all pipelines.
    merge: "union", "intersection", "vote" or "priority" (of the first pipeline over the second and
        so on). min_votes: of "vote"; more than half of the pipelines by default.
    min_score, scores, overlap: settings of ``span_merger``. names: of the members, for errors.

    RETURNS: the first pipeline.
    Raises ValueError where the pipelines differ in language, tokens or static vectors, where one
    has no component that writes mentions, and for settings that cannot be.
    """
    names = _names(members, names)
    _check_texts(members, names)
    joined = members[0]
    first, last = joined.pipe_names[0] if joined.pipe_names else "", _last_finder(joined, names[0])
    keys = [spans_key, *(f"{spans_key}_{i}" for i in range(2, len(members) + 1))]
    for i, (nlp, key, name) in enumerate(zip(members[1:], keys[1:], names[1:], strict=True), 2):
        end = nlp.pipe_names.index(_last_finder(nlp, name)) + 1
        for pipe in nlp.pipe_names[:end]:
            if not isinstance(nlp.get_pipe(pipe), ListenedToComponent):
                give_own_encoder(nlp, pipe)
                own = _free_name(joined, f"{pipe}_{i}")
                joined.add_pipe(pipe, own, source=nlp, before=first)
        copying = {"input_keys": [spans_key], "output_key": key, "method": "union", "scorer": None}
        name = _free_name(joined, f"span_merger_{i}")
        joined.add_pipe("span_merger", name, config=copying, before=first)
    shares = [1.0] * len(members) if weights is None else list(weights)
    voting = {
        "input_keys": keys,
        "output_key": spans_key,
        "method": merge,
        "min_votes": len(members) // 2 + 1 if min_votes is None else min_votes,
        "weights": dict(zip(keys, shares, strict=True)),
        "min_score": min_score,
        "scores": scores,
        "overlap": overlap,
    }
    joined.add_pipe("span_merger", _free_name(joined, "span_vote"), config=voting, after=last)
    return joined


def _config(nlp: Language, component: str) -> Dict[str, Any]:
    return nlp.config.interpolate()["components"][component]


def _mean_thresholds(settings: Sequence[Dict[str, Any]]) -> Tuple[float, Dict[str, float]]:
    def mean(values: List[float]) -> float:
        return sum(values) / len(values)

    own = {label: 0.0 for cfg in settings for label in cfg["thresholds"]}
    for label in own:
        own[label] = mean([cfg["thresholds"].get(label, cfg["threshold"]) for cfg in settings])
    return mean([cfg["threshold"] for cfg in settings]), own


def _last_finder(nlp: Language, pipeline: str) -> str:
    finders = [
        name
        for name, pipe in nlp.pipeline
        if "doc.spans" in nlp.get_pipe_meta(name).assigns
        # what reads mentions too (linkers) finds none
        and ("doc.spans" not in nlp.get_pipe_meta(name).requires or isinstance(pipe, SpanMerger))
    ]
    if not finders:
        raise ValueError(
            f"Pipeline '{pipeline}' has no component that writes mentions to doc.spans among "
            f"{nlp.pipe_names}."
        )
    return finders[-1]


def _free_name(nlp: Language, name: str) -> str:
    while name in nlp.component_names:
        name = f"{name}_new"
    return name


def _names(members: Sequence[Language], names: Optional[Sequence[str]]) -> Sequence[str]:
    if not members:
        raise ValueError("Expected at least one pipeline.")
    if names is not None:
        return names
    return [f"{nlp.meta['lang']}_{nlp.meta['name']} ({i})" for i, nlp in enumerate(members, 1)]


def _tokenizer(nlp: Language) -> bytes:
    tokenizer: Any = nlp.tokenizer
    return tokenizer.to_bytes(exclude=["vocab"])


def _check_texts(members: Sequence[Language], names: Sequence[str]) -> None:
    """Check that all pipelines see the same tokens, over which they are joined."""
    first = members[0]
    tokenizer = _tokenizer(first)
    for nlp, name in zip(members[1:], names[1:], strict=True):
        for what, same in (
            ("language", nlp.lang == first.lang),
            ("tokenizer", _tokenizer(nlp) == tokenizer),
            ("set of static vectors", nlp.vocab.vectors == first.vocab.vectors),
        ):
            if not same:
                raise ValueError(
                    f"Pipeline '{name}' has another {what} than '{names[0]}'. Expected pipelines "
                    "that were trained on the same tokens and vectors."
                )
