"""A pytest plugin that runs the chosen tests once for each mutant: what was imported and collected is forked.

A child changes the function in its memory, so nothing is written into the tree, and has a migrated database of its own.
What a test starts as a process of its own doesn't have the change.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from _pytest import main as pytest_main
from django.conf import settings
from django.urls import get_resolver

from tests.mutants.changes import mutants_of
from tests.mutants.swap import change

#: What to try: `module`, the `numbers` of its mutants, where a `database` may be, and the descriptor to `report_to`.
TASK: dict[str, Any] = json.loads(os.environ["MUTANTS_TASK"])
UNCHANGED = -1
#: The exit status of a child in which the mutant could not be made: that is no kill.
NOT_CHANGED = 77


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    settings.DATABASES["default"]["TEST"]["NAME"] = f"{TASK['database']}.{os.getpid()}"


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    source = Path(TASK["module"]).read_text()
    module, mutants = importlib.import_module(TASK["module"][:-3].replace("/", ".")), mutants_of(source)
    # Imports every view: each child would do it by itself.
    get_resolver().url_patterns  # noqa: B018
    gc.collect()
    gc.freeze()
    _run(session, 600, lambda: None)  # makes the database of which each child has a copy
    began = time.monotonic()
    _report(UNCHANGED, _run(session, 600, lambda: None))
    seconds = 5 + 4 * (time.monotonic() - began)
    for number in TASK["numbers"]:
        _report(number, _run(session, seconds, lambda: change(module, source, mutants[number])))  # noqa: B023
    for path in Path(TASK["database"]).parent.glob(f"{Path(_database()).name}*"):
        path.unlink()
    return True


def _database(suffix: str = "") -> str:
    return f"{settings.DATABASES['default']['TEST']['NAME']}{suffix}"


def _report(number: int, passes: bool) -> None:
    os.write(TASK["report_to"], f"{number} {passes:d}\n".encode())


def _run(session: pytest.Session, seconds: float, prepare: Callable[[], None]) -> bool:
    """Run the tests in a child. Returns whether they all pass, within `seconds`."""
    child = os.fork()
    if child == 0:
        os.setsid()
        _run_here(session, prepare)
    try:
        ended = os.pidfd_open(child)
        is_over = bool(select.select([ended], [], [], seconds)[0])
        os.close(ended)
    finally:
        # With whatever a test has started.
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) != NOT_CHANGED, "a mutant could not be made"
    return is_over and status == 0


def _run_here(session: pytest.Session, prepare: Callable[[], None]) -> None:
    try:
        for rest in ("-wal", "-shm"):
            Path(_database(rest)).unlink(missing_ok=True)
        prepare()
    except BaseException:
        os._exit(NOT_CHANGED)
    try:
        pytest_main.pytest_runtestloop(session)
        os._exit(int(bool(session.testsfailed)))
    finally:
        os._exit(2)
