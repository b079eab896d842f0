"""Run a command and write how long it took and how much memory it held at its peak.

    python benchmarks/measure.py OUT.json COMMAND [ARGUMENTS]...

The exit code is the command's. The peak is the largest resident set of any of its processes.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path


def measure(out: Path, command: list) -> int:
    start = time.perf_counter()
    code = subprocess.run(command).returncode
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    if code == 0:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = out.with_suffix(".tmp")
        result = {"seconds": round(seconds, 1), "peak_memory_mb": round(peak)}
        beside.write_text(json.dumps(result) + "\n", encoding="utf8")
        os.replace(beside, out)
    return code


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    command = sys.argv[2:]
    if command[0] == "python":
        command[0] = sys.executable
    sys.exit(measure(Path(sys.argv[1]), command))
