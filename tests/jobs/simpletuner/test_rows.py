"""A row of SimpleTuner's becomes a job, is skipped, or is named as unreadable."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from jobs.simpletuner.rows import NOT_FINISHED, BrokenRowError, SkippedRowError, read_job
from tests.simpletuner_databases import CAPTIONING, LOCAL_JOB, REPLICATE_JOB


def row(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    changed = {**base, **changes}
    metadata = changed["metadata"]
    return {**changed, "metadata": json.dumps(metadata) if isinstance(metadata, dict) else metadata}


def test_the_hardware_is_what_ran_and_not_the_label() -> None:
    job = read_job(row(REPLICATE_JOB))
    assert (job.hardware, job.external_id, job.tracker_run_name) == ("h100", REPLICATE_JOB["job_id"], "toys-1")
    assert read_job(row(REPLICATE_JOB, metadata={"hardware_profile": "l40s-x2"})).hardware == "l40s-x2"


def test_an_upload_has_the_external_id_of_its_prediction_or_none() -> None:
    upload = {"job_id": "7f0c2a5e-3b1d-4e7a-9f60-1d2c3b4a5e6f", "status": "failed"}
    assert read_job(row(REPLICATE_JOB, **upload, metadata={"prediction_id": "vrsafs"})).external_id == "vrsafs"
    assert read_job(row(REPLICATE_JOB, **upload, metadata={})).external_id is None


@pytest.mark.parametrize("status", ["pending", "uploading", "queued", "running"])
def test_what_was_active_elsewhere_has_failed(status: str) -> None:
    job = read_job(row(LOCAL_JOB, status=status))
    assert (job.status, job.error, job.completed_at) == ("failed", NOT_FINISHED, job.created_at)


@pytest.mark.parametrize(("status", "ours"), [("uploading", "queued"), ("queued", "queued"), ("running", "running")])
def test_what_replicate_runs_stays_active(status: str, ours: str) -> None:
    job = read_job(row(REPLICATE_JOB, status=status, started_at=None))
    assert (job.status, job.is_active, job.started_at is not None) == (ours, True, ours == "running")


def test_times_are_read_in_every_form_that_simpletuner_wrote() -> None:
    at = datetime(2026, 5, 2, 10, 0, 0, 123456, tzinfo=UTC)
    forms = ("2026-05-02T10:00:00.123456Z", "2026-05-02T10:00:00.123456789+00:00", "2026-05-02T12:00:00.123456+02:00")
    assert {read_job(row(LOCAL_JOB, created_at=text)).created_at for text in forms} == {at}
    assert read_job(row(LOCAL_JOB, created_at="2026-05-02T10:00:00")).created_at == at.replace(microsecond=0)


def test_two_installations_with_the_same_local_id_are_two_jobs() -> None:
    one, two = row(LOCAL_JOB), row(LOCAL_JOB, created_at="2026-05-05T09:00:00.000002+00:00")
    assert read_job(one).id != read_job(two).id
    assert read_job(one).id == read_job(row(LOCAL_JOB)).id


def test_what_publishes_to_simpletuner_itself_is_dropped() -> None:
    own = {"provider": "s3", "endpoint_url": "http://studio:8001/api/cloud/storage", "access_key": "token-of-an-upload"}
    other = {"provider": "s3", "bucket": "toys", "secret_key": "s3cret"}
    config = {"--publishing_config": [own, other, {"upload_token": "x"}], "upload_token": "x", "--seed": 1}
    read = read_job(row(LOCAL_JOB, metadata={"config": config}))
    assert read.config == {"--publishing_config": [other], "--seed": 1}
    alone = read_job(row(LOCAL_JOB, metadata={"config": {"publishing_config": own}}))
    assert alone.config == {}


def test_a_path_of_the_other_machine_is_no_result_here() -> None:
    assert read_job(row(REPLICATE_JOB)).output_url == "https://huggingface.co/studio/toys"
    assert read_job(row(REPLICATE_JOB, output_url="file:///etc/passwd")).output_url == ""


def test_captions_are_no_training() -> None:
    with pytest.raises(SkippedRowError):
        read_job(row(CAPTIONING))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "strange"}, "'strange' is not a status"),
        ({"status": None}, "'' is not a status"),
        ({"job_id": None}, "no job_id"),
        ({"created_at": None}, "no created_at"),
        ({"created_at": "not a date"}, "created_at is not a date: 'not a date'"),
        ({"created_at": "1969-01-01T00:00:00"}, "created_at can't be true"),
        ({"completed_at": "soon"}, "completed_at is not a date"),
        ({"metadata": "{broken"}, "metadata is not JSON"),
        ({"metadata": "[" * 100_000}, "metadata is not JSON"),
        ({"metadata": "[1]"}, "metadata is not an object"),
        ({"metadata": '{"a": 1e400}'}, "can't be stored"),
        ({"cost_usd": -1}, "cost_usd can't be true"),
        ({"cost_usd": "much"}, "cost_usd is not a number"),
        ({"cost_usd": float("inf")}, "cost_usd can't be true"),
        ({"provider": "a/b"}, "'a/b' is not a provider"),
    ],
)
def test_an_unreadable_row_says_why(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(BrokenRowError, match=reason.replace("(", r"\(")):
        read_job(row(LOCAL_JOB, **changes))
