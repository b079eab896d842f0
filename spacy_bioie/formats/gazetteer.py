"""Files of gazetteer patterns, in the forms that spaCy's ``span_ruler`` reads."""

from pathlib import Path
from typing import Any, Iterable, Tuple, Union

import srsly
from spacy.tokenizer import Tokenizer

from ..kb.concepts import Concept
from ..kb.gazetteer import GazetteerReport, build_gazetteer
from .atomic import replacing


def write_gazetteer(
    output: Union[str, Path],
    sources: Iterable[Union[str, Path, Concept]],
    tokenizer: Tokenizer,
    **settings: Any,
) -> Tuple[Path, int, GazetteerReport]:
    """Build the patterns of a gazetteer and write them; the file is complete or untouched.

    output: a .json file, for ``srsly.read_json.v1`` in a config; a .jsonl file, for
        ``add_patterns``; or a folder, for the ruler's ``from_disk``.
    sources, tokenizer, settings: see ``build_gazetteer``, which also says what is raised.

    RETURNS: the file, its number of patterns, and what became of the names.
    """
    patterns, report = build_gazetteer(sources, tokenizer, **settings)
    output = Path(output)
    file = output if output.suffix in (".json", ".jsonl") else output / "patterns"
    write = srsly.write_json if file.suffix == ".json" else srsly.write_jsonl
    with replacing(file) as beside:
        write(beside, patterns)
    return file, len(patterns), report
