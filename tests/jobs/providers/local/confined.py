"""The operator's recipe for a trainer that reaches its own job alone, as the tests use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cloudtrain_site.conf.places import BASE_DIR
from tests.servers import find_binary, missing

SCRIPT = BASE_DIR / "examples" / "confined-trainer"
#: Where this Python and the sample trainer are.
READABLE = sorted({str(BASE_DIR), str(Path(sys.prefix).resolve()), str(Path(sys.base_prefix).resolve())} - {"/usr"})


def need_bubblewrap() -> None:
    """Skip, or fail in CI, where the recipe can't be used."""
    if find_binary("bwrap") is None:
        missing("bubblewrap")
    if subprocess.run(["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"], capture_output=True).returncode:
        missing("A kernel that lets bubblewrap make namespaces")


def confined(*trainer: str) -> list[str]:
    """The operator's command for `trainer` under the recipe."""
    return [str(SCRIPT), "{job_dir}", *READABLE, "--", *trainer]
