"""The figures of a log that is looked at again and again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from jobs import logs
from jobs.curves import columns
from jobs.curves import reading as curves
from jobs.curves.reading import curves_of
from jobs.curves.series import Series, read_series
from jobs.models import Job
from jobs.statuses import JobStatus

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]


def lines(first: int, last: int, loss: str = "0.") -> str:
    return "".join(f"step {step}/900 loss: {loss}{step}\n" for step in range(first, last))


@pytest.fixture
def job(make_job: MakeJob, settings: Any, tmp_path: Path) -> Job:
    settings.DATA_DIR = tmp_path
    job = make_job(status=JobStatus.COMPLETED)
    job.external_id = job.pk
    (tmp_path / "jobs" / job.pk).mkdir(parents=True)
    return job


@pytest.fixture
def log(job: Job, tmp_path: Path) -> Path:
    return tmp_path / "jobs" / job.pk / "train.log"


@pytest.fixture
def taken_in(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many characters were read, each time."""
    counted: list[int] = []
    read = Series.read

    def count(series: Series, text: str) -> None:
        counted.append(len(text))
        read(series, text)

    monkeypatch.setattr(Series, "read", count)
    return counted


def append(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def test_however_many_look_the_log_is_read_once(job: Job, log: Path, taken_in: list[int]) -> None:
    append(log, lines(100, 900))
    with ThreadPoolExecutor(8) as viewers:
        curves = list(viewers.map(lambda _: curves_of(job), range(20)))
    assert curves == [read_series(log.read_text())] * 20
    assert sum(taken_in) == log.stat().st_size


def test_only_what_is_new_is_read(job: Job, log: Path, taken_in: list[int]) -> None:
    append(log, lines(100, 300))
    curves_of(job)
    append(log, lines(300, 310))
    assert curves_of(job) == read_series(lines(100, 310))
    assert taken_in == [len(lines(100, 300)), len(lines(300, 310))]


def test_a_line_that_is_being_written_counts_and_is_read_again_when_it_is_whole(job: Job, log: Path) -> None:
    text = "step 1/9 loss: 0.5\nstep 2/9 loss: 0.45\rstep 3/9 loss: 0.375\n"
    for end in range(1, len(text) + 1):
        log.write_text(text[:end])
        assert curves_of(job) == read_series(text[:end])


def test_a_training_that_goes_over_the_same_steps_again_has_its_later_figures(job: Job, log: Path) -> None:
    append(log, lines(100, 300))
    curves_of(job)
    append(log, lines(250, 320, "1."))
    assert curves_of(job) == read_series(log.read_text())
    assert curves_of(job).series["loss"][150] == (250, 1.25)


@pytest.mark.parametrize(
    "other",
    [lines(100, 120), lines(100, 300, "3."), lines(100, 500, "3."), ""],
    ids=["less", "as much", "more", "none"],
)
def test_a_log_that_was_replaced_is_read_from_its_beginning(job: Job, log: Path, other: str) -> None:
    append(log, lines(100, 300))
    curves_of(job)
    log.write_text(other)
    assert curves_of(job) == read_series(other)
    append(log, lines(500, 510))
    assert curves_of(job) == read_series(other + lines(500, 510))


def test_what_is_no_text_is_read_once_too(job: Job, log: Path, taken_in: list[int]) -> None:
    log.write_bytes(lines(100, 110).encode() + b"\xff\xfe\xc3" * 100 + b"\n" + lines(110, 120).encode())
    assert curves_of(job) == curves_of(job) == read_series(log.read_text(errors="replace"))
    assert len(taken_in) == 1
    log.write_bytes(lines(100, 110).encode() + b"\xff")
    curves_of(job)
    log.write_text(lines(300, 302))
    assert curves_of(job) == read_series(lines(300, 302))


def test_small_pieces_make_the_same_curves(job: Job, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "READ_LIMIT_BYTES", 7)
    append(log, f"é\n{lines(100, 130)}")
    assert curves_of(job) == read_series(lines(100, 130))


def test_a_log_that_cannot_be_read_now_keeps_its_curves(job: Job, log: Path) -> None:
    append(log, lines(100, 110))
    curves_of(job)
    folder = log.parent
    folder.rename(folder.with_suffix(".away"))
    assert curves_of(job) == read_series(lines(100, 110))
    folder.with_suffix(".away").rename(folder)
    append(log, lines(110, 120))
    assert curves_of(job) == read_series(lines(100, 120))


def test_what_is_remembered_is_bounded(
    job: Job, log: Path, make_job: MakeJob, taken_in: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    append(log, lines(100, 300))
    monkeypatch.setattr(curves, "MAX_POINTS", 250)
    curves_of(job)
    curves_of(job)
    assert len(taken_in) == 1  # the last one is remembered however long it is
    other = make_job(status=JobStatus.COMPLETED)
    other.external_id = other.pk
    (log.parent.parent / other.pk).mkdir()
    append(log.parent.parent / other.pk / "train.log", lines(100, 200))
    curves_of(other)
    assert [key for key in curves._readings if key in (job.pk, other.pk)] == [other.pk]
    assert curves_of(job) == read_series(lines(100, 300))


@pytest.mark.parametrize("limit", [7, 300, 2_000_000])
def test_a_secret_that_the_trainer_printed_stops_nobody(
    job: Job, log: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is blotted out has other words in its place, and other words again when only its end is read."""
    monkeypatch.setattr(logs, "READ_LIMIT_BYTES", limit)
    job.config = {"hf_token": "***"}
    job.sealed = "can't be opened"
    text = lines(100, 110) + "HF_TOKEN=hf_" + "abcdefghij" * 4 + " " + lines(110, 120).replace("\n", "\r")
    append(log, text)
    assert curves_of(job).series["loss"][-1] == (119, 0.119)
    append(log, lines(120, 130))
    assert curves_of(job).series["loss"][-1] == (129, 0.129)


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs of more than 1,000 bytes are too long to be read whole."""
    monkeypatch.setattr(curves, "MAX_BYTES", 1000)
    monkeypatch.setattr(curves, "SAMPLES", 10)
    monkeypatch.setattr(curves, "SAMPLE_BYTES", 100)


def test_a_log_without_end_is_read_here_and_there(job: Job, log: Path, sampled: None, taken_in: list[int]) -> None:
    append(log, f"é\n{lines(100, 900)}")
    loss = curves_of(job).series["loss"]
    steps = [step for step, _ in loss]
    assert {step: float(f"0.{step}") for step in steps} == dict(loss)  # no value of a line that was cut
    assert (steps[0], steps[-1]) == (100, 899)
    assert 20 < len(steps) < 60
    assert max(after - before for before, after in pairwise(steps)) < 100
    assert sum(taken_in) <= 1000
    append(log, lines(900, 905))
    assert curves_of(job).series["loss"] == [*loss, *read_series(lines(900, 905)).series["loss"]]
    log.write_text(lines(100, 110))
    assert curves_of(job) == read_series(lines(100, 110))


def test_much_that_is_new_at_once_too(job: Job, log: Path, sampled: None) -> None:
    append(log, lines(100, 120) + "step 120/900 lo")
    curves_of(job)
    append(log, "ss: 0.5\n" + lines(121, 900))
    loss = curves_of(job).series["loss"]
    assert loss[:21] == [*read_series(lines(100, 120)).series["loss"], (120, 0.5)]
    assert (loss[-1], len(loss) < 80) == ((899, 0.899), True)


class TestLongCurves:
    @pytest.fixture(autouse=True)
    def _keep_few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(columns, "MAX_POINTS", 10)

    @pytest.mark.parametrize("together", [1, 7, 1000])
    def test_they_keep_their_ends_and_their_extremes(self, together: int) -> None:
        values = {step: 0.5 + step % 7 / 100 for step in range(1000)} | {321: -9.0, 654: 9.0}
        series = Series()
        for first in range(0, 1000, together):
            steps = range(first, min(first + together, 1000))
            series.read("".join(f"step {step}/2000 loss: {values[step]}\n" for step in steps))
        points = series.curves().series["loss"]
        assert {(0, values[0]), (321, -9.0), (654, 9.0), (999, values[999])} <= set(points)
        assert set(points) <= set(values.items())
        assert 10 <= len(points) <= 25
        assert points == sorted(points)
        assert max(after - before for (before, _), (after, _) in pairwise(points)) < 300

    def test_short_ones_keep_all(self) -> None:
        assert len(read_series(lines(100, 120)).series["loss"]) == 20

    def test_steps_that_come_again_have_their_later_values(self) -> None:
        series = Series()
        series.read(lines(100, 200))
        series.read(lines(150, 210, "1."))
        points = series.curves().series["loss"]
        assert all(value == float(f"{'1.' if step >= 150 else '0.'}{step}") for step, value in points if step < 150)
        assert points[-1] == (209, 1.209)
        assert len(points) <= 25

    def test_a_line_that_is_being_written_comes_last(self) -> None:
        series = Series()
        series.read(lines(100, 200))
        assert series.curves("step 200/900 loss: 0.25").series["loss"][-2:] == [(199, 0.199), (200, 0.25)]
