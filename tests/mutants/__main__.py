"""Says which small changes of the modules that decide no test notices: `make mutants`, CONTRIBUTING.md.

Each mutant meets the nearest tests first and then, should it live, the further ones. One that hangs is killed, and
counts as killed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.mutants.changes import mutants_of
from tests.mutants.modules import MODULES

ROOT = Path(__file__).resolve().parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
NEEDED_PERCENT = 85
SEED = 7
#: Plugins that nothing here uses.
UNUSED = ("xdist", "cacheprovider", "schemathesis", "playwright", "base_url")
PYTEST = ("-m", "pytest", "-x", "-q", "--tb=no", "-p", "tests.mutants.plugin", *(f"-pno:{name}" for name in UNUSED))
#: Of the nearest tests all are asked that run in one process; of the further ones only the quick.
NEAREST_MARKS = "not long and not browser and not postgresql and not redis"
FURTHER_MARKS = f"not slow and {NEAREST_MARKS}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="a file of the table; without one, all of them")
    parser.add_argument("--sample", type=int, default=0, help="try so many of each module, always the same ones")
    parser.add_argument("--nearest", action="store_true", help="ask the nearest tests alone")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    unknown = [name for name in options.modules if name not in MODULES]
    if unknown:
        parser.error(f"not in the table: {' '.join(unknown)}. There are {' '.join(MODULES)}.")
    print(f"{'module':34}{'mutants':>8}{'equivalent':>11}{'killed':>8}{'living':>8}{'percent':>8}", flush=True)
    percents = [report(name, options) for name in options.modules or MODULES]
    return int(any(percent < NEEDED_PERCENT for percent in percents))


def report(module: str, options: argparse.Namespace) -> float:
    """Try a module's mutants, print those that live and a line of figures, and return the percentage that is killed."""
    mutants, equivalent = mutants_of((ROOT / module).read_text()), equivalents()
    numbers = [
        number for number, one in enumerate(mutants) if (module, one.function, one.line, one.change) not in equivalent
    ]
    living = tried = sampled(module, numbers, options.sample)
    further = () if options.nearest else MODULES[module].further
    for tests, marks in ((MODULES[module].nearest, NEAREST_MARKS), (further, FURTHER_MARKS)):
        if tests and living:
            living = sorted(living_of(module, tests, marks, living, options.processes))
    for number in living:
        print(f"{module}:{mutants[number].line_number} {mutants[number].function}: {mutants[number].change}")
    percent = 100 * (len(tried) - len(living)) / max(1, len(tried))
    figures = f"{len(tried):8}{len(mutants) - len(numbers):11}{len(tried) - len(living):8}{len(living):8}{percent:8.1f}"
    print(f"{module:34}{figures}", flush=True)
    return percent


def equivalents() -> set[tuple[str, str, str, str]]:
    """Return the mutants that change nothing that matters: file, function, line and change."""
    named = tomllib.loads(EQUIVALENT.read_text())["equivalent"]
    return {(one["file"], one["function"], one["line"], change) for one in named for change in one["changes"]}


def sampled(module: str, numbers: list[int], size: int) -> list[int]:
    chosen = random.Random(f"{SEED} {module}").sample(numbers, size) if 0 < size < len(numbers) else numbers
    return sorted(chosen)


def living_of(module: str, tests: Sequence[str], marks: str, numbers: Sequence[int], processes: int) -> Iterator[int]:
    """Yield the numbers of the mutants that the tests let live. Ends the program when they fail without a change."""
    reading_end, writing_end = os.pipe()
    with tempfile.TemporaryDirectory(prefix="cloudtrain-mutants-") as folder:
        tasks = [
            {
                "module": module,
                "numbers": numbers[first::processes],
                "database": f"{folder}/{first}",
                "report_to": writing_end,
            }
            for first in range(processes)
        ]
        runs = [_start(task, tests, marks) for task in tasks]
        os.close(writing_end)
        with open(reading_end) as lines:
            for line in lines:
                number, passes = map(int, line.split())
                if number < 0 and not passes:
                    raise SystemExit(f"{module}: the tests fail without a change already: {' '.join(tests)}")
                if number >= 0 and passes:
                    yield number
        statuses = [run.wait() for run in runs]
        if any(statuses):
            raise SystemExit(f"{module}: not all could be tried")


def _start(task: dict[str, object], tests: Sequence[str], marks: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "MUTANTS_TASK": json.dumps(task)}
    environment.pop("DATABASE_URL", None)
    return subprocess.Popen(
        [sys.executable, *PYTEST, "-m", marks, *(name for name in tests if (ROOT / name).exists())],
        cwd=ROOT,
        env=environment,
        pass_fds=[int(str(task["report_to"]))],
        stdout=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    sys.exit(main())
