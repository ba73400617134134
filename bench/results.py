"""The results of `make bench`: kept in bench/results.json, compared with the last, shown in docs/performance.md."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.stack import ROOT, Figure, shown
from cloudtrain_site import __version__

RESULTS = ROOT / "bench" / "results.json"
DOCUMENT = ROOT / "docs" / "performance.md"
#: From this part on a figure is worse than the last.
WORSE = 1.15
#: Single moments, which vary more than that from run to run: they are kept and shown, but not compared.
TAILS = ("p99", "99 %", "longest", "slowest", "worst", "spread")

HEAD = """# Performance, measured

`make bench` writes this page ([bench/](../bench), sizes in `bench/plan.py`): don't edit it. Each figure has its
baseline, measured in the same run, and its target; the head of each bench explains both.
`make bench ONLY=submit` measures one again.

`make bench` compares with the last results in `bench/results.json`. For a figure with a baseline it compares the
ratios: both parts of a ratio were measured at the same time on the same machine, so ratios of different machines can be
compared. It compares a figure without a baseline only on the same machine, and single moments such as a p99 never.
"""


@dataclass
class Result:
    """What one bench came to; `problem` says why there are no figures, or not all."""

    figures: list[Figure] = field(default_factory=list)
    problem: str = ""
    seconds: float = 0.0
    machine: str = field(default_factory=lambda: machine())
    date: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d"))
    version: str = __version__


def machine() -> str:
    """Return the processor, cores, memory and software of this machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GB, {platform.system()}, Python {platform.python_version()}"


def read(path: Path = RESULTS) -> dict[str, Result]:
    """Return the last results by bench; none where there are none."""
    if not path.exists():
        return {}
    return {name: _result(**fields) for name, fields in json.loads(path.read_text()).items()}


def _result(figures: Sequence[Mapping[str, Any]], **fields: Any) -> Result:
    return Result([Figure(**figure) for figure in figures], **fields)


def write(results: Mapping[str, Result]) -> None:
    kept = {name: asdict(result) for name, result in results.items()}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    DOCUMENT.write_text(document(results))


def comparisons(name: str, now: Result, then: Result | None) -> Iterator[str]:
    """Yield a sentence for each figure that is worse than the last."""
    last = dict(_numbered(then.figures)) if then else {}
    for key, figure in _numbered(now.figures):
        before = last.get(key)
        if before is None or any(tail in figure.name for tail in TAILS):
            continue
        if figure.baseline and before.baseline:
            kind, new, old = "times its baseline", figure.value / figure.baseline, before.value / before.baseline
        elif then and now.machine == then.machine:
            kind, new, old = figure.unit, figure.value, before.value
        else:
            continue
        if is_worse(new, old, more_is_better=figure.at_least or figure.unit.startswith("/")):
            yield f"{name}: {figure.name.strip()}: {shown(new, kind)}, last {shown(old, kind)}"


def _numbered(figures: Sequence[Figure]) -> Iterator[tuple[tuple[str, int], Figure]]:
    """Yield each with its name and how many before it have the same."""
    seen: Counter[str] = Counter()
    for figure in figures:
        yield (figure.name, seen[figure.name]), figure
        seen[figure.name] += 1


def is_worse(new: float, old: float, *, more_is_better: bool) -> bool:
    if min(new, old) <= 0:
        return False  # counts of what must not happen, which have a target
    return (old / new if more_is_better else new / old) > WORSE


def document(results: Mapping[str, Result]) -> str:
    parts = [HEAD]
    for name, result in results.items():
        parts.append(
            f"\n## {name}\n\n`bench/bench_{name}.py`, version {result.version}, {result.date}: {result.machine}.\n"
        )
        if result.problem:
            parts.append(f"\nNot measured: {result.problem}.\n")
        if result.figures:
            parts.append("\n| | figure | baseline | ratio | target | met |\n|---|---:|---:|---:|---:|---|\n")
            parts += map(_row, result.figures)
    return "".join(parts)


def _row(figure: Figure) -> str:
    baseline = "" if figure.baseline is None else shown(figure.baseline, figure.unit)
    ratio = f"{figure.value / figure.baseline:.2f}" if figure.baseline else ""
    sign = "at least" if figure.at_least else "at most"
    target = "" if figure.target is None else f"{sign} {shown(figure.target, figure.unit)}"
    met = "" if figure.target is None else "yes" if figure.ok else "**no**"
    name = figure.name.replace("|", "\\|").strip()
    return f"| {name} | {shown(figure.value, figure.unit)} | {baseline} | {ratio} | {target} | {met} |\n"
