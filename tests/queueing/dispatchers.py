"""Eight dispatchers of which two are killed every second: a program of its own, so that nothing outlives the test.

It forks its dispatchers before it has threads or a database connection, and goes on until it is killed itself or its
standard input ends. Its provider is a file: each line is a training that was started.
"""

from __future__ import annotations

import os
import random
import select
import signal
import sys
from collections.abc import Iterable, Mapping
from datetime import timedelta
from importlib import import_module
from pathlib import Path

DISPATCHERS, KILLED_A_SECOND = 8, 2


def be_dispatcher(started: Path) -> None:
    """Run passes for ever, impatiently."""
    from jobs import providers
    from jobs.providers.base import Snapshot, TrainingSpec
    from jobs.statuses import JobStatus
    from queueing import claims, dispatch
    from tests.providers import ScriptedProvider

    class FileProvider(ScriptedProvider):
        async def submit(self, spec: TrainingSpec) -> Snapshot:
            with started.open("a") as file:  # one short write in append mode: whole or not at all
                file.write(f"{spec.marker}\n")
            return Snapshot(spec.marker, JobStatus.RUNNING)

        async def find_by_marker(self, markers: Iterable[str]) -> Mapping[str, Snapshot]:
            there = set(started.read_text().split())
            return {marker: Snapshot(marker, JobStatus.RUNNING) for marker in markers if marker in there}

    provider = FileProvider()
    providers._PROVIDERS = {"file": lambda: provider}
    claims.LEASE, claims.FIRST_PAUSE = timedelta(seconds=2), timedelta(seconds=0.2)
    claims.MIN_SEARCH_PAUSE = claims.MAX_SEARCH_PAUSE = claims.UNCONFIRMED_SEARCH_PAUSE = timedelta(seconds=0.3)
    claims.UNCONFIRMED_AFTER = timedelta(seconds=1)
    dispatch.MAX_CONCURRENT_CALLS = 5
    while True:
        if not dispatch.run_pass():
            select.select([], [], [], 0.1)


def fork(started: Path) -> int:
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            be_dispatcher(started)
        finally:
            os._exit(1)
    return pid


def main(started: Path) -> None:
    import django

    django.setup()
    # Read once here: on a busy machine a dispatcher would else be killed before it has read its own program.
    for name in ("queueing.dispatch", "queueing.passes", "tests.providers"):
        import_module(name)
    alive = [fork(started) for _ in range(DISPATCHERS)]
    try:
        while not select.select([sys.stdin], [], [], 1.0)[0]:
            for pid in random.sample(alive, KILLED_A_SECOND):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                alive.remove(pid)
            alive += [fork(started) for _ in range(KILLED_A_SECOND)]
    finally:
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
