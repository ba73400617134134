"""What a log line costs beside a plain formatter that writes the same fields, and whether lines stay whole.

    python -m bench.bench_logging

The plain formatter builds the documented object by hand, with `json.dumps` and no masking. All of them log to files
of the same kind, in turns, and the best of the turns counts. Exits 1 when a figure misses its target.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import django
import structlog

from bench.stack import Figure, print_table

TURNS = 30
LINES_A_TURN = 500
PROCESSES = 4
LINES = 100_000

MESSAGE = "Job submitted successfully"
EXAMPLE = {"job_id": "xyz789", "provider": "replicate", "cost_estimate": 2.50}


class PlainFormatter(logging.Formatter):
    """The same fields, as one writes it first."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "timestamp": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "correlation_id": record.correlation_id,
            "source": {"file": record.filename, "line": record.lineno, "function": record.funcName},
            "extra": {name: getattr(record, name) for name in EXAMPLE},
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def times(name: str, value: float, plain: float, most: float) -> Figure:
    """A figure that may be `most` times that of the plain formatter."""
    return Figure(name, value, "us", plain, most * plain)


def best_of_turns(works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Microseconds a call of each, measured in turns: a busy moment of the machine then hits all of them."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(TURNS):
        for name, work in works.items():
            started = time.perf_counter()
            for _ in range(LINES_A_TURN):
                work()
            best[name] = min(best[name], (time.perf_counter() - started) / LINES_A_TURN * 1e6)
    return best


def plain_logger(folder: Path) -> logging.Logger:
    handler = logging.FileHandler(folder / "plain.log")
    handler.setFormatter(PlainFormatter())
    logger = logging.getLogger("bench.plain")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    return logger


def line_figures(folder: Path) -> Iterator[Figure]:
    from cloudtrain_site.http_client import set_correlation_id
    from cloudtrain_site.structured_logging import LogContext, get_logger

    set_correlation_id("abc123def456")
    plain = plain_logger(folder)
    name = "simpletuner.cloud.jobs"
    own, stdlib, lazy = get_logger(name), logging.getLogger(name), structlog.get_logger(name)
    extra = {**EXAMPLE, "correlation_id": "abc123def456"}

    def in_context() -> None:
        with LogContext(job_id="xyz789", provider="replicate"):
            own.info(MESSAGE, cost_estimate=2.50)

    best = best_of_turns(
        {
            "plain": lambda: plain.info(MESSAGE, extra=extra),
            "get_logger": lambda: own.info(MESSAGE, **EXAMPLE),
            "structlog": lambda: lazy.info(MESSAGE, **EXAMPLE),
            "stdlib": lambda: stdlib.info(MESSAGE, extra=EXAMPLE),
            "in context": in_context,
            "secret": lambda: own.info(MESSAGE, **EXAMPLE, hf_token="unused"),
            "debug": lambda: own.debug(MESSAGE, **EXAMPLE),
            "lazy debug": lambda: lazy.debug(MESSAGE, **EXAMPLE),
        }
    )
    yield times("a line of get_logger", best["get_logger"], best["plain"], 2.5)
    yield times("a line of structlog.get_logger", best["structlog"], best["plain"], 2.5)
    yield times("a line of logging.getLogger", best["stdlib"], best["plain"], 2.5)
    yield times("a line in a LogContext of its own", best["in context"], best["plain"], 2.5)
    yield times("a line with a secret to mask", best["secret"], best["plain"], 10)
    yield Figure("a DEBUG line that is filtered out", best["debug"], "us", target=5)
    yield Figure("the same, of structlog.get_logger", best["lazy debug"], "us", target=5)


def size_figure(folder: Path) -> Figure:
    """The document's own example, logged from a function and a file of the names that it has there."""
    path = folder / "jobs.py"
    path.write_text("\n" * 349 + "def submit_job(logger, extra): logger.info('Job submitted successfully', **extra)\n")
    scope: dict[str, Callable[..., None]] = {}
    exec(compile(path.read_text(), str(path), "exec"), scope)
    from cloudtrain_site.structured_logging import get_logger

    log = folder / "cloud.log"
    before = log.stat().st_size
    scope["submit_job"](get_logger("simpletuner.cloud.jobs"), EXAMPLE)
    return Figure("bytes of the document's example", log.stat().st_size - before - 1, "B", target=330)


def write_lines(path: Path, name: str, count: int) -> None:
    from cloudtrain_site.structured_logging import configure_structured_logging, get_logger

    configure_structured_logging(log_file=path)
    sys.stdout = None  # the file alone
    logger = get_logger("simpletuner.cloud.jobs")
    for number in range(count):
        logger.info("x" * (number % 300), worker=name, number=number)


def broken_lines(folder: Path) -> Figure:
    """How many of the lines that four processes write to one file are torn, doubled or lost."""
    path = folder / "shared.log"
    count = LINES // PROCESSES
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=write_lines, args=(path, f"w{n}", count)) for n in range(PROCESSES)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seen, torn = set(), 0
    for line in path.read_bytes().splitlines():
        try:
            extra = json.loads(line)["extra"]
            seen.add((extra["worker"], extra["number"]))
        except (ValueError, KeyError):
            torn += 1
    return Figure(f"broken of {LINES} lines of {PROCESSES} processes", torn + LINES - len(seen), "lines", target=0)


def request_figure() -> Figure:
    from django.http import HttpRequest, HttpResponse
    from django.test import RequestFactory

    from cloudtrain_site.correlation import CorrelationMiddleware

    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    factory = RequestFactory()
    ours = CorrelationMiddleware(view)
    best = best_of_turns(
        {
            "bare": lambda: view(factory.get("/")),
            "ours": lambda: ours(factory.get("/", headers={"X-Correlation-ID": "abc123"})),
        }
    )
    return Figure("what the id and its line add to a request", best["ours"] - best["bare"], "us", target=300)


def figures(folder: Path) -> Iterator[Figure]:
    from cloudtrain_site.structured_logging import configure_structured_logging

    configure_structured_logging(log_file=folder / "cloud.log")
    # Only the file: the plain logger has one way out as well.
    logging.getLogger().handlers[:] = logging.getLogger().handlers[-1:]
    yield from line_figures(folder)
    yield size_figure(folder)
    yield request_figure()
    yield broken_lines(folder)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        os.environ.update(SIMPLETUNER_DATA_DIR=name, DJANGO_SETTINGS_MODULE="cloudtrain_site.settings")
        django.setup()
        return print_table("A line of log; baseline: the plain formatter", list(figures(Path(name))))


if __name__ == "__main__":
    sys.exit(main())
