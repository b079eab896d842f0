"""Calibration and thresholds of mentions, on documents that the pipeline was not trained on."""

from pathlib import Path
from typing import Any, Dict, Iterable, Optional, Union, cast

from spacy.language import Language
from spacy.training import Example

from ..pipeline.nested_spancat import NestedSpanCategorizer
from .saved_pipeline import (
    find_component,
    folder_to_replace,
    run_components_before,
    tune_and_save,
)


def tune_spans(
    nlp: Language,
    examples: Iterable[Example],
    *,
    component: Optional[str] = None,
    calibrate: bool = False,
    per_label: bool = False,
    min_gold: int = 5,
    progress: bool = False,
) -> Dict[str, Any]:
    """Set the thresholds of a pipeline's ``nested_spancat``, and its temperature before.

    The predicted documents are sent through the components before it, and then through its
    methods ``calibrate`` and ``tune_thresholds``, which say what the other arguments are.

    component: name of the ``nested_spancat``; not needed where there is one.
    calibrate: set the temperature too.
    progress: show a bar of the documents on standard error.

    RETURNS: "threshold", "thresholds" and the micro-F1 that they reach, "ner_strict_micro_f"; with
        ``calibrate`` also "temperature", "ece_before" and "ece_after".
    Raises ValueError where the component is not there, or the examples hold no mention.
    """
    name = _find_component(nlp, component)
    examples = run_components_before(nlp, name, examples, progress)
    pipe = cast(NestedSpanCategorizer, nlp.get_pipe(name))
    calibration = pipe.calibrate(examples) if calibrate else {}
    thresholds = pipe.tune_thresholds(examples, per_label=per_label, min_gold=min_gold)
    return {**calibration, **thresholds}


def tune_saved_pipeline(
    pipeline: Union[str, Path],
    corpus: Union[str, Path],
    output: Optional[Union[str, Path]] = None,
    *,
    component: Optional[str] = None,
    **settings: Any,
) -> Dict[str, Any]:
    """Tune the mentions of a saved pipeline and save it, see ``tune_spans``.

    pipeline: name or folder. corpus: a .spacy file, or a folder of them, of held-out documents.
    output: folder for the tuned pipeline, which replaces a pipeline that is there; without it,
        only the component inside ``pipeline``, which has to be a folder, is replaced. Either takes
        its place when it is complete.

    RETURNS: what ``tune_spans`` does.
    Raises OSError or ValueError where something cannot be read, tuned or written.
    """

    def tune(nlp: Language, examples: Iterable[Example]) -> Dict[str, Any]:
        return tune_spans(nlp, examples, component=component, **settings)

    def save_in_place(nlp: Language, folder: Path, result: Dict[str, Any]) -> None:
        name = _find_component(nlp, component)
        pipe = cast(NestedSpanCategorizer, nlp.get_pipe(name))
        with folder_to_replace(folder / name) as new:
            pipe.to_disk(new, exclude=["vocab"])

    return tune_and_save(pipeline, corpus, output, tune, save_in_place)


def _find_component(nlp: Language, name: Optional[str]) -> str:
    return find_component(nlp, NestedSpanCategorizer, "nested_spancat", name)
