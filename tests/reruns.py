"""A pytest plugin for the run in which what failed is run once more, alone: it names those that pass now.

They are named in the run's own summary, and in a file of the cache that `make test` shows at its very end, where nobody
overlooks them: a test that fails now and then says that something is wrong, be it the test.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

#: Beside pytest's own cache, which `make clean` removes.
FILE = "flaky.txt"

_failed_first: set[str] = set()


def pytest_configure(config: pytest.Config) -> None:
    # Now: at its end the run writes down its own failures in their place.
    _failed_first.update(config.cache.get("cache/lastfailed", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    passed = {report.nodeid for report in terminalreporter.stats.get("passed", ()) if report.when == "call"}
    bad = {report.nodeid for kind in ("failed", "error") for report in terminalreporter.stats.get(kind, ())}
    database = os.environ.get("CLOUDTRAIN_TEST_DATABASE", "sqlite")
    lines = [
        f"flaky: {name} (failed at first, passed alone; {database})" for name in sorted(_failed_first & passed - bad)
    ]
    if lines:
        terminalreporter.section("flaky")
        terminalreporter.write_line("\n".join(lines))
        with (Path(config.rootpath) / ".pytest_cache" / FILE).open("a") as file:
            file.writelines(f"{line}\n" for line in lines)
