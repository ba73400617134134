"""Webhooks: signed ones are applied once; forged, doubled, late, lost and foreign ones do no harm, and are seen."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client, TestCase
from django.utils import timezone
from django_q.models import OrmQ

from cloudtrain_site.notices.outbox import TASK
from cloudtrain_site.states import Source
from examples.fake_replicate import FakeReplicate
from jobs import logs
from jobs.models import Job, JobEvent, ProviderConfig, WebhookDelivery
from jobs.statuses import JobStatus
from jobs.sync import refresh
from jobs.tasks import apply_webhooks, cancel_at_provider
from jobs.webhooks import inbox, signing_secret
from tests.jobs.webhooks.deliveries import MARKER, SECRET, URL, Deliver, body_of, incoming, sign
from tests.races import at_once

pytestmark = pytest.mark.slow

MakeJob = Callable[..., Job]


def test_a_signed_delivery_moves_its_job(deliver: Deliver, at_replicate: MakeJob) -> None:
    job = at_replicate()
    assert deliver(body_of(job)) == 200
    job.refresh_from_db()
    assert job.status == JobStatus.RUNNING
    (event,) = JobEvent.objects.all()
    assert event.source == "webhook"
    row = WebhookDelivery.objects.get()
    assert (row.verdict, row.outcome, row.job) == ("accepted", "queued -> running", job)


def test_the_same_delivery_twice_is_applied_once(deliver: Deliver, at_replicate: MakeJob) -> None:
    job = at_replicate()
    assert (deliver(body_of(job)), deliver(body_of(job))) == (200, 200)
    assert JobEvent.objects.count() == 1
    assert WebhookDelivery.objects.get().repeats == 1


@pytest.mark.django_db(transaction=True)
def test_the_same_delivery_at_the_same_moment_is_applied_once(deliver: Deliver, at_replicate: MakeJob) -> None:
    job = at_replicate()
    assert at_once(*[lambda: deliver(body_of(job))] * 4) == [200] * 4
    assert JobEvent.objects.count() == 1
    assert WebhookDelivery.objects.get().repeats == 3


def test_a_late_delivery_does_not_reopen_an_ended_job(deliver: Deliver, at_replicate: MakeJob) -> None:
    job = at_replicate(status=JobStatus.RUNNING)
    deliver(body_of(job, "succeeded", output="https://huggingface.co/x"))
    assert deliver(body_of(job, "processing"), delivery="msg_2") == 200
    job.refresh_from_db()
    assert job.status == JobStatus.COMPLETED
    assert WebhookDelivery.objects.first().outcome == "nothing new: the job is completed"  # type: ignore[union-attr]


BAR = "Epoch 1/1, Steps: {0}%|####2     | {0}/100 [00:10<00:14,  4.0it/s, lr=0.0001, step_loss=0.5]\n"


def test_a_late_delivery_takes_neither_cost_nor_progress_from_an_ended_job(
    deliver: Deliver, at_replicate: MakeJob, replicate_config: ProviderConfig
) -> None:
    began = timezone.now() - timedelta(hours=3)
    job = at_replicate(status=JobStatus.RUNNING, started_at=began)
    fields = {"started_at": began.isoformat(), "metrics": {"predict_time": 3600}}
    deliver(body_of(job, "succeeded", logs=BAR.format(100), **fields))
    deliver(body_of(job, "processing", logs=BAR.format(1), started_at=began.isoformat()), delivery="msg_2")
    job.refresh_from_db()
    assert (float(job.cost_usd), job.progress) == (36, 100)


def test_a_late_delivery_does_not_end_the_wait_for_the_log(
    deliver: Deliver, at_replicate: MakeJob, fake: FakeReplicate
) -> None:
    job = at_replicate(status=JobStatus.RUNNING)
    deliver(body_of(job, "succeeded"))
    fake.update(job.external_id or "", "processing", logs="one\n")
    fake.update(job.external_id or "", "succeeded", logs="two\n")
    deliver(body_of(job, "processing", logs="one\n"), delivery="msg_2")
    assert not logs.read_log(Job.objects.get()).complete
    refresh.capture_logs(source=Source.POLL)
    piece = logs.read_log(Job.objects.get())
    assert (piece.text, piece.complete) == ("one\ntwo\n", True)


def test_a_delivery_that_was_overtaken_does_not_set_a_running_job_back(deliver: Deliver, at_replicate: MakeJob) -> None:
    job = at_replicate(status=JobStatus.RUNNING)
    for number, done in enumerate((10, 60, 10)):
        deliver(body_of(job, logs="".join(BAR.format(n) for n in range(10, done + 1, 10))), delivery=f"msg_{number}")
    assert Job.objects.get().progress == 60


def test_the_last_delivery_brings_the_whole_log(deliver: Deliver, at_replicate: MakeJob) -> None:
    job = at_replicate(status=JobStatus.RUNNING)
    deliver(body_of(job, "succeeded", logs="one\ntwo\n"))
    piece = logs.read_log(Job.objects.get())
    assert (piece.text, piece.complete) == ("one\ntwo\n", True)
    assert "logs" not in WebhookDelivery.objects.get().payload  # type: ignore[operator]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"webhook-id": "x"},
        {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,a,b"},
        sign(b"another body", SECRET),
    ],
)
def test_a_forged_delivery_changes_nothing_and_is_seen(
    deliver: Deliver, at_replicate: MakeJob, headers: dict[str, str]
) -> None:
    job = at_replicate()
    assert deliver(body_of(job), headers=headers) == 401
    job.refresh_from_db()
    assert job.status == JobStatus.QUEUED
    assert WebhookDelivery.objects.values_list("verdict", "payload").get() == ("forged", None)


def test_an_old_delivery_is_refused(deliver: Deliver, at_replicate: MakeJob, secret: str) -> None:
    body = body_of(at_replicate())
    assert deliver(body, headers=sign(body, secret, at=time.time() - 400)) == 401
    assert WebhookDelivery.objects.get().verdict == "stale"


NAN = b'{"id": "x", "metrics": {"predict_time": NaN}}'
HUGE = b'{"id": "x", "metrics": {"predict_time": 1e999}}'


@pytest.mark.parametrize("body", [b"", b"null", b"{", b"\xff\xfe", b"[]", b'{"id": 3}', b"[" * 100_000, NAN, HUGE])
def test_a_signed_delivery_that_is_no_prediction_is_refused(deliver: Deliver, body: bytes) -> None:
    assert deliver(body) == 400
    assert WebhookDelivery.objects.get().verdict == "malformed"


def test_a_delivery_of_no_job_of_ours_is_fine(deliver: Deliver) -> None:
    assert deliver(b'{"id": "abc", "status": "succeeded", "token": "s3cret-value"}') == 200
    row = WebhookDelivery.objects.get()
    assert (row.outcome, row.job, row.payload["token"]) == ("no job of ours", None, "***")  # type: ignore[index]


def test_the_first_delivery_adopts_the_job_that_is_being_submitted(deliver: Deliver, make_job: MakeJob) -> None:
    job = make_job(provider="replicate", submission_marker=MARKER, submission_started_at=timezone.now())
    assert deliver(b'{"id": "abc", "status": "processing"}', query=f"?ct={MARKER}") == 200
    job.refresh_from_db()
    assert (job.external_id, job.status) == ("abc", "running")
    assert WebhookDelivery.objects.get().outcome == "adopted: running"


GIVEN_UP = {"provider": "replicate", "submission_marker": MARKER, "status": JobStatus.FAILED}


def test_a_training_that_turns_up_after_it_was_given_up_is_stopped(
    deliver: Deliver, make_job: MakeJob, fake: FakeReplicate
) -> None:
    job = make_job(**GIVEN_UP)
    (made,) = fake.fill()
    with TestCase.captureOnCommitCallbacks(execute=True):
        assert deliver(json.dumps({"id": made.id, "status": "processing"}).encode(), query=f"?ct={MARKER}") == 200
    orphan = Job.objects.exclude(pk=job.pk).get()
    row = WebhookDelivery.objects.get()
    assert (row.job, row.outcome) == (orphan, f"job {job.pk} doesn't need it: asked to stop")
    assert [task.args() for task in OrmQ.objects.all()] == [(orphan.pk,)]
    assert cancel_at_provider(orphan.pk)
    assert fake.predictions[made.id].status == "canceled"
    assert Job.objects.get(pk=orphan.pk).status == JobStatus.CANCELLED


def test_what_is_told_of_it_later_is_applied_to_it(deliver: Deliver, make_job: MakeJob) -> None:
    job = make_job(**GIVEN_UP)
    for status in ("starting", "processing", "canceled"):
        body = json.dumps({"id": "late", "status": status}).encode()
        assert deliver(body, query=f"?ct={MARKER}", delivery=f"msg_{status}") == 200
    orphan = Job.objects.exclude(pk=job.pk).get()
    assert (orphan.external_id, orphan.status) == ("late", "cancelled")
    assert Job.objects.get(pk=job.pk).status == JobStatus.FAILED


def test_several_deliveries_of_it_that_come_together_make_one_job(secret: str, make_job: MakeJob) -> None:
    make_job(**GIVEN_UP)
    bodies = [json.dumps({"id": "late", "status": status}).encode() for status in ("starting", "processing")]
    arrivals = [
        inbox.WebhookRequest(sign(body, secret, delivery=f"msg_{number}"), body, "127.0.0.1", MARKER)
        for number, body in enumerate(bodies)
    ]
    inbox.process_batch([inbox.IncomingDelivery(arrival) for arrival in arrivals])
    assert Job.objects.get(external_id="late").status == JobStatus.RUNNING


def test_nobody_stops_a_training_by_an_unsigned_delivery(
    deliver: Deliver, make_job: MakeJob, replicate_config: ProviderConfig, caplog: pytest.LogCaptureFixture
) -> None:
    ProviderConfig.objects.update(signature_required=False)
    job = make_job(**GIVEN_UP)
    assert deliver(b'{"id": "late", "status": "processing"}', query=f"?ct={MARKER}", headers={}) == 200
    row = WebhookDelivery.objects.get()
    text = f"it goes on, and job {job.pk} doesn't need it: stop it at the provider"
    assert (row.job, row.outcome, Job.objects.count()) == (job, text, 1)
    assert "A training goes on that its job has no use for" in caplog.text


def test_a_marker_does_not_take_a_job_from_its_training(deliver: Deliver, at_replicate: MakeJob) -> None:
    job = at_replicate(submission_marker=MARKER)
    assert deliver(b'{"id": "abc", "status": "processing"}', query=f"?ct={MARKER}") == 200
    kept = Job.objects.get(pk=job.pk)
    assert (kept.external_id, kept.status, kept.cancel_requested_at) == (job.external_id, "queued", None)
    assert Job.objects.get(external_id="abc").cancel_requested_by == "system"


def test_a_delivery_over_ten_megabytes_is_refused_unread(deliver: Deliver) -> None:
    assert deliver(b"x" * 10_000_001) == 413
    assert not WebhookDelivery.objects.exists()


def test_one_of_nearly_ten_megabytes_is_taken(deliver: Deliver, at_replicate: MakeJob) -> None:
    assert deliver(body_of(at_replicate(), logs="line\n" * 1_600_000)) == 200
    assert Job.objects.get().log_size == 8_000_000


def test_the_secret_is_fetched_once_and_once_more_when_it_does_not_fit(
    deliver: Deliver, at_replicate: MakeJob, fake: FakeReplicate
) -> None:
    job = at_replicate()
    deliver(body_of(job))
    deliver(body_of(job), delivery="msg_2")
    assert fake.requests.count("GET", "/v1/webhooks/default/secret") == 1
    deliver(body_of(job), headers=sign(b"forged"))
    deliver(body_of(job), headers=sign(b"forged"))
    assert fake.requests.count("GET", "/v1/webhooks/default/secret") == 2


def test_a_replaced_secret_is_fetched_again(deliver: Deliver, at_replicate: MakeJob, fake: FakeReplicate) -> None:
    job = at_replicate()
    deliver(body_of(job))
    fake.world.webhooks.secret = SECRET
    body = body_of(job, "succeeded")
    assert deliver(body, headers=sign(body, SECRET, delivery="msg_2")) == 200
    assert Job.objects.get().status == JobStatus.COMPLETED


def test_without_the_secret_the_sender_has_to_come_again(
    deliver: Deliver, at_replicate: MakeJob, fake: FakeReplicate
) -> None:
    fake.faults.add("unauthenticated")
    assert deliver(body_of(at_replicate())) == 503


def test_a_secret_that_does_not_come_holds_nobody_up_for_long(
    deliver: Deliver, at_replicate: MakeJob, fake: FakeReplicate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing_secret, "FETCH_SECONDS", 0.1)
    fake.faults.add("hang", path="secret", times=1)
    job = at_replicate()
    assert [deliver(body_of(job)) for _ in range(3)] == [503] * 3
    assert fake.requests.count("GET", "/v1/webhooks/default/secret") == 1
    monkeypatch.setattr(signing_secret, "FAILURE_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(signing_secret, "FETCH_SECONDS", 10.0)
    assert deliver(body_of(job)) == 200


def test_several_of_one_training_are_applied_in_their_order(secret: str, at_replicate: MakeJob) -> None:
    jobs = [at_replicate() for _ in range(2)]
    bodies = [body_of(job, status) for status in ("processing", "succeeded", "processing") for job in jobs]
    inbox.process_batch([incoming(body, secret, f"msg_{number}") for number, body in enumerate(bodies)])
    assert {job.status for job in Job.objects.all()} == {JobStatus.COMPLETED}
    outcomes = WebhookDelivery.objects.filter(external_id=jobs[0].external_id).order_by("id")
    assert list(outcomes.values_list("outcome", flat=True)) == [
        "queued -> running",
        "running -> completed",
        "nothing new: the job is completed",
    ]


def test_one_bad_delivery_spoils_no_other_that_came_with_it(secret: str, at_replicate: MakeJob) -> None:
    good, bad = at_replicate(), at_replicate()
    tickets = [
        incoming(body_of(good), secret, "msg_1"),
        incoming(body_of(bad, output={"weights": "\ud800"}), secret, "msg_2"),
        incoming(b"{", secret, "msg_3"),
        incoming(body_of(bad), SECRET, "msg_4"),
        incoming(body_of(good), secret, "msg_1"),
    ]
    inbox.process_batch(tickets)
    assert [each.status for each in tickets] == [200, 200, 400, 401, 200]
    assert {job.status for job in Job.objects.all()} == {JobStatus.RUNNING}
    assert WebhookDelivery.objects.get(delivery_id="msg_1").repeats == 1


@pytest.mark.django_db(transaction=True)
def test_the_log_of_a_rush_is_kept_though_the_provider_is_not_asked(
    deliver: Deliver, at_replicate: MakeJob, fake: FakeReplicate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "BURST_DELIVERIES", 0)
    monkeypatch.setattr(inbox, "_burst", inbox._Burst())
    job = at_replicate(status=JobStatus.RUNNING)
    deliver(body_of(job, "succeeded", logs="one\x00\ntwo\n"))
    assert apply_webhooks() == 1
    piece = logs.read_log(Job.objects.get())
    assert (piece.text, piece.complete) == ("one \ntwo\n", True)
    assert WebhookDelivery.objects.get().log == ""
    assert fake.requests.count("GET", f"/v1/predictions/{job.external_id}") == 0


def test_a_job_that_ends_without_its_log_has_it_fetched_once_for_all(secret: str, at_replicate: MakeJob) -> None:
    jobs = [at_replicate(status=JobStatus.RUNNING) for _ in range(3)]
    with TestCase.captureOnCommitCallbacks(execute=True):
        inbox.process_batch([incoming(body_of(job, "succeeded"), secret, f"msg_{job.pk}") for job in jobs])
    assert sorted(task.func() for task in OrmQ.objects.all()) == [TASK, "jobs.tasks.capture_logs"]


@pytest.mark.django_db(transaction=True)
def test_a_rush_is_kept_at_once_and_applied_soon(
    deliver: Deliver, at_replicate: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "BURST_DELIVERIES", 0)
    monkeypatch.setattr(inbox, "_burst", inbox._Burst())
    jobs = [at_replicate() for _ in range(3)]
    for number, job in enumerate(jobs):
        assert deliver(body_of(job), delivery=f"msg_{number}") == 200
    assert deliver(body_of(jobs[0]), delivery="msg_0") == 200
    assert WebhookDelivery.objects.filter(outcome="").count() == 3
    assert OrmQ.objects.count() == 1
    assert apply_webhooks() == 3
    assert apply_webhooks() == 0
    assert {job.status for job in Job.objects.all()} == {JobStatus.RUNNING}


def test_unsigned_deliveries_are_taken_where_the_operator_says_so(
    deliver: Deliver, at_replicate: MakeJob, replicate_config: ProviderConfig
) -> None:
    ProviderConfig.objects.update(signature_required=False)
    job = at_replicate()
    assert deliver(body_of(job), headers={}) == 200
    assert deliver(body_of(job), headers=sign(b"forged")) == 401


def test_a_foreign_network_is_refused(
    deliver: Deliver, at_replicate: MakeJob, replicate_config: ProviderConfig
) -> None:
    ProviderConfig.objects.update(webhook_networks="10.0.0.0/8\n192.0.2.7")
    assert deliver(body_of(at_replicate())) == 403
    ProviderConfig.objects.update(webhook_networks="127.0.0.0/8")
    assert deliver(body_of(Job.objects.get())) == 200


def test_a_get_is_not_a_delivery(db: None) -> None:
    assert Client().get(URL).status_code == 405
