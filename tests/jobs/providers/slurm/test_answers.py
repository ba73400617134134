"""What a training's state is, by Slurm's word and by the runner's records."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.providers.base import Snapshot
from jobs.providers.slurm import answers, shapes
from jobs.providers.slurm.folder import SharedFolder
from jobs.providers.slurm.shapes import SlurmJob
from jobs.statuses import JobStatus

MARKER = "ct-0123456789abcdef01234567"
BEGAN, ENDED = datetime(2026, 11, 1, 12, tzinfo=UTC), datetime(2026, 11, 1, 13, tzinfo=UTC)
[RUNNING, WAITING] = shapes.read_jobs(
    json.loads((Path(__file__).parent / "data" / "jobs_v0.0.38.json").read_text()),
)
RUNNING = replace(RUNNING, started_at=BEGAN)
OVER = replace(RUNNING, ended_at=ENDED)
CANCELLED, COMPLETED, FAILED = JobStatus.CANCELLED, JobStatus.COMPLETED, JobStatus.FAILED


@pytest.fixture
def folder(tmp_path: Path) -> SharedFolder:
    folder = SharedFolder(tmp_path, MARKER)
    folder.prepare()
    return folder


@pytest.fixture
def ended_so(folder: SharedFolder) -> Callable[..., SharedFolder]:
    """A training whose runner recorded how it ended."""

    def make(code: int | None = None, *, stopped: bool = False, error: str | None = None) -> SharedFolder:
        start = {"started_at": BEGAN.isoformat()}
        end = {"exit_code": code, "stopped": stopped, "error": error, "ended_at": ENDED.isoformat()}
        (folder.path / "process.json").write_text(json.dumps(start))
        (folder.path / "exit.json").write_text(json.dumps(end))
        (folder.path / "slurm_job").write_text(f"{OVER.job_id}\n")
        return folder

    return make


def state(folder: SharedFolder, job: SlurmJob, *, asked: bool = False) -> Snapshot:
    asked_at = ENDED - timedelta(minutes=1) if asked else None
    return answers.training_snapshot(MARKER, job, folder, answers.Records.of(folder), asked_at)


@pytest.mark.parametrize(
    ("word", "status", "sentence"),
    [
        ("COMPLETED", COMPLETED, ""),
        ("OUT_OF_MEMORY", COMPLETED, ""),  # of a process beside it
        ("NODE_FAIL", COMPLETED, ""),
        ("CANCELLED", CANCELLED, "The job was cancelled at the cluster."),
        ("TIMEOUT", FAILED, "Slurm ended the job at its time limit of 90 minutes (TIMEOUT)."),
        ("DEADLINE", FAILED, "Slurm ended the job at its deadline (DEADLINE)."),
        ("PREEMPTED", CANCELLED, "Slurm stopped the job in favor of another one (PREEMPTED)."),
    ],
)
def test_a_trainer_that_ended_well_in_a_job_that(
    ended_so: Callable[..., SharedFolder], word: str, status: JobStatus, sentence: str
) -> None:
    snapshot = state(ended_so(0), replace(OVER, state=word))
    assert (snapshot.status, snapshot.error_message or "") == (status, sentence)
    assert (snapshot.billed_seconds, snapshot.completed_at) == (3600.0, ENDED)


@pytest.mark.parametrize(
    ("word", "status", "sentence"),
    [
        ("FAILED", FAILED, "The job failed on n[1-2]: it ended with exit code 0 (FAILED)."),
        ("NODE_FAIL", FAILED, "A node of the job failed on n[1-2] (NODE_FAIL)."),
        ("OUT_OF_MEMORY", FAILED, "The job needed more memory than it requested on n[1-2] (OUT_OF_MEMORY)."),
        ("BOOT_FAIL", FAILED, "The job's nodes could not be started on n[1-2] (BOOT_FAIL)."),
        ("TIMEOUT", FAILED, "Slurm ended the job at its time limit of 90 minutes (TIMEOUT)."),
        ("CANCELLED", CANCELLED, "The job was cancelled at the cluster."),
        ("REVOKED", CANCELLED, "The job runs on another cluster of the federation (REVOKED)."),
        ("COMPLETED", COMPLETED, ""),
    ],
)
def test_a_job_whose_runner_recorded_no_end(folder: SharedFolder, word: str, status: JobStatus, sentence: str) -> None:
    (folder.path / "process.json").write_text(json.dumps({"started_at": BEGAN.isoformat()}))
    snapshot = state(folder, replace(OVER, state=word))
    assert (snapshot.status, snapshot.error_message or "") == (status, sentence)
    again = answers.forgotten_snapshot(MARKER, folder, answers.Records.of(folder), None)
    assert again
    assert again.status in (status, FAILED)  # Slurm has forgotten it meanwhile


@pytest.mark.parametrize(
    ("end", "asked", "status", "sentence"),
    [
        ({"code": 0}, False, COMPLETED, ""),
        ({"code": 0}, True, COMPLETED, ""),
        ({"code": 3}, False, FAILED, "The trainer ended with exit code 3."),
        ({"code": 3}, True, FAILED, "The trainer ended with exit code 3."),
        ({"code": -15}, False, FAILED, answers.STOPPED),
        ({"code": -15}, True, CANCELLED, ""),
        ({"code": 143}, True, CANCELLED, ""),
        ({"code": 143}, False, FAILED, "The trainer ended with exit code 143."),
        ({"code": 0, "stopped": True}, True, CANCELLED, ""),
        ({"code": 0, "stopped": True}, False, FAILED, answers.STOPPED),
        ({"code": None, "error": "No such trainer."}, True, FAILED, "No such trainer."),
    ],
)
def test_an_end_by_the_runners_word(
    ended_so: Callable[..., SharedFolder], end: dict[str, Any], asked: bool, status: JobStatus, sentence: str
) -> None:
    folder = ended_so(**end)
    for word in ("COMPLETED", "FAILED"):
        snapshot = state(folder, replace(OVER, state=word), asked=asked)
        assert (snapshot.status, snapshot.error_message or "") == (status, sentence)
    forgotten = answers.forgotten_snapshot(
        MARKER, folder, answers.Records.of(folder), ENDED - timedelta(minutes=1) if asked else None
    )
    assert forgotten
    assert (forgotten.status, forgotten.error_message or "", forgotten.billed_seconds) == (status, sentence, 3600.0)


def test_records_that_a_network_file_system_shows_late_are_read_again(ended_so: Callable[..., SharedFolder]) -> None:
    folder, none_seen = ended_so(3), answers.Records()
    for look in (
        lambda: answers.training_snapshot(MARKER, replace(OVER, state="FAILED"), folder, none_seen, None),
        lambda: answers.forgotten_snapshot(MARKER, folder, none_seen, None),
    ):
        snapshot = look()
        assert snapshot
        assert snapshot.error_message == "The trainer ended with exit code 3."


def test_a_damaged_record_is_replaced(ended_so: Callable[..., SharedFolder]) -> None:
    folder = ended_so(3)
    (folder.path / "exit.json").write_text("")
    snapshot = state(folder, replace(OVER, state="NODE_FAIL"))
    assert snapshot.status == FAILED
    assert json.loads((folder.path / "exit.json").read_text())["error"] == snapshot.error_message


@pytest.mark.parametrize("word", ["RUNNING", "COMPLETING", "RESIZING", "SIGNALING"])
def test_a_job_that_runs(folder: SharedFolder, word: str) -> None:
    snapshot = state(folder, replace(RUNNING, state=word))
    assert (snapshot.status, snapshot.started_at, snapshot.completed_at) == (JobStatus.RUNNING, BEGAN, None)
    assert snapshot.billed_seconds is None  # its end is a forecast


def test_a_word_that_nobody_knows_changes_nothing(folder: SharedFolder) -> None:
    assert state(folder, replace(RUNNING, state="LEVITATING")).status is None


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("Resources", "The cluster waits for 1 GPU: Resources."),
        ("Priority", "The cluster keeps the job waiting, as other jobs have priority: Priority."),
        ("None", "The cluster has not considered the job yet."),
        (
            "QOSMaxGRESPerUser",
            "The cluster keeps the job waiting, as its account or quality of service is at a limit: QOSMaxGRESPerUser.",
        ),
        (
            "AssocGrpCpuLimit",
            "The cluster keeps the job waiting, as its account or quality of service is at a limit: AssocGrpCpuLimit.",
        ),
        ("DelayedByTheMoon", "The cluster keeps the job waiting: DelayedByTheMoon."),
        (
            "ReqNodeNotAvail, UnavailableNodes:n[1-2]",
            "The cluster keeps the job waiting, as nodes that it needs are down or reserved: "
            "ReqNodeNotAvail, UnavailableNodes:n[1-2].",
        ),
    ],
)
def test_why_a_job_waits(folder: SharedFolder, reason: str, sentence: str) -> None:
    snapshot = state(folder, replace(WAITING, reason=reason))
    assert (snapshot.status, snapshot.waiting_reason) == (JobStatus.QUEUED, sentence)


def test_a_paused_job_waits(folder: SharedFolder) -> None:
    snapshot = state(folder, replace(RUNNING, state="SUSPENDED"))
    assert (snapshot.status, snapshot.waiting_reason) == (
        JobStatus.QUEUED,
        "The job is paused at the cluster: Suspended.",
    )
    assert state(folder, replace(WAITING, gpus=0, reason="Resources")).waiting_reason == (
        "The cluster waits for free nodes: Resources."
    )


def test_which_of_a_markers_jobs_is_the_trainings() -> None:
    first, second, over = (replace(RUNNING, job_id=number) for number in (5, 7, 3))
    over = replace(over, state="FAILED")
    assert answers.own_job([], answers.Records()) is None
    assert answers.own_job([second, first, over], answers.Records()) == first
    assert answers.own_job([second, first, over], answers.Records(slurm_job=7)) == second
    assert answers.own_job([second, first, over], answers.Records(slurm_job=99)) == first
    assert answers.own_job([over, replace(over, job_id=4)], answers.Records()) == replace(over, job_id=4)


def test_a_job_that_was_removed_as_it_was_to_begin_again_has_failed(folder: SharedFolder) -> None:
    (folder.path / "slurm_job").write_text(f"{OVER.job_id}\n")
    removed = replace(OVER, state="CANCELLED", restarts=1)
    assert (state(folder, removed).status, state(folder, removed).error_message) == (FAILED, answers.RAN_AGAIN)


@pytest.mark.parametrize(("restarts", "asked"), [(0, False), (1, True)])
def test_a_job_that_somebody_cancelled_is_cancelled(folder: SharedFolder, restarts: int, asked: bool) -> None:
    (folder.path / "slurm_job").write_text(f"{OVER.job_id}\n")
    assert state(folder, replace(OVER, state="CANCELLED", restarts=restarts), asked=asked).status == CANCELLED
