"""How long reading the progress from 50 kB of log takes, beside a plain reader with one pattern a field.

    python -m bench.bench_progress

The plain reader tries each pattern on each line, first to last, as one writes it first.
Times are the best of several runs.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator

from bench.stack import Figure, print_table
from jobs.curves.series import read_series
from jobs.providers.progress import read_progress

SIZE = 50_000
RUNS = 20
MOST_SECONDS = 2.0

STAGES = {
    "Preprocessing": re.compile(r"(preprocessing|loading)", re.IGNORECASE),
    "Warmup": re.compile(r"(warming up|warmup)", re.IGNORECASE),
    "Validation": re.compile(r"validat", re.IGNORECASE),
    "Saving checkpoint": re.compile(r"checkpoint", re.IGNORECASE),
    "Training": re.compile(r"(step|epoch)", re.IGNORECASE),
}
STEP = re.compile(r"\bsteps?\b.*?(\d+)\s*/\s*(\d+)", re.IGNORECASE)
EPOCH = re.compile(r"\bepoch\D*(\d+)\s*/\s*(\d+)", re.IGNORECASE)
LOSS = re.compile(r"loss\W*([\d.e+-]+)", re.IGNORECASE)
RATE = re.compile(r"(?:lr|learning.rate)\W*([\d.e+-]+)", re.IGNORECASE)


def read_plainly(text: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for line in re.split(r"[\r\n]+", text):
        for stage, pattern in STAGES.items():
            if pattern.search(line):
                found["stage"] = stage
                break
        for name, pattern in (("step", STEP), ("epoch", EPOCH), ("loss", LOSS), ("rate", RATE)):
            if match := pattern.search(line):
                found[name] = match.groups()
    return found


def fill(line: str) -> str:
    """SIZE characters of a line, its `{n}` counting up."""
    lines = [line.format(n=n) for n in range(SIZE // len(line) + 1)]
    return "".join(lines)[:SIZE]


LOGS = {
    "SimpleTuner bars": fill(
        "Epoch 1/1, Steps:  42%|####      | {n}/5000 [08:19<11:40,  1.20s/it, lr=9.34e-5, step_loss=0.0873]\r"
    ),
    "unnamed bars": fill(" 10%|#         | {n}/5000 [00:45<06:49,  1.52s/it]\r"),
    "step lines": fill("2026-01-01 12:00:00 INFO Step {n}/5000 - loss: 0.0234 - lr: 1e-4\n"),
    "nothing to find": fill("2026-01-01 12:00:00 INFO moved another {n} of the many tensors to where they belong\n"),
    "one long line": "step 1 " * (SIZE // 7),
}


def best_time(read: Callable[[str], object], text: str) -> float:
    """Seconds of the fastest of RUNS runs; of fewer where one takes long."""
    times: list[float] = []
    while len(times) < RUNS and sum(times) < MOST_SECONDS:
        start = time.perf_counter()
        read(text)
        times.append(time.perf_counter() - start)
    return min(times)


def figures() -> Iterator[Figure]:
    for name, text in LOGS.items():
        ours, plain, series = (best_time(read, text) * 1000 for read in (read_progress, read_plainly, read_series))
        yield Figure(f"progress of {name}", ours, "ms", plain)
        yield Figure(f"curves of {name}", series, "ms", plain)


if __name__ == "__main__":
    sys.exit(print_table("50 kB of log; baseline: the plain reader", list(figures())))
