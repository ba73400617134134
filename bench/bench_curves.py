"""How long the curves of a long log and the look at a large config take.

    python -m bench.bench_curves [--megabytes 50]

The log is one that a training on this machine wrote, with a loss, a learning rate, the norm of the gradients and video
memory in each line; it is read once by a process that has not seen it, and again after it grew by 100 lines. The
config has 200 kB: every option of SimpleTuner, each misspelt once.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.database import database
from bench.stack import Figure, print_table

LOSS = re.compile(r"step_loss=([\d.e+-]+)")

LINE = (
    "Epoch 1/9, Steps:  42%|####      | {n}/999999 [{m:02}:{s:02}<11:40,  1.20s/it, grad_norm=0.42, "
    "lr=9.34e-5, step_loss=0.0873, vram=21.5GB]\n"
)


def line(step: int) -> str:
    return LINE.format(n=step, m=step // 60, s=step % 60)


def cpu_ms(work: Callable[[], object]) -> float:
    cpu = time.process_time()
    work()
    return (time.process_time() - cpu) * 1000


def read_lines(path: Path) -> None:
    with path.open() as file:
        for text in file:
            LOSS.search(text)


def log_figures(megabytes: int) -> Iterator[Figure]:
    from django.conf import settings

    from jobs.curves.reading import curves_of
    from jobs.models import Job
    from jobs.statuses import JobStatus

    job = Job(id="0" * 26, provider="local", external_id="0" * 26, status=JobStatus.RUNNING, config={})
    path = settings.DATA_DIR / "jobs" / job.pk / "train.log"
    path.parent.mkdir(parents=True)
    step = 0
    with path.open("w") as file:
        while file.tell() < megabytes * 1_000_000:
            step += 1
            file.write(line(step))
    plain = cpu_ms(lambda: read_lines(path))
    yield Figure(f"curves of a log of {megabytes} MB", cpu_ms(lambda: curves_of(job)), "ms", plain)
    yield Figure("again", cpu_ms(lambda: curves_of(job)), "ms", plain)
    with path.open("a") as file:
        file.writelines(line(step + more) for more in range(1, 101))
    yield Figure("again, 100 lines later", cpu_ms(lambda: curves_of(job)), "ms", plain)


def config_figure() -> Figure:
    from jobs.configs.known_keys import findings_in
    from jobs.configs.option_lists import simpletuners

    names = list(simpletuners().options)
    config = dict.fromkeys(names, "x" * 330) | {f"{name}x": 1 for name in names}
    text = json.dumps(config)
    plain = cpu_ms(lambda: json.loads(text))
    used = cpu_ms(lambda: findings_in("local", config, [], {}))
    return Figure(f"a look at a config of {len(text) // 1000} kB", used, "ms", plain)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=50)
    arguments = parser.parse_args()
    with database("sqlite"):
        found = [*log_figures(arguments.megabytes), config_figure()]
    return print_table("Processor time; baseline: one pattern a line, json.loads of the config", found)


if __name__ == "__main__":
    sys.exit(main())
