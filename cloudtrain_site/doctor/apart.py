"""The checks run by a process of their own, for a page: what hangs is killed with it, and loads nothing into ours."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from cloudtrain_site.conf.places import COMMAND, with_import_path
from cloudtrain_site.database.connections import lend_connection
from cloudtrain_site.errors import Conflict
from cloudtrain_site.serving.processes import MODULE_RUNNER

#: A proxy gives up on an answer after a minute.
RUN_SECONDS = 50.0
END_SECONDS = 2.0
ON_SERVER = f"Run {COMMAND} doctor on the server."
_running = threading.Lock()


def run_apart(only: Sequence[str] = ()) -> dict[str, Any]:
    """Return what `doctor --json` prints. Raises Conflict when it runs already in this process, or does not end."""
    if not _running.acquire(blocking=False):
        raise Conflict("The checks are already running. Wait until they finish.")
    try:
        lend_connection()
        return _run([part for name in only for part in ("--only", name)])
    finally:
        _running.release()


def _run(arguments: Sequence[str]) -> dict[str, Any]:
    process = subprocess.Popen(  # noqa: S603 - our own program
        [*MODULE_RUNNER, "cloudtrain_site", "doctor", "--json", *arguments],
        env={**with_import_path(os.environ), "CLOUDTRAIN_ROLE": "worker"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=RUN_SECONDS)
        answer: dict[str, Any] = json.loads(output)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Conflict(f"The checks took longer than {RUN_SECONDS:.0f} s. {ON_SERVER}") from None
    except ValueError:
        raise Conflict(f"The checks could not be run. {ON_SERVER}") from None
    finally:
        with suppress(subprocess.TimeoutExpired):  # a dead disk holds even a killed one
            process.wait(END_SECONDS)
        assert process.stdout is not None
        process.stdout.close()
    return answer
