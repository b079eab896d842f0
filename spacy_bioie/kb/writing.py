"""A knowledge base from files of concepts to a folder, in one call."""

import json
import os
from pathlib import Path
from typing import Any, Iterable, Optional, Union

from .building import build_knowledge_base
from .name_encoders import TransformerNameEncoder
from .report import BuildReport, Report
from .storage import check_replaceable


def write_knowledge_base(
    out_dir: Union[str, Path],
    sources: Iterable[Union[str, Path]] = (),
    *,
    encoder: Optional[str] = None,
    pooling: Optional[str] = None,
    batch_size: int = 64,
    mixed_precision: bool = False,
    report: Optional[Union[str, Path]] = None,
    **settings: Any,
) -> BuildReport:
    """Build a knowledge base and save it.

    out_dir: folder to write; it takes its place when it is complete. A knowledge base that is
        there is replaced.
    sources: files of concepts, see ``read_concepts``.
    encoder, pooling, batch_size, mixed_precision: of the name encoder, see
        ``TransformerNameEncoder``; without ``encoder`` names are compared by their spelling alone.
    report: JSON file for what is returned.
    settings: the other arguments of ``build_knowledge_base``, such as ``mentions`` and ``index``.

    RETURNS: what went into the knowledge base.
    Raises ValueError and OSError as ``build_knowledge_base`` and ``FaissKnowledgeBase.to_disk`` do;
    whether there is a place for what is written is looked at first.
    """
    check_outputs(out_dir, report)
    name_encoder = None
    if encoder is not None:
        name_encoder = TransformerNameEncoder(
            encoder, pooling=pooling, batch_size=batch_size, mixed_precision=mixed_precision
        )
    kb, counts = build_knowledge_base(sources, name_encoder=name_encoder, **settings)
    kb.to_disk(out_dir)
    if report is not None:
        write_report(Path(report), counts)
    return counts


def check_outputs(out_dir: Union[str, Path], report: Optional[Union[str, Path]] = None) -> None:
    """Look whether a knowledge base and a report can be written, before the work is done.

    Raises ValueError where ``out_dir`` is a file or a folder of other files, where ``report`` is a
    folder, and where one of them lies below a file.
    """
    check_replaceable(Path(out_dir))
    if report is not None and Path(report).is_dir():
        raise ValueError(f"'{report}' is a folder: expected a file for the report.")
    for path in (out_dir,) if report is None else (out_dir, report):
        there = next(above for above in Path(path).absolute().parents if above.exists())
        if not there.is_dir():
            raise ValueError(f"'{path}' cannot be written: '{there}' is a file.")


def write_report(path: Path, counts: Report) -> None:
    """Write a report as JSON, beside and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(json.dumps(counts.to_dict(), indent=2) + "\n", encoding="utf8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
