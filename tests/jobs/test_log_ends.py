"""The last lines of a log, of which only the end is read; and what a reader keeps from others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from jobs import logs
from jobs.models import Job
from jobs.providers import get_provider
from jobs.statuses import JobStatus

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


@pytest.fixture
def log(make_job: Callable[..., Job], settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr(logs, "READ_LIMIT_BYTES", 100)
    job = make_job(status=JobStatus.COMPLETED)
    Job.objects.filter(pk=job.pk).update(external_id=job.pk)
    (tmp_path / "jobs" / job.pk).mkdir(parents=True)
    return tmp_path / "jobs" / job.pk / "train.log"


@pytest.mark.parametrize("count", [1, 3, 30, 200, 1000])
@pytest.mark.parametrize("start", [0, 1000, 2880])
@pytest.mark.parametrize("end", ["\n", "\r", ""])
def test_they_are_those_of_the_whole_log(log: Path, count: int, start: int, end: str) -> None:
    text = "".join(f"line {number} é\n" for number in range(220)) + f"the last{end}"
    log.write_text(text)
    piece = logs.read_end(Job.objects.get(), start=start, lines=count)
    assert piece.text == logs.last_lines(text.encode()[start:].decode("utf-8", "ignore"), count)
    assert (piece.start, piece.end) == (start, len(text.encode()))


def test_what_is_long_before_them_is_not_read(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.write_text("".join(f"line {number}\n" for number in range(100_000)))
    starts = []
    read_log = logs.read_log

    def record(job: Job, *, start: int = 0, limit: int | None = None) -> Any:
        starts.append(start)
        return read_log(job, start=start, limit=limit)

    monkeypatch.setattr(logs, "read_log", record)
    assert logs.read_end(Job.objects.get(), start=0, lines=3).text == "line 99997\nline 99998\nline 99999\n"
    assert len(starts) < 5


def test_one_long_line_is_read_from_its_beginning(log: Path) -> None:
    log.write_text(f"first\n{'x' * 5000}\n")
    assert logs.read_end(Job.objects.get(), start=0, lines=1).text == f"{'x' * 5000}\n"


@pytest.mark.parametrize("text", ["", "one line", "one\n"])
def test_a_short_log_is_all_of_it(log: Path, text: str) -> None:
    log.write_text(text)
    assert logs.read_end(Job.objects.get(), start=0, lines=50).text == text


def test_there_may_be_none(log: Path) -> None:
    piece = logs.read_end(Job.objects.get(), start=0, lines=50)
    assert (piece.text, piece.end) == ("", 0)


@pytest.mark.django_db(transaction=True)
def test_a_reader_whose_provider_is_slow_holds_no_database_connection(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.write_text("one\n")
    job, provider = Job.objects.get(), get_provider("local")
    held: list[bool] = []
    closings: list[int] = []
    read_log = provider.read_log

    async def reading(*arguments: Any, **named: Any) -> Any:
        held.append(not closings)
        return await read_log(*arguments, **named)

    monkeypatch.setattr(connection, "close", lambda: closings.append(1))
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"pool": {"max_size": 10}})
    monkeypatch.setattr(provider, "read_log", reading)
    monkeypatch.setattr(logs, "get_provider", lambda name: provider)
    assert logs.read_log(job).text == "one\n"
    assert held == [False]
