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


def chosen_settings(source: Language, target: Language) -> Dict[str, Dict[str, Any]]:
    """The thresholds and temperatures of a tuned pipeline, for each component of another one.

    Raises ValueError where a component of the target is not one of the source, is of another kind
    there or lacks labels of it, or where the target has none of these components.
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
    return found


def copy_thresholds(source: Language, target: Language) -> Dict[str, Dict[str, Any]]:
    """Give a pipeline the thresholds and temperatures of another, component by component.

    source: tuned on held-out documents. target: of the same config, trained on these documents
        too, so that nothing can be chosen on them any more; is changed. It may have labels that
        are in these alone. What the source reached on them ("performance" in its meta) becomes the
        target's: it speaks of the config.

    RETURNS: the settings of each component. Raises ValueError as ``chosen_settings``.
    """
    found = chosen_settings(source, target)
    for name, chosen in found.items():
        changed: Any = target.get_pipe(name)
        for key, value in chosen.items():
            of_model = key == TEMPERATURE and isinstance(changed, SpanFinder)
            (changed.model.attrs if of_model else changed.cfg)[key] = deepcopy(value)
    target.meta["performance"] = deepcopy(source.meta.get("performance", {}))
    return found


def _counterpart(source: Language, name: str, pipe: Any) -> Any:
    """The component of the source with this name, of the same kind and without further labels."""
    other = source.get_pipe(name) if name in source.pipe_names else None
    if type(other) is not type(pipe):
        there = "none" if other is None else f"a {type(other).__name__}"
        raise ValueError(
            f"Component '{name}': expected a {type(pipe).__name__} of this name in the pipeline "
            f"that was tuned, got {there} among {source.pipe_names}."
        )
    missing = sorted(set(getattr(other, "labels", ())) - set(getattr(pipe, "labels", ())))
    if missing:
        raise ValueError(
            f"Component '{name}': expected the labels of the pipeline that was tuned, but "
            f"{missing} are missing."
        )
    return other
