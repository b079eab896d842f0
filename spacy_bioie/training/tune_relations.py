"""Thresholds of relations, chosen on documents that the pipeline was not trained on."""

import json
import os
from pathlib import Path
from typing import Any, Dict, Iterable, Optional, Union, cast

from spacy.language import Language
from spacy.training import Example

from ..pipeline.relation_finder import MentionInput, Metric, RelationFinder
from .saved_pipeline import find_component, run_components_before, tune_and_save


def tune_relations(
    nlp: Language,
    examples: Iterable[Example],
    *,
    component: Optional[str] = None,
    metric: Metric = "tm",
    input: MentionInput = "gold",
    per_predicate: bool = False,
    min_gold: int = 5,
    progress: bool = False,
) -> Dict[str, Any]:
    """Set the thresholds of a pipeline's ``relation_extractor`` or ``relation_ensemble``.

    The predicted documents are sent through the components before it, and then through
    ``RelationFinder.tune_thresholds``, which says what the other arguments are.

    component: its name; not needed where there is one.
    progress: show a bar of the documents on standard error.

    RETURNS: "threshold", "thresholds" and the micro-F1 that they reach, under the scorer's name.
    Raises ValueError where the component is not there, or the examples hold no relation.
    """
    name = _find_component(nlp, component)
    pipe = cast(RelationFinder, nlp.get_pipe(name))
    return pipe.tune_thresholds(
        run_components_before(nlp, name, examples, progress),
        metric=metric,
        input=input,
        per_predicate=per_predicate,
        min_gold=min_gold,
    )


def tune_saved_pipeline(
    pipeline: Union[str, Path],
    corpus: Union[str, Path],
    output: Optional[Union[str, Path]] = None,
    *,
    component: Optional[str] = None,
    **settings: Any,
) -> Dict[str, Any]:
    """Tune the relations of a saved pipeline and save it, see ``tune_relations``.

    pipeline: name or folder. corpus: a .spacy file, or a folder of them, of held-out documents.
    output: folder for the tuned pipeline, which replaces a pipeline that is there; without it,
        only the component's settings inside ``pipeline``, which has to be a folder, are replaced.
        Either takes its place when it is complete.

    RETURNS: what ``tune_relations`` does.
    Raises OSError or ValueError where something cannot be read, tuned or written.
    """

    def tune(nlp: Language, examples: Iterable[Example]) -> Dict[str, Any]:
        return tune_relations(nlp, examples, component=component, **settings)

    def save_in_place(nlp: Language, folder: Path, result: Dict[str, Any]) -> None:
        _replace_settings(folder / _find_component(nlp, component) / "cfg", result)

    return tune_and_save(pipeline, corpus, output, tune, save_in_place)


def _find_component(nlp: Language, name: Optional[str]) -> str:
    return find_component(nlp, RelationFinder, "relation_extractor", name)


def _replace_settings(path: Path, result: Dict[str, Any]) -> None:
    settings = json.loads(path.read_text(encoding="utf8"))
    settings.update({name: result[name] for name in ("threshold", "thresholds")})
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(json.dumps(settings, ensure_ascii=False), encoding="utf8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
