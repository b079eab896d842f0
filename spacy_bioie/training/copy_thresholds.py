"""What was chosen on held-out documents, for a pipeline that was trained on them as well."""

from copy import deepcopy
from typing import Any, Dict

from spacy.language import Language

from ..models.span_head import TEMPERATURE, temperature_of
from ..pipeline.code_linker import CodeLinker
from ..pipeline.faiss_entity_linker import FaissEntityLinker
from ..pipeline.relation_finder import RelationFinder
from ..pipeline.span_finder import SpanFinder

# Class of a component -> its settings that are chosen on held-out documents
_CHOSEN = (
    (SpanFinder, ("threshold", "thresholds")),
    (RelationFinder, ("threshold", "thresholds", TEMPERATURE)),
    (FaissEntityLinker, ("threshold",)),
    (CodeLinker, ("threshold", TEMPERATURE)),
)


def copy_thresholds(source: Language, target: Language) -> Dict[str, Dict[str, Any]]:
    """Give a pipeline the thresholds and temperatures of another, component by component.

    source: tuned on held-out documents. target: of the same config, trained on these documents
        too, so that nothing can be chosen on them any more; is changed. What the source reached on
        them ("performance" in its meta) becomes the target's: it speaks of the config.

    RETURNS: the settings of each component.
    Raises ValueError where a component of the target is not one of the source, is of another kind
    there or has other labels, or where the target has none of these components.
    """
    found: Dict[str, Dict[str, Any]] = {}
    for name, pipe in target.pipeline:
        for kind, settings in _CHOSEN:
            if isinstance(pipe, kind):
                other = _counterpart(source, name, pipe)
                found[name] = {key: deepcopy(other.cfg[key]) for key in settings}
                if kind is SpanFinder:
                    found[name][TEMPERATURE] = temperature_of(other.model)
    if not found:
        raise ValueError(
            f"Expected a pipeline that finds mentions, links, codes or relations, got "
            f"{target.pipe_names}."
        )
    for name, chosen in found.items():
        changed: Any = target.get_pipe(name)
        for key, value in chosen.items():
            of_model = key == TEMPERATURE and isinstance(changed, SpanFinder)
            (changed.model.attrs if of_model else changed.cfg)[key] = deepcopy(value)
    target.meta["performance"] = deepcopy(source.meta.get("performance", {}))
    return found


def _counterpart(source: Language, name: str, pipe: Any) -> Any:
    """The component of the source with this name, if it is of the same kind and labels."""
    other = source.get_pipe(name) if name in source.pipe_names else None
    if type(other) is not type(pipe):
        there = "none" if other is None else f"a {type(other).__name__}"
        raise ValueError(
            f"Component '{name}': expected a {type(pipe).__name__} of this name in the pipeline "
            f"that was tuned, got {there} among {source.pipe_names}."
        )
    labels, expected = (set(getattr(p, "labels", ())) for p in (other, pipe))
    if labels != expected:
        raise ValueError(
            f"Component '{name}': expected the same labels in both pipelines, but "
            f"{sorted(labels ^ expected)} are in one alone."
        )
    return other
