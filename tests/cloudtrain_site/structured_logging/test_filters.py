"""CorrelationIDFilter puts the id of the thread or task that logs on the record, where the formatters find it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cloudtrain_site.correlation_ids import correlation, current_correlation_id, process_correlation_id
from cloudtrain_site.structured_logging import CorrelationIDFilter, LogContext, configure_structured_logging, get_logger
from cloudtrain_site.structured_logging.formatters import JsonFormatter
from cloudtrain_site.structured_logging.handlers import LineHandler
from tests.cloudtrain_site.conftest import Lines

logger = get_logger("simpletuner.cloud.jobs")
Ids = Callable[[], list[str]]


class Hostile:
    def __bool__(self) -> bool:
        raise RuntimeError("neither true nor false")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("equal to nothing")

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.fixture
def ids() -> Iterator[Ids]:
    """The ids on the records that have passed a handler of somebody else's, which has the filter."""
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(logging.Formatter("%(correlation_id)s"))
    handler.addFilter(CorrelationIDFilter())
    logging.getLogger().addHandler(handler)
    yield lambda: output.getvalue().splitlines()
    logging.getLogger().removeHandler(handler)


def test_each_handler_that_is_configured_has_it(tmp_path: Path, log_file: Path) -> None:
    configure_structured_logging(log_file=tmp_path / "cloud.log")
    handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, LineHandler)]
    filters = [[type(filter_) for filter_ in handler.filters] for handler in handlers]
    assert filters == [[CorrelationIDFilter]] * 2


def test_a_record_that_has_passed_a_handler_has_the_id(log_file: Path) -> None:
    (handler, *_) = [handler for handler in logging.getLogger().handlers if isinstance(handler, LineHandler)]
    record = logging.makeLogRecord({"msg": "Hello", "levelname": "INFO"})
    with correlation("abc123"):
        handler.handle(record)
    assert record.__dict__["correlation_id"] == "abc123"


def test_handlers_of_others_can_write_it_too(log_file: Path, ids: Ids) -> None:
    with correlation("abc123"):
        logger.info("Hello")
        logging.getLogger("a.library").warning("Hello")
    assert ids() == ["abc123", "abc123"]


def test_a_thread_and_a_task_each_log_their_own(log_file: Path, log_lines: Lines, ids: Ids) -> None:
    def in_thread(name: str) -> None:
        assert current_correlation_id() is None
        with correlation(name):
            logger.info("Hello")

    async def in_task(name: str) -> None:
        with correlation(name):
            await asyncio.sleep(0)
            logger.info("Hello")

    async def in_tasks() -> None:
        await asyncio.gather(*(in_task(f"task-{number}") for number in range(3)))

    with correlation("outer"), ThreadPoolExecutor(3) as pool:
        list(pool.map(in_thread, ["thread-0", "thread-1", "thread-2"]))
        asyncio.run(in_tasks())
        logger.info("Hello")
    expected = {"thread-0", "thread-1", "thread-2", "task-0", "task-1", "task-2", "outer"}
    assert set(ids()) == {line["correlation_id"] for line in log_lines() if line["message"] == "Hello"} == expected


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({}, "of-the-context"),
        ({"correlation_id": ""}, "of-the-context"),
        ({"correlation_id": "of-the-line"}, "of-the-line"),
        ({"correlation_id": 5}, "5"),
        ({"correlation_id": Hostile()}, "<Hostile without a repr>"),
    ],
)
def test_the_nearest_id_wins(log_file: Path, log_lines: Lines, extra: dict[str, object], expected: str) -> None:
    with correlation("of-the-work"), LogContext(correlation_id="of-the-context", job_id="j1"):
        logging.getLogger("a.library").info("Hello", extra=extra)
    (line,) = log_lines()
    assert (line["correlation_id"], line["extra"]) == (expected, {"job_id": "j1"})


def test_without_any_work_it_is_that_of_the_process(log_file: Path, ids: Ids) -> None:
    logger.info("Hello")
    assert ids() == [process_correlation_id()]


@pytest.mark.parametrize("extra", [{}, {"job_id": "j1"}])
def test_a_handler_that_lacks_it_writes_no_id_and_all_the_rest(extra: dict[str, object]) -> None:
    record = logging.makeLogRecord({"msg": "Hello", "levelname": "INFO", **extra})
    with LogContext(provider="replicate"):
        line = json.loads(JsonFormatter().format(record))
    assert (line["correlation_id"], line["extra"]) == ("", {"provider": "replicate", **extra})
