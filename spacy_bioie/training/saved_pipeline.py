"""Pipelines on disk in which a component is tuned on held-out documents."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Union

from spacy.language import Language
from spacy.training import Corpus, Example
from spacy.util import load_model
from tqdm import tqdm

AnyPath = Union[str, Path]


def find_component(nlp: Language, kind: type, factory: str, name: Optional[str]) -> str:
    """The name of the component that is tuned.

    kind: its class. factory: the name of its factory, for the message. name: its name; not needed
    where the pipeline has one.

    Raises ValueError where it is not there, or one of several has to be chosen.
    """
    found = [key for key, pipe in nlp.pipeline if isinstance(pipe, kind)]
    if name is None and len(found) == 1:
        return found[0]
    if name not in found:
        raise ValueError(
            f"Expected the name of a {factory}, got {name!r}. The pipeline has "
            f"{found or 'none'} among {nlp.pipe_names}."
        )
    assert name is not None
    return name


def run_components_before(
    nlp: Language, name: str, examples: Iterable[Example], progress: bool
) -> List[Example]:
    """Send the predicted documents through the components before one.

    progress: show a bar of the documents on standard error.
    RETURNS: the examples, with these predicted documents.
    """
    examples = list(examples)
    with nlp.select_pipes(enable=nlp.pipe_names[: nlp.pipe_names.index(name)]):
        docs = nlp.pipe(eg.predicted for eg in examples)
        with tqdm(docs, total=len(examples), unit="doc", disable=not progress) as bar:
            for eg, doc in zip(examples, bar, strict=True):
                eg.predicted = doc
    return examples


def tune_and_save(
    pipeline: AnyPath,
    corpus: AnyPath,
    output: Optional[AnyPath],
    tune: Callable[[Language, Iterable[Example]], Dict[str, Any]],
    save_in_place: Callable[[Language, Path, Dict[str, Any]], None],
) -> Dict[str, Any]:
    """Load a pipeline, tune it on a corpus and save it.

    pipeline: name or folder. corpus: a .spacy file, or a folder of them, of held-out documents.
    output: folder for the tuned pipeline, which takes the place of one that is there when it is
        complete; without it ``save_in_place`` saves what has changed into the folder ``pipeline``.
    tune: changes the pipeline by these examples, and says what it has set.

    RETURNS: what ``tune`` does.
    Raises OSError or ValueError where something cannot be read, tuned or written.
    """
    if output is None and not Path(pipeline).is_dir():
        raise ValueError(
            f"Pipeline '{pipeline}' is no folder. Expected a folder, or an output folder for the "
            "tuned pipeline."
        )
    if output is not None:
        check_replaceable(Path(output))
    nlp = load_model(pipeline)
    result = tune(nlp, Corpus(corpus)(nlp))
    if output is None:
        save_in_place(nlp, Path(pipeline), result)
    else:
        with folder_to_replace(Path(output)) as folder:
            nlp.to_disk(folder)
    return result


@contextmanager
def folder_to_replace(target: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of another when it is complete.

    The other one stays as it is where writing fails.
    """
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    new, old = (
        target.with_name(f".{target.name}.{os.getpid()}.{suffix}") for suffix in ("new", "old")
    )
    try:
        yield new
        if target.exists():
            target.rename(old)
        new.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    finally:
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)


def check_replaceable(output: Path) -> None:
    """Raise ValueError where a folder with files, or a file, is no pipeline to replace."""
    occupied = output.is_dir() and any(output.iterdir()) and not (output / "config.cfg").is_file()
    if occupied or (output.exists() and not output.is_dir()):
        raise ValueError(
            f"Output '{output}' is there and is no pipeline. Expected a new folder, an empty one, "
            "or a saved pipeline to replace."
        )
