"""Jobs at Replicate brought up to date: few requests, few writes, and one job's trouble is that job's alone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from cloudtrain_site.states import SYSTEM, Source
from examples.fake_replicate import FakeReplicate
from jobs import logs
from jobs.models import Job, JobEvent, LogPiece, ProviderConfig
from jobs.providers.base import ProviderError
from jobs.statuses import JobStatus
from jobs.sync import refresh
from jobs.sync.answers import answers_of
from jobs.tasks import poll_jobs
from tests.races import at_once

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeJob = Callable[..., Job]
BAR = "Epoch 1/1, Steps:  42%|####2     | 42/100 [00:10<00:14,  4.0it/s, lr=0.0001, step_loss=0.5]\n"


def poll() -> refresh.RefreshResult:
    return refresh.refresh(refresh.active_jobs(), source=Source.POLL)


@pytest.fixture
def running(at_replicate: MakeJob, fake: FakeReplicate, replicate_config: ProviderConfig) -> Job:
    job = at_replicate(status=JobStatus.RUNNING, started_at=timezone.now())
    fake.update(job.external_id or "", "processing", logs="begin\n")
    return job


def test_every_active_job_is_refreshed_however_many(at_replicate: MakeJob, fake: FakeReplicate) -> None:
    ids = [at_replicate().external_id or "" for _ in range(101)]
    for external_id in ids:
        fake.update(external_id, "processing")
    assert poll() == refresh.RefreshResult(refreshed=101, moved=101)
    assert set(Job.objects.values_list("status", flat=True)) == {JobStatus.RUNNING}
    assert JobEvent.objects.count() == 101


def test_a_poll_without_news_writes_nothing(
    at_replicate: MakeJob, fake: FakeReplicate, django_assert_num_queries: Any
) -> None:
    for _ in range(20):
        at_replicate()
    poll()
    jobs = refresh.active_jobs()
    with django_assert_num_queries(2):  # the provider's settings, and its dated prices
        assert refresh.refresh(jobs, source=Source.POLL).refreshed == 20


def test_an_end_is_applied_with_its_cost_and_where_the_result_is(running: Job, fake: FakeReplicate) -> None:
    fake.update(running.external_id or "", "succeeded", output="https://huggingface.co/acme/x")
    poll()
    job = Job.objects.get()
    seconds = fake.predictions[running.external_id or ""].metrics()["predict_time"]
    assert (job.status, job.output_url) == ("completed", "https://huggingface.co/acme/x")
    assert float(job.cost_usd) == pytest.approx(0.01 * seconds, abs=0.0001)
    assert job.metadata["price"]["usd_per_second"] == 0.01
    assert job.metadata["price"]["seconds"] == pytest.approx(seconds, abs=0.001)


def test_an_end_in_the_year_9999_is_not_believed(running: Job, fake: FakeReplicate) -> None:
    fake.update(running.external_id or "", "succeeded")
    fake.predictions[running.external_id or ""].completed_ns = 253_402_300_799 * 10**9
    poll()
    job = Job.objects.get()
    assert job.status == JobStatus.COMPLETED
    assert job.duration_ms is None
    assert not job.cost_usd
    assert set(job.metadata["refused"]) == {"completed_at", "billed_seconds"}


def test_the_cost_is_that_of_the_profile_that_ran(
    at_replicate: MakeJob, fake: FakeReplicate, replicate_config: ProviderConfig
) -> None:
    job = at_replicate(hardware_profile="l40s")
    fake.update(job.external_id or "", "processing")
    fake.update(job.external_id or "", "failed", error="out of memory")
    poll()
    job.refresh_from_db()
    assert (job.status, job.error_message) == ("failed", "out of memory")
    assert job.metadata["price"]["usd_per_second"] == 0.001


@pytest.mark.parametrize("status", ["aborted", "canceled"])
def test_what_never_started_costs_nothing(at_replicate: MakeJob, fake: FakeReplicate, status: str) -> None:
    job = at_replicate()
    fake.update(job.external_id or "", status)
    poll()
    job.refresh_from_db()
    assert job.status == JobStatus.CANCELLED
    assert not job.cost_usd


def test_an_unknown_status_leaves_the_job_alone(running: Job, fake: FakeReplicate) -> None:
    fake.predictions[running.external_id or ""].status = "pondering"
    assert poll().failed == 0
    assert Job.objects.get().status == JobStatus.RUNNING


def test_a_poll_says_how_many_it_asked_about_and_how_long_it_took(
    running: Job, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "simpletuner.cloud.background"):
        poll_jobs()
    (line,) = [record.__dict__ for record in caplog.records if record.getMessage() == "Synced 1 active jobs"]
    assert (line["levelname"], line["refreshed"], line["failed"]) == ("DEBUG", 1, 0)
    assert line["duration_ms"] > 0


def test_a_job_that_replicate_does_not_know_has_its_error_and_the_others_go_on(
    running: Job, make_job: MakeJob, caplog: pytest.LogCaptureFixture
) -> None:
    hour_ago = timezone.now() - timedelta(hours=1)
    lost = make_job(provider="replicate", external_id="y" * 26, status="queued", submission_started_at=hour_ago)
    with caplog.at_level(logging.DEBUG, "simpletuner.cloud.jobs"):
        assert poll() == refresh.RefreshResult(refreshed=1, failed=1)
    (line,) = [record.__dict__ for record in caplog.records if record.getMessage() == f"Failed to sync job {lost.pk}"]
    assert (line["levelname"], line["job_id"], line["provider"]) == ("DEBUG", lost.pk, "replicate")
    assert "404" in line["error"]
    lost.refresh_from_db()
    assert "404" in lost.sync_error


def test_an_outage_is_one_warning_and_a_pause(
    at_replicate: MakeJob, fake: FakeReplicate, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        at_replicate()
    fake.faults.add("unauthenticated")
    assert poll() == refresh.RefreshResult(failed=20)
    assert poll() == refresh.RefreshResult(failed=20)
    assert len(fake.requests) == 1
    assert [record.levelname for record in caplog.records if record.name.endswith("providers")] == ["WARNING"]


def test_after_an_outage_it_goes_on(
    running: Job, fake: FakeReplicate, replicate_config: ProviderConfig, caplog: pytest.LogCaptureFixture
) -> None:
    past = timezone.now() - timedelta(seconds=1)
    ProviderConfig.objects.filter(pk="replicate").update(outage_failures=3, outage_until=past)
    with caplog.at_level(logging.INFO):
        assert poll().refreshed == 1
    assert "Provider answers again" in caplog.text
    assert ProviderConfig.objects.values_list("outage_failures", "outage_until").get(pk="replicate") == (0, None)


def test_each_further_failure_makes_the_pause_longer(running: Job, fake: FakeReplicate) -> None:
    fake.faults.add("unauthenticated")
    pauses = []
    for _ in range(3):
        ProviderConfig.objects.update(outage_until=None)
        poll()
        until = ProviderConfig.objects.get(pk="replicate").outage_until
        assert until is not None
        pauses.append(round((until - timezone.now()).total_seconds()))
    assert pauses == [15, 30, 60]


def test_the_log_is_kept_and_read_by_offset(running: Job, fake: FakeReplicate) -> None:
    poll()
    fake.update(running.external_id or "", logs="é end\n")
    poll()
    job = Job.objects.get()
    assert logs.read_log(job).text == "begin\né end\n"
    assert logs.read_log(job, start=6).text == "é end\n"
    assert logs.read_log(job, start=6, limit=1).text == ""
    in_the_middle = logs.read_log(job, start=7)
    assert (in_the_middle.text, in_the_middle.end) == (" end\n", job.log_size)
    assert LogPiece.objects.count() == 2


def test_the_log_of_an_ended_job_is_fetched_once_more_and_is_complete(running: Job, fake: FakeReplicate) -> None:
    fake.update(running.external_id or "", "succeeded", logs=BAR)
    refresh.refresh(list(Job.objects.defer("config")), source=Source.POLL)
    Job.objects.update(log_size=0)
    LogPiece.objects.all().delete()
    Job.objects.update(log_due_at=timezone.now())
    fake.requests.clear()
    assert refresh.capture_logs(source=Source.POLL) == 1
    assert refresh.capture_logs(source=Source.POLL) == 0
    job = Job.objects.get()
    assert logs.read_log(job).complete
    assert (job.progress, job.last_log) == (42.0, BAR.rstrip()[:77] + "...")
    assert len(fake.requests) == 1


def test_an_end_that_a_list_page_told_makes_its_log_due(at_replicate: MakeJob, fake: FakeReplicate) -> None:
    jobs = [at_replicate() for _ in range(5)]
    fake.update(jobs[0].external_id or "", "processing", logs="all of it\n")
    fake.update(jobs[0].external_id or "", "succeeded")
    poll()
    assert not logs.read_log(Job.objects.get(pk=jobs[0].pk)).complete
    assert refresh.capture_logs(source=Source.POLL) == 1
    piece = logs.read_log(Job.objects.get(pk=jobs[0].pk))
    assert (piece.text, piece.complete) == ("all of it\n", True)


def test_a_log_that_was_removed_before_it_was_read_says_so(running: Job, fake: FakeReplicate) -> None:
    poll()
    fake.update(running.external_id or "", logs="never seen\n")
    fake.update(running.external_id or "", "succeeded")
    fake.faults.retention_seconds = 0
    poll()
    assert logs.read_log(Job.objects.get()).text == f"begin\n{logs.LOST_TEXT}"


def test_an_ended_job_without_a_log_is_asked_for_it_once(at_replicate: MakeJob, fake: FakeReplicate) -> None:
    fake.update(at_replicate().external_id or "", "canceled")
    poll()
    piece = logs.read_log(Job.objects.get())
    assert (piece.text, piece.complete) == ("", True)
    assert refresh.capture_logs(source=Source.POLL) == 0


def test_a_job_with_a_log_and_without_news_counts_as_heard_of(running: Job) -> None:
    poll()
    Job.objects.update(last_synced_at=timezone.now() - timedelta(minutes=16))
    poll()
    last_synced_at = Job.objects.get().last_synced_at
    assert last_synced_at is not None
    assert last_synced_at > timezone.now() - timedelta(minutes=1)


def test_running_logs_are_fetched_when_they_are_due_within_the_budget(
    at_replicate: MakeJob, fake: FakeReplicate
) -> None:
    due = timezone.now() - timedelta(seconds=1)
    for _ in range(6):
        at_replicate(status=JobStatus.RUNNING, log_due_at=due)
    assert refresh.capture_logs(source=Source.POLL, budget=4) == 4
    assert refresh.capture_logs(source=Source.POLL, budget=4) == 2
    assert refresh.capture_logs(source=Source.POLL, budget=4) == 0
    assert fake.requests.count("GET", "/v1/predictions/{id}") == 6


def test_who_looks_at_a_job_that_replicate_chokes_on_keeps_no_other_from_being_asked_about(
    running: Job, fake: FakeReplicate
) -> None:
    fake.faults.add("server_error")
    assert refresh.refresh_viewed(running, source=Source.API)
    assert "502" in running.sync_error
    assert ProviderConfig.objects.get().outage_until is None


@pytest.mark.django_db(transaction=True)
def test_many_who_look_at_once_cause_one_question(running: Job, fake: FakeReplicate) -> None:
    looks = [lambda: refresh.refresh_viewed(Job.objects.get(), source=Source.API)] * 8
    assert sorted(at_once(*looks)) == [False] * 7 + [True]
    assert len(fake.requests) == 1
    assert logs.read_log(Job.objects.get()).text == "begin\n"


@pytest.mark.django_db(transaction=True)
def test_two_refreshes_at_once_keep_the_log_once(running: Job, fake: FakeReplicate) -> None:
    fake.update(running.external_id or "", "succeeded", logs=BAR)
    at_once(poll, poll)
    assert logs.read_log(Job.objects.get()).text == "begin\n" + BAR
    assert JobEvent.objects.count() == 1


def test_a_cancel_is_asked_for_and_read_back(running: Job, fake: FakeReplicate) -> None:
    from jobs import lifecycle
    from jobs.tasks import cancel_at_provider

    assert lifecycle.request_cancel(running, actor=SYSTEM, source=Source.API)
    assert cancel_at_provider(running.pk)
    assert Job.objects.get().status == JobStatus.CANCELLED


def test_a_cancel_that_did_not_get_through_is_asked_for_again(running: Job, fake: FakeReplicate) -> None:
    from jobs import lifecycle
    from jobs.tasks import cancel_at_provider

    lifecycle.request_cancel(running, actor=SYSTEM, source=Source.API)
    fake.faults.add("server_error", method="POST", times=1)
    assert not cancel_at_provider(running.pk)
    assert Job.objects.get().status == JobStatus.RUNNING
    assert cancel_at_provider(running.pk)
    assert Job.objects.get().status == JobStatus.CANCELLED


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_request_that_hangs_keeps_the_others_news_back_not_at_all(at_replicate: MakeJob, fake: FakeReplicate) -> None:
    jobs = [at_replicate() for _ in range(3)]
    for job in jobs:
        fake.update(job.external_id or "", "processing")
    fake.faults.add("hang", path=jobs[0].external_id or "", seconds=1.0, times=1)
    asked = {"replicate": [refresh.handle_of(job) for job in jobs]}
    parts = [set(part or ()) for _, part in answers_of(asked) if not isinstance(part, ProviderError)]
    assert parts[0] | parts[1] == {jobs[1].pk, jobs[2].pk}
    assert parts[2:] == [{jobs[0].pk}, set()]
