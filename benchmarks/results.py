"""The form of a benchmark's result: one JSON file for each run.

They lie in ``results/`` beside this file, or where the environment says in BIOIE_RESULTS.
"""

import gzip
import hashlib
import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional

FOLDER = Path(os.environ.get("BIOIE_RESULTS") or Path(__file__).resolve().parent / "results")
PACKAGES = ["spacy", "spacy-transformers", "thinc", "torch", "transformers", "numpy"]
FAISS = ["faiss-cpu", "faiss-gpu"]


def write_result(
    name: str,
    *,
    benchmark: str,
    system: str,
    metrics: Dict[str, Optional[float]],
    data: Dict[str, Dict[str, Any]],
    config: Dict[str, Any],
    seeds: List[int],
    seconds: float,
    peak_memory_mb: float,
    commit: Optional[str] = None,
    details: Optional[Dict[str, Any]] = None,
) -> Path:
    """Write ``results/NAME.json``; the rules of a figure are part of its name in ``metrics``.

    ``BIOIE_RESULTS`` in the environment is another folder, for a trial. details: what a report
    needs beside figures, such as counts of each document.
    """
    result = {
        "benchmark": benchmark,
        "system": system,
        "metrics": {
            key: None if value is None else round(value, 4) for key, value in metrics.items()
        },
        "seeds": seeds,
        "data": data,
        "config": config,
        "commit": commit or current_commit(),
        "versions": versions(),
        "hardware": hardware(),
        "seconds": round(seconds, 1),
        "peak_memory_mb": round(peak_memory_mb),
        **({} if details is None else {"details": details}),
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf8")
    os.replace(beside, path)
    return path


def read_results(benchmark: str) -> List[Dict[str, Any]]:
    """All results of a benchmark, in the order of their files' names."""
    found = [json.loads(path.read_text(encoding="utf8")) for path in sorted(FOLDER.glob("*.json"))]
    return [result for result in found if result["benchmark"] == benchmark]


def describe_files(paths: Iterable[Path]) -> Dict[str, Dict[str, Any]]:
    """Name, SHA-256 and number of documents (of a JSON object, else of lines) of data files."""
    described = {}
    for path in paths:
        content = path.read_bytes()
        if path.suffix == ".json":
            documents = len(json.loads(content))
        else:
            text = gzip.decompress(content) if path.suffix == ".gz" else content
            documents = len(text.splitlines())
        described[path.name] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "documents": documents,
        }
    return described


def current_commit() -> str:
    """The commit of the checkout, with a mark where files differ from it."""
    git = ["git", "-C", str(Path(__file__).resolve().parent)]
    try:
        commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
        changed = subprocess.check_output(
            [*git, "status", "--porcelain", "--untracked-files=no"], text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+changes" if changed.strip() else "")


def versions() -> Dict[str, str]:
    """Versions of Python and of the packages that figures depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES + FAISS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def hardware() -> Dict[str, Any]:
    """Processor, cores and memory, and the GPU where torch sees one."""
    import torch

    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf8").splitlines()
        model = next((x.split(":", 1)[1].strip() for x in lines if "model name" in x), model)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {"cpu": model, "cores": os.cpu_count(), "memory_gb": round(memory), "gpu": gpu}
