"""The runner: the one process of ours that starts a trainer, waits for it, and records its end.

It uses the standard library alone, since it stays in memory for days: 10 MB, up in 30 ms. On this machine it is run
from this folder; a node of a cluster gets the folder as one file, for which a Python of 3.8 is enough:

    python -I -S jobs/providers/runner FOLDER MARKER GRACE DEADLINE PROGRAM [ARGUMENT ...]
    python3 -I -S runner.pyz run.json

The first leaves its caller and stays behind; the second is the engine's own process and ends with the trainer's exit
code. `node.py` says what `run.json` holds.
"""

from __future__ import annotations

import io
import zipfile
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
#: The names that the files have beside a node's job.
ARCHIVE_NAME = "runner.pyz"
RUN_NAME = "run.json"
MODULES = ("__main__.py", "checkpoint.py", "marks.py", "node.py", "processes.py", "records.py")


@cache
def archive() -> bytes:
    """Return the runner as one file that Python runs, about 30 kB; the same bytes each time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in MODULES:
            file.writestr(zipfile.ZipInfo(name), (FOLDER / name).read_bytes())
    return buffer.getvalue()
