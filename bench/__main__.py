"""Runs the benches, keeps what they find, and compares it with the last time.

    python -m bench [--only submit,queue]

Each runs in a process of its own, in the size that bench/plan.py says, and hands over its figures by
`bench.stack.print_table`. Exits 1 when one failed, a target is missed, or a figure is worse than the last.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import results
from bench.ending import end, end_as_by_ctrl_c
from bench.plan import BENCHES, Bench
from bench.results import Result
from bench.stack import FIGURES_VARIABLE, ROOT, Figure

#: For all of them together.
BUDGET_SECONDS = 20 * 60.0


def run(name: str, bench: Bench, limit_seconds: float) -> Result:
    """Run it to its end, or for the time."""
    if missing := bench.missing():
        return Result(problem=f"it needs {missing}")
    if limit_seconds <= 0:
        return Result(problem="the time of all was over")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cloudtrain-figures-") as folder:
        collected = Path(folder, "figures")
        collected.touch()
        command = [sys.executable, "-m", f"bench.bench_{name}", *bench.arguments.split()]
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, FIGURES_VARIABLE: str(collected)})
        try:
            status = process.wait(limit_seconds)
            problem = "" if status in (0, 1) else f"it ended with {status}"  # 1: a target is missed
        except subprocess.TimeoutExpired:
            problem = f"it was ended after {limit_seconds:.0f} s"
        finally:
            end(process)
        figures = [Figure(**json.loads(line)) for line in collected.read_text().splitlines()]
    if not figures and not problem:
        problem = "it failed"
    return Result(figures, problem, round(time.monotonic() - began, 1))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="names of benches, separated by commas")
    chosen = [name for name in parser.parse_args().only.split(",") if name]
    chosen = chosen or [name for name, bench in BENCHES.items() if not bench.only_by_name]
    if unknown := set(chosen) - BENCHES.keys():
        parser.error(f"{', '.join(sorted(unknown))}: no such bench; there are {', '.join(BENCHES)}")
    end_as_by_ctrl_c()
    kept, began = results.read(), time.monotonic()
    found: dict[str, Result] = {}
    for name in chosen:
        left = BUDGET_SECONDS - (time.monotonic() - began)
        found[name] = run(name, BENCHES[name], min(BENCHES[name].limit_seconds, left))
        if found[name].figures or name not in kept:
            # One that can't run here leaves what another machine found.
            results.write({one: {**kept, **found}[one] for one in BENCHES if one in kept or one in found})
    return say(found, kept, time.monotonic() - began)


def say(found: dict[str, Result], kept: dict[str, Result], seconds: float) -> int:
    """Print what is to be known of the run. Returns the exit status."""
    print(f"\n{len(found)} benches in {seconds / 60:.1f} minutes; load {os.getloadavg()[0]:.1f}.")
    missed = [f"{n}: {one.name.strip()}" for n, result in found.items() for one in result.figures if not one.ok]
    absent = [f"{name}: {result.problem}" for name, result in found.items() if result.problem.startswith("it needs")]
    failed = [f"{n}: {r.problem}" for n, r in found.items() if r.problem and not r.problem.startswith("it needs")]
    worse = [text for name, result in found.items() for text in results.comparisons(name, result, kept.get(name))]
    parts = (("Not run here", absent), ("FAILED", failed), ("TARGETS MISSED", missed), ("WORSE THAN THE LAST", worse))
    for head, lines in parts:
        if lines:
            print(f"\n{head}", *lines, sep="\n  ")
    return 1 if failed or missed or worse else 0


if __name__ == "__main__":
    sys.exit(main())
