"""Thresholds of relations, chosen on documents that the pipeline was not trained on."""

import json
import os
import shutil
from pathlib import Path
from typing import Any, Dict, Iterable, Optional, Union, cast

from spacy.language import Language
from spacy.training import Corpus, Example
from spacy.util import load_model

from ..pipeline.relation_extractor import MentionInput, Metric, RelationExtractor


def tune_relations(
    nlp: Language,
    examples: Iterable[Example],
    *,
    component: Optional[str] = None,
    metric: Metric = "tm",
    input: MentionInput = "gold",
    per_predicate: bool = False,
    min_gold: int = 5,
) -> Dict[str, Any]:
    """Set the thresholds of a pipeline's ``relation_extractor``.

    The predicted documents are sent through the components before it, and then through
    ``RelationExtractor.tune_thresholds``, which says what the other arguments are.

    component: name of the ``relation_extractor``; not needed where there is one.

    RETURNS: "threshold", "thresholds" and the micro-F1 that they reach, under the scorer's name.
    Raises ValueError where the component is not there, or the examples hold no relation.
    """
    name = _find_component(nlp, component)
    examples = list(examples)
    with nlp.select_pipes(enable=nlp.pipe_names[: nlp.pipe_names.index(name)]):
        docs = nlp.pipe(eg.predicted for eg in examples)
        for eg, doc in zip(examples, docs, strict=True):
            eg.predicted = doc
    pipe = cast(RelationExtractor, nlp.get_pipe(name))
    return pipe.tune_thresholds(
        examples, metric=metric, input=input, per_predicate=per_predicate, min_gold=min_gold
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
    if output is None and not Path(pipeline).is_dir():
        raise ValueError(
            f"Pipeline '{pipeline}' is no folder. Expected a folder, or an output folder for the "
            "tuned pipeline."
        )
    if output is not None:
        _check_replaceable(Path(output))
    nlp = load_model(pipeline)
    name = _find_component(nlp, component)
    result = tune_relations(nlp, Corpus(corpus)(nlp), component=name, **settings)
    if output is not None:
        _save(nlp, Path(output))
    else:
        _replace_settings(Path(pipeline) / name / "cfg", result)
    return result


def _find_component(nlp: Language, name: Optional[str]) -> str:
    found = [key for key, pipe in nlp.pipeline if isinstance(pipe, RelationExtractor)]
    if name is None and len(found) == 1:
        return found[0]
    if name not in found:
        raise ValueError(
            f"Expected the name of a relation_extractor, got {name!r}. The pipeline has "
            f"{found or 'none'} among {nlp.pipe_names}."
        )
    assert name is not None
    return name


def _check_replaceable(output: Path) -> None:
    occupied = output.is_dir() and any(output.iterdir()) and not (output / "config.cfg").is_file()
    if occupied or (output.exists() and not output.is_dir()):
        raise ValueError(
            f"Output '{output}' is there and is no pipeline. Expected a new folder, an empty one, "
            "or a saved pipeline to replace."
        )


def _save(nlp: Language, output: Path) -> None:
    output = output.resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    new, old = (
        output.with_name(f".{output.name}.{os.getpid()}.{suffix}") for suffix in ("new", "old")
    )
    try:
        nlp.to_disk(new)
        if output.exists():
            output.rename(old)
        new.rename(output)
    finally:
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)


def _replace_settings(path: Path, result: Dict[str, Any]) -> None:
    settings = json.loads(path.read_text(encoding="utf8"))
    settings.update({name: result[name] for name in ("threshold", "thresholds")})
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(json.dumps(settings, ensure_ascii=False), encoding="utf8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
