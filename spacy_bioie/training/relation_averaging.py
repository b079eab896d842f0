"""One pipeline that averages the relation probabilities of several trained ones."""

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Union

from spacy.language import Language
from spacy.util import load_model

from ..models.relation_ensemble import PRIORS, TEMPERATURE
from ..pipeline.relation_extractor import RelationExtractor
from .own_encoders import give_own_encoder
from .saved_pipeline import check_replaceable, find_component, folder_to_replace

FACTORY = "relation_ensemble"


def average_relations(
    pipelines: Sequence[Language],
    *,
    components: Optional[Sequence[str]] = None,
    weights: Optional[Sequence[float]] = None,
    name: str = FACTORY,
) -> Language:
    """Put a ``relation_ensemble`` in the place of the ``relation_extractor`` of a pipeline.

    pipelines: trained ones with the same relation schema; of any architectures, losses and
        encoders. The first becomes the ensemble's: its other components stay, and its
        ``relation_extractor`` goes on listening to its encoder. Of the others only the
        ``relation_extractor`` is taken, each with its encoder. All are changed: do not use the
        others afterwards.
    components: name of the ``relation_extractor`` of each; not needed where it is the only one.
    weights: of the pipelines, above 0; even by default.
    name: of the new component.

    RETURNS: the first pipeline. The threshold is the mean of those of the members, without any
        for single predicates; ``tune_relations`` sets better ones on held-out documents.
    Raises ValueError where there are fewer than two pipelines, a component is not there, or the
    members differ in their schema, span group, candidates or tokens.
    """
    if len(pipelines) < 2:
        raise ValueError(f"Relations of {len(pipelines)} pipelines: expected at least two.")
    given = [None] * len(pipelines) if components is None else components
    if len(given) != len(pipelines):
        raise ValueError(f"{len(given)} component names for {len(pipelines)} pipelines.")
    names = [
        find_component(nlp, RelationExtractor, "relation_extractor", own)
        for nlp, own in zip(pipelines, given, strict=True)
    ]
    members: List[Any] = [nlp.get_pipe(own) for nlp, own in zip(pipelines, names, strict=True)]
    _check_members(pipelines, members)
    base, first = pipelines[0], names[0]
    for nlp, own in zip(pipelines[1:], names[1:], strict=True):
        give_own_encoder(nlp, own)
    configs = [
        nlp.config.interpolate()["components"][own]
        for nlp, own in zip(pipelines, names, strict=True)
    ]
    model = {
        "@architectures": "spacy_bioie.RelationEnsemble.v1",
        "weights": None if weights is None else list(weights),
        "*": {
            f"member_{i}": {
                "@architectures": "spacy_bioie.PairProbabilities.v1",
                "model": config["model"],
                "loss": config["loss"],
            }
            for i, config in enumerate(configs, 1)
        },
    }
    settings = {
        "model": model,
        "spans_key": members[0].key,
        "threshold": sum(pipe.cfg["threshold"] for pipe in members) / len(members),
        "one_predicate_per_pair": members[0].cfg["one_predicate_per_pair"],
        "max_distance": members[0].cfg["max_distance"],
        "scorer": configs[0]["scorer"],
    }
    place: Dict[str, Any] = {"before": base.component_names.index(first)}
    base.remove_pipe(first)
    for _, pipe in base.pipeline:
        getattr(pipe, "listener_map", {}).pop(first, None)
    if place["before"] == len(base.component_names):
        place = {"last": True}
    ensemble: Any = base.add_pipe(FACTORY, name, config=settings, **place)
    ensemble.cfg["schema"] = members[0].cfg["schema"]
    for layer, pipe in zip(ensemble.model.layers, members, strict=True):
        layer.layers[0].from_bytes(pipe.model.to_bytes())
        layer.attrs[TEMPERATURE] = pipe.cfg["temperature"]
        layer.attrs[PRIORS] = pipe.cfg["prior_logits"]
    return base


def average_saved_relations(
    pipelines: Sequence[Union[str, Path]], output: Union[str, Path], **settings: Any
) -> Language:
    """``average_relations`` of saved pipelines.

    pipelines: names or folders. output: folder for the new pipeline, which takes the place of one
        that is there when it is complete.

    RETURNS: the new pipeline. Raises OSError or ValueError where something cannot be read, joined
    or written.
    """
    check_replaceable(Path(output))
    nlp = average_relations([load_model(path) for path in pipelines], **settings)
    with folder_to_replace(Path(output)) as folder:
        nlp.to_disk(folder)
    return nlp


def _check_members(pipelines: Sequence[Language], members: Sequence[RelationExtractor]) -> None:
    def settings(nlp: Any, pipe: RelationExtractor) -> Dict[str, Any]:
        found = {name: pipe.cfg[name] for name in ("schema", "spans_key", "max_distance")}
        return {**found, "tokenizer": nlp.tokenizer.to_bytes(exclude=["vocab"])}

    first = settings(pipelines[0], members[0])
    for number, (nlp, pipe) in enumerate(zip(pipelines[1:], members[1:], strict=True), 2):
        for name, value in settings(nlp, pipe).items():
            if value != first[name]:
                raise ValueError(
                    f"Pipeline {number}, component '{pipe.name}': its {name} is another than that "
                    f"of the first pipeline, {value!r:.200} in place of {first[name]!r:.200}. "
                    "Expected members that score the same pairs for the same predicates."
                )
