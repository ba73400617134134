"""LogContext: its fields are on every line of its block, on no other line, and gone afterwards."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cloudtrain_site.structured_logging import LogContext, get_logger
from cloudtrain_site.structured_logging.context import context_fields
from tests.cloudtrain_site.conftest import Lines

logger = get_logger("simpletuner.cloud.jobs")


def extras(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line.get("extra", {}) for line in lines]


def test_the_documents_example_logs_what_the_document_says(log_lines: Lines) -> None:
    async def process_job(job_id: str, provider: str) -> None:
        with LogContext(job_id=job_id, provider=provider):
            logger.info("Starting job processing")
            with LogContext(step="validation"):
                logger.info("Validating configuration")
            with LogContext(step="submission"):
                logger.info("Submitting to provider")
            logger.info("Job processing complete")

    asyncio.run(process_job("xyz789", "replicate"))
    job = {"job_id": "xyz789", "provider": "replicate"}
    ours = [line for line in log_lines() if line["logger"] == "simpletuner.cloud.jobs"]
    assert extras(ours) == [job, {**job, "step": "validation"}, {**job, "step": "submission"}, job]


def test_the_innermost_value_of_a_field_wins_and_the_outer_one_comes_back() -> None:
    with LogContext(step="outer"):
        with LogContext(step="inner"):
            assert context_fields() == {"step": "inner"}
        assert context_fields() == {"step": "outer"}


def test_it_works_with_async_with() -> None:
    async def inside() -> dict[str, Any]:
        async with LogContext(job_id="j1"), LogContext(step="upload"):
            return context_fields()

    assert asyncio.run(inside()) == {"job_id": "j1", "step": "upload"}
    assert context_fields() == {}


def test_an_exception_leaves_nothing_behind() -> None:
    with pytest.raises(ZeroDivisionError), LogContext(job_id="j1"), LogContext(step="upload"):
        raise ZeroDivisionError
    assert context_fields() == {}


def test_a_cancelled_task_leaves_nothing_behind() -> None:
    async def wait_inside(entered: asyncio.Event) -> None:
        async with LogContext(job_id="j1"):
            entered.set()
            await asyncio.Event().wait()

    async def cancel() -> dict[str, Any]:
        entered = asyncio.Event()
        task = asyncio.create_task(wait_inside(entered))
        await entered.wait()
        task.cancel()
        await asyncio.wait([task])
        return context_fields()

    assert asyncio.run(cancel()) == {}


def test_one_context_may_be_entered_twice() -> None:
    context = LogContext(job_id="j1")
    with context:
        with context:
            pass
        assert context_fields() == {"job_id": "j1"}
    assert context_fields() == {}


def test_the_lines_own_field_wins_over_the_context(log_lines: Lines) -> None:
    with LogContext(attempt=1):
        logger.info("Trying", attempt=2)
    assert extras(log_lines()) == [{"attempt": 2}]


def test_a_correlation_id_in_the_context_names_the_line(log_lines: Lines) -> None:
    with LogContext(correlation_id="of-the-job"):
        logger.info("Polled")
    assert log_lines()[0]["correlation_id"] == "of-the-job"
    assert "extra" not in log_lines()[0]


def test_a_task_that_is_started_inside_keeps_the_fields() -> None:
    async def start() -> dict[str, Any]:
        may_look = asyncio.Event()

        async def look() -> dict[str, Any]:
            await may_look.wait()
            return context_fields()

        with LogContext(job_id="j1"):
            task = asyncio.create_task(look())
        may_look.set()
        return await task

    assert asyncio.run(start()) == {"job_id": "j1"}


def test_fifty_tasks_in_nested_contexts_never_see_each_other(log_lines: Lines) -> None:
    async def work(number: int) -> None:
        async with LogContext(number=number):
            await asyncio.sleep(0)
            with LogContext(inner=number):
                await asyncio.sleep(0)
                logger.info("Inside", own=number)
            await asyncio.sleep(0)

    async def all_of_them() -> None:
        await asyncio.gather(*(work(number) for number in range(50)))

    asyncio.run(all_of_them())
    found = [extra for extra in extras(log_lines()) if "own" in extra]
    assert sorted(extra["own"] for extra in found) == list(range(50))
    assert all(extra == {"number": extra["own"], "inner": extra["own"], "own": extra["own"]} for extra in found)


def test_fifty_threads_in_nested_contexts_never_see_each_other(log_lines: Lines) -> None:
    together = threading.Barrier(50)

    def work(number: int) -> None:
        with LogContext(number=number):
            together.wait()
            with LogContext(inner=number):
                together.wait()
                logger.info("Inside", own=number)

    with LogContext(outside=True), ThreadPoolExecutor(50) as pool:
        list(pool.map(work, range(50)))
    found = extras(log_lines())
    assert sorted(extra["own"] for extra in found) == list(range(50))
    assert all(extra == {"number": extra["own"], "inner": extra["own"], "own": extra["own"]} for extra in found)


def test_generators_may_leave_their_contexts_in_any_order() -> None:
    def generate(name: str) -> Generator[None, None, None]:
        with LogContext(**{name: True}):
            yield

    first, second = generate("first"), generate("second")
    next(first)
    next(second)
    first.close()
    assert context_fields() == {"second": True}
    second.close()
    assert context_fields() == {}


def test_an_abandoned_async_generator_leaves_nothing_behind() -> None:
    async def generate() -> AsyncIterator[int]:
        with LogContext(job_id="j1"):
            yield 1
            yield 2

    async def abandon() -> dict[str, Any]:
        async for _ in generate():
            break
        gc.collect()
        await asyncio.sleep(0)  # the loop closes it in a task of its own
        await asyncio.sleep(0)
        return context_fields()

    assert asyncio.run(abandon()) == {}


def test_a_task_that_is_started_after_its_end_does_not_inherit_an_abandoned_block() -> None:
    async def generate() -> AsyncIterator[int]:
        with LogContext(job_id="j1"):
            yield 1
            yield 2

    async def look() -> dict[str, Any]:
        return context_fields()

    async def abandon() -> dict[str, Any]:
        async for _ in generate():
            break
        gc.collect()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        context_fields()  # as any line does that is logged
        return await asyncio.create_task(look())

    assert asyncio.run(abandon()) == {}


def test_a_field_may_have_any_name() -> None:
    with LogContext(self=1):
        assert context_fields() == {"self": 1}
