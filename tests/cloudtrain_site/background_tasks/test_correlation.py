"""The correlation id follows a request into the tasks that it enqueues."""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterator
from multiprocessing import Value
from pathlib import Path

import pytest
from django_q.brokers import Broker
from django_q.monitor import monitor
from django_q.signing import SignedPackage
from django_q.tasks import async_task
from django_q.worker import worker
from structlog.contextvars import bound_contextvars

from cloudtrain_site.correlation_ids import correlation, current_correlation_id
from cloudtrain_site.http_client import clear_correlation_id, get_correlation_id
from cloudtrain_site.structured_logging import LogContext, configure_structured_logging, get_logger
from tests.cloudtrain_site.conftest import Lines

#: A worker looks whether its connection is still good, and there may be one of an earlier test's.
pytestmark = pytest.mark.django_db

logger = get_logger("simpletuner.cloud.background")
TASK = f"{__name__}.work"


class ListBroker(Broker):  # type: ignore[misc]
    """Keeps the packages in a list: what is looked at here is what travels in them."""

    def __init__(self) -> None:
        super().__init__(list_key="test")
        self.packages: list[str] = []

    def enqueue(self, task: str) -> int:
        """Put one at the end."""
        self.packages.append(task)
        return len(self.packages)


broker = ListBroker()


def work(number: int = 0, child: bool = False) -> str:
    with LogContext(number=number):
        logger.info("Working")
    if child:
        async_task(TASK, 1, broker=broker, save=False)
    return get_correlation_id()


def break_down() -> None:
    raise ValueError("broken")


@pytest.fixture(autouse=True)
def no_id() -> Iterator[None]:
    clear_correlation_id()
    broker.packages.clear()
    yield
    clear_correlation_id()


def run_queued_tasks() -> list[object]:
    """What django-q2's worker and monitor processes do, here: everything that waits is run. Returns the results."""
    tasks: queue.Queue[object] = queue.Queue()
    results: queue.Queue[object] = queue.Queue()
    while broker.packages:
        tasks.put(SignedPackage.loads(broker.packages.pop(0)))
        if not broker.packages:
            tasks.put("STOP")
    worker(tasks, results, Value("f", -1))
    found = [task["result"] for task in list(results.queue) if isinstance(task, dict)]
    results.put("STOP")
    monitor(results, broker)
    return found


def test_a_task_runs_under_the_id_of_the_work_that_enqueued_it(log_lines: Lines) -> None:
    with correlation("abc123"):
        async_task(TASK, 7, broker=broker, save=False)
    assert run_queued_tasks() == ["abc123"]
    (line,) = [line for line in log_lines() if line["message"] == "Working"]
    assert line["correlation_id"] == "abc123"
    assert (line["extra"]["number"], line["extra"]["task"]) == (7, TASK)


def test_a_task_that_a_task_enqueues_keeps_the_id() -> None:
    with correlation("abc123"):
        async_task(TASK, child=True, broker=broker, save=False)
    assert [run_queued_tasks(), run_queued_tasks()] == [["abc123"], ["abc123"]]


def test_tasks_that_no_work_enqueued_each_get_their_own() -> None:
    async_task(TASK, broker=broker, save=False)
    async_task(TASK, broker=broker, save=False)
    assert len(set(run_queued_tasks())) == 2


def test_nothing_of_a_task_is_left_for_the_next_one(log_lines: Lines) -> None:
    with correlation("first"):
        async_task(TASK, 1, broker=broker, save=False)
    with correlation("second"):
        async_task(TASK, 2, broker=broker, save=False)
    run_queued_tasks()
    assert current_correlation_id() is None
    found = [(line["correlation_id"], line["extra"]["number"]) for line in log_lines() if line["message"] == "Working"]
    assert found == [("first", 1), ("second", 2)]


def test_the_line_about_its_result_has_the_tasks_id(transactional_db: None, log_lines: Lines) -> None:
    with correlation("abc123"):
        async_task(TASK, broker=broker, save=False)
        async_task(f"{__name__}.break_down", broker=broker)
    run_queued_tasks()
    found = [line for line in log_lines() if line["message"].startswith(("Processed", "Failed"))]
    assert [(line["level"], line["correlation_id"]) for line in found] == [("INFO", "abc123"), ("ERROR", "abc123")]


def test_the_monitors_other_lines_do_not_have_it(log_lines: Lines) -> None:
    with correlation("abc123"):
        async_task(TASK, broker=broker, save=False)
    run_queued_tasks()
    (line,) = [line for line in log_lines() if "stopped monitoring" in line["message"]]
    assert line["correlation_id"] != "abc123"


def test_a_task_that_runs_in_place_leaves_its_surroundings_alone(db: None, log_lines: Lines) -> None:
    with correlation("abc123"), bound_contextvars(user_id=7), LogContext(job_id="j1"):
        async_task(TASK, sync=True, save=False)
        logger.info("Afterwards")
    line = log_lines()[-1]
    assert (line["correlation_id"], line["extra"]) == ("abc123", {"user_id": 7, "job_id": "j1"})


def test_at_info_the_ticks_are_quiet(log_file: Path, log_lines: Lines) -> None:
    configure_structured_logging(level="INFO", log_file=log_file)
    async_task(TASK, broker=broker, save=False)
    run_queued_tasks()
    logging.getLogger("django-q").info("Something else")
    found = [line["message"] for line in log_lines()]
    assert "Working" in found
    assert "Something else" in found
    assert not [message for message in found if "Enqueued" in message or " processing " in message]
    assert not [message for message in found if message.startswith("Processed")]
