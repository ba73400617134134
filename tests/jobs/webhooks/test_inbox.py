"""The inbox: what was kept is applied sooner or later, found by index however much there is, and forgotten in time."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DataError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.signals import pre_enqueue

from examples.fake_replicate import FakeReplicate
from jobs.configs.secrets import sealed_columns
from jobs.models import Job, ProviderConfig, WebhookDelivery
from jobs.statuses import JobStatus
from jobs.webhooks import apply, inbox, signing_secret
from jobs.webhooks.inbox import IncomingDelivery, WebhookRequest, may_deliver
from tests.cloudtrain_site.database.test_sqlite_write_queue import is_locked
from tests.jobs.webhooks.deliveries import MARKER, Deliver, body_of, incoming, sign

MakeJob = Callable[..., Job]
SECRET_PATH = "/v1/webhooks/default/secret"


def test_what_could_not_be_applied_is_applied_later(deliver: Deliver, at_replicate: MakeJob) -> None:
    job = at_replicate()
    WebhookDelivery.objects.create(
        provider="replicate", delivery_id="a", verdict="accepted", payload=json.loads(body_of(job))
    )
    assert (apply.apply_leftovers(), apply.apply_leftovers()) == (1, 0)
    assert Job.objects.get().status == JobStatus.RUNNING


@pytest.mark.parametrize(("took", "rest"), [(0.005, 0.0), (0.03, 0.0), (0.2, 0.2), (9.0, 0.5)])
def test_after_a_slow_transaction_others_may_write(took: float, rest: float) -> None:
    assert apply.rest_after(took) == rest


def test_leftovers_are_applied_in_however_many_transactions(
    secret: str, at_replicate: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply, "ROWS_PER_READ", 5)
    monkeypatch.setattr(apply, "MAX_DELIVERIES_PER_TRANSACTION", 2)
    jobs = [at_replicate() for _ in range(4)]
    WebhookDelivery.objects.bulk_create(
        WebhookDelivery(provider="replicate", delivery_id=name, verdict="accepted", payload=json.loads(body))
        for name, body in (
            *((f"start-{job.pk}", body_of(job)) for job in jobs),
            *((f"end-{job.pk}", body_of(job, "failed")) for job in jobs),
        )
    )
    assert apply.apply_leftovers() == 8
    assert {job.status for job in Job.objects.all()} == {JobStatus.FAILED}
    assert not WebhookDelivery.objects.filter(outcome="").exists()


@pytest.mark.sqlite
def test_leftovers_are_applied_by_one_at_a_time(deliver: Deliver, at_replicate: MakeJob) -> None:
    WebhookDelivery.objects.create(
        provider="replicate", delivery_id="a", verdict="accepted", payload=json.loads(body_of(at_replicate()))
    )
    with apply._sole_applier() as is_mine:
        assert (is_mine, apply.apply_leftovers()) == (True, 0)
    assert apply.apply_leftovers() == 1


def test_what_can_never_be_applied_does_not_keep_the_others_waiting(deliver: Deliver, at_replicate: MakeJob) -> None:
    body = json.loads(body_of(at_replicate()))
    for name, payload in (("a", {"id": 3}), ("b", body)):
        WebhookDelivery.objects.create(provider="replicate", delivery_id=name, verdict="accepted", payload=payload)
    assert apply.apply_leftovers() == 1
    assert WebhookDelivery.objects.get(delivery_id="a").outcome == ""


def test_a_delivery_is_replayed_from_the_admin(deliver: Deliver, at_replicate: MakeJob, root: User) -> None:
    job = at_replicate()
    deliver(body_of(job), query="")
    Job.objects.filter(pk=job.pk).update(status=JobStatus.QUEUED)
    browser = Client()
    browser.force_login(root)
    action = {"action": "replay", "_selected_action": [WebhookDelivery.objects.get().pk]}
    answer = browser.post("/admin/jobs/webhookdelivery/", action, follow=True)
    assert "1 replayed" in answer.content.decode()
    assert Job.objects.get().status == JobStatus.RUNNING


def test_a_page_of_the_inbox_asks_for_all_its_jobs_at_once(make_job: MakeJob, root: User) -> None:
    browser = Client()
    browser.force_login(root)
    browser.get("/admin/")  # the first request of a session stores where it is
    counts = []
    for count in (1, 20):
        jobs = [make_job() for _ in range(count)]
        WebhookDelivery.objects.bulk_create(WebhookDelivery(provider="replicate", job=job) for job in jobs)
        with CaptureQueriesContext(connection) as queries:
            assert browser.get("/admin/jobs/webhookdelivery/").status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_the_inbox_forgets_after_thirty_days(db: None) -> None:
    for days in (31, 29):
        at = timezone.now() - timedelta(days=days)
        WebhookDelivery.objects.create(provider="replicate", verdict="forged", received_at=at)
    before = timezone.now() - timedelta(days=30)
    assert (inbox.trim(before, inf), inbox.trim(before, inf)) == (1, 0)


def test_refused_ones_do_not_fill_the_disk(deliver: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "MAX_REFUSALS_PER_HOUR", 3)
    assert {deliver(b"{}", headers={}) for _ in range(5)} == {401}
    assert WebhookDelivery.objects.count() == 3


@pytest.mark.sqlite
@pytest.mark.django_db(transaction=True)
def test_a_task_is_asked_for_in_line_with_the_other_writers(secret: str) -> None:
    turns: list[bool] = []

    def look(**fields: Any) -> None:
        turns.append(is_locked(Path(f"{connection.settings_dict['NAME']}-turn")))

    pre_enqueue.connect(look)
    try:
        inbox._request_apply_task()
    finally:
        pre_enqueue.disconnect(look)
    assert turns == [True]


@pytest.mark.sqlite
def test_a_delivery_is_looked_for_by_index_however_many_are_kept(secret: str, at_replicate: MakeJob) -> None:
    plans: list[str] = []

    def explain(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        # With the parameters apart, as it is asked: SQLite chooses otherwise when it sees their values.
        if sql.startswith("SELECT") and 'FROM "jobs_webhookdelivery"' in sql:
            execute(f"EXPLAIN QUERY PLAN {sql}", params, many, context)
            plans.append("; ".join(line[-1] for line in context["cursor"].fetchall()))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        inbox.process_batch([incoming(body_of(at_replicate()), secret, "a")])
        apply.apply_leftovers()
    assert plans
    assert all("INDEX one_delivery_an_id" in plan or "INDEX delivery_open" in plan for plan in plans), plans


def test_the_secret_is_there_before_the_first_delivery(
    secret: str, replicate_config: ProviderConfig, fake: FakeReplicate
) -> None:
    ProviderConfig.objects.filter(pk="replicate").update(webhook_url="https://train.example.org")
    signing_secret.fetch_early()
    assert fake.requests.count("GET", SECRET_PATH) == 1
    assert signing_secret.secret("replicate") == secret
    assert fake.requests.count("GET", SECRET_PATH) == 1


def test_nothing_is_asked_where_no_delivery_is_expected(
    secret: str, replicate_config: ProviderConfig, fake: FakeReplicate
) -> None:
    signing_secret.fetch_early()
    assert fake.requests.count("GET", SECRET_PATH) == 0


def test_a_provider_that_is_down_keeps_no_server_from_starting(
    secret: str,
    replicate_config: ProviderConfig,
    fake: FakeReplicate,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ProviderConfig.objects.filter(pk="replicate").update(webhook_url="https://train.example.org")
    monkeypatch.setenv("REPLICATE_BASE_URL", "http://127.0.0.1:9")
    with caplog.at_level("INFO"):
        signing_secret.fetch_early()
    assert "Webhook secret could not be fetched early" in caplog.text


@pytest.mark.parametrize(
    ("sender", "networks", "allowed"),
    [
        ("192.0.2.7", "", True),
        ("192.0.2.7", " \n", True),
        ("192.0.2.7", "10.0.0.0/8\n192.0.2.7", True),
        ("192.0.2.8", "10.0.0.0/8\n192.0.2.7", False),
        ("10.255.0.1", "10.1.2.3/8", True),
        ("2001:db8::1", "10.0.0.0/8 2001:db8::/32", True),
        ("192.0.2.7", "2001:db8::/32", False),
        # No address, or no network: nobody gets in by that.
        ("", "10.0.0.0/8", False),
        ("unknown", "0.0.0.0/0", False),
        ("10.0.0.1", "10.0.0.0/64", False),
        ("10.0.0.1", "everybody", False),
    ],
)
def test_who_may_deliver(sender: str, networks: str, allowed: bool) -> None:
    assert may_deliver(sender, networks) is allowed


def test_what_another_process_stored_meanwhile_is_counted_and_the_rest_is_stored(
    secret: str, at_replicate: MakeJob
) -> None:
    """It looked for the first one before the other process had stored it."""
    doubled, new = at_replicate(), at_replicate()
    inbox.process_batch([incoming(body_of(doubled), secret, "msg_1")])
    looked: list[str] = []

    def look_too_early(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if not looked and sql.startswith("SELECT") and "msg_1" in (params or ()):
            looked.append(sql)
            params = tuple("another" if value == "msg_1" else value for value in params)
        return execute(sql, params, many, context)

    batch = [incoming(body_of(doubled), secret, "msg_1"), incoming(body_of(new), secret, "msg_2")]
    with connection.execute_wrapper(look_too_early):
        inbox.process_batch(batch)
    assert looked
    assert [one.status for one in batch] == [200, 200]
    assert list(WebhookDelivery.objects.order_by("id").values_list("delivery_id", "repeats")) == [
        ("msg_1", 1),
        ("msg_2", 0),
    ]
    assert {job.status for job in Job.objects.all()} == {JobStatus.RUNNING}


def test_one_that_cannot_be_stored_fails_alone(secret: str, at_replicate: MakeJob) -> None:
    jobs = [at_replicate() for _ in range(3)]

    def refuse(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        # On PostgreSQL the parameters of many rows are lists.
        if sql.startswith("INSERT") and "msg_1" in str(params):
            raise DataError("too long for its column")
        return execute(sql, params, many, context)

    batch = [incoming(body_of(job), secret, f"msg_{number}") for number, job in enumerate(jobs)]
    with connection.execute_wrapper(refuse):
        inbox.process_batch(batch)
    assert [batch[0].status, batch[2].status] == [200, 200]
    with pytest.raises(DataError):
        _ = batch[1].status
    assert list(Job.objects.order_by("id").values_list("status", flat=True)) == ["running", "queued", "running"]


def test_two_unsigned_deliveries_that_come_together_are_two(
    secret: str, at_replicate: MakeJob, replicate_config: ProviderConfig
) -> None:
    ProviderConfig.objects.update(signature_required=False)
    jobs = [at_replicate() for _ in range(2)]
    inbox.process_batch([IncomingDelivery(WebhookRequest({}, body_of(job), "127.0.0.1")) for job in jobs])
    assert WebhookDelivery.objects.filter(delivery_id="", verdict="unsigned", repeats=0).count() == 2
    assert {job.status for job in Job.objects.all()} == {JobStatus.RUNNING}


def test_the_notice_that_webhooks_are_missing_ends_with_the_first_good_one(
    deliver: Deliver, at_replicate: MakeJob, replicate_config: ProviderConfig, caplog: pytest.LogCaptureFixture
) -> None:
    def missed() -> bool:
        return ProviderConfig.objects.get(pk="replicate").webhooks_missed_at is not None

    ProviderConfig.objects.update(webhooks_missed_at=timezone.now())
    other = ProviderConfig.objects.create(name="elsewhere", webhooks_missed_at=timezone.now())
    assert (deliver(b"{}", headers={}), deliver(b"[]"), missed()) == (401, 400, True)
    with caplog.at_level("INFO"):
        deliver(body_of(at_replicate()))
        deliver(body_of(Job.objects.get(), "succeeded"), delivery="msg_2")
    assert not missed()
    assert caplog.text.count("Webhooks arrive again") == 1
    other.refresh_from_db()
    assert other.webhooks_missed_at is not None


def test_a_payload_is_kept_without_input_and_log_and_with_its_decimals(deliver: Deliver, at_replicate: MakeJob) -> None:
    """Replicate's `predict_time` is a decimal number always."""
    fields: dict[str, Any] = {
        "input": {"hub_token": "hf_abcdefgh12345678"},
        "logs": "one\n",
        "metrics": {"predict_time": 12.25},
    }
    assert deliver(body_of(at_replicate(), **fields)) == 200
    payload = WebhookDelivery.objects.get().payload
    assert payload == {"id": Job.objects.get().external_id, "status": "processing", "metrics": {"predict_time": 12.25}}


@pytest.fixture
def only_stored(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    """A burst: what comes is stored, and applied later."""
    monkeypatch.setattr(inbox, "BURST_DELIVERIES", 0)
    monkeypatch.setattr(inbox, "_burst", inbox._Burst())


def stored_log(secret: str, body: bytes) -> str:
    batch = [incoming(body, secret, "msg_1")]
    inbox.process_batch(batch)
    assert batch[0].status == 200
    return WebhookDelivery.objects.get().log


@pytest.mark.usefixtures("only_stored")
def test_a_log_with_what_no_database_stores_is_kept_without_it(secret: str, at_replicate: MakeJob) -> None:
    body = body_of(at_replicate(), "succeeded", logs="a\x00b\ud800c", output="x\x00y\ud800z")
    assert stored_log(secret, body) == "a b?c"
    payload = WebhookDelivery.objects.get().payload
    assert payload is not None
    assert payload["output"] == "x y?z"


@pytest.mark.usefixtures("only_stored")
@pytest.mark.parametrize(
    ("status", "size", "kept"),
    [("succeeded", 50, 50), ("failed", 50, 50), ("canceled", 50, 50), ("succeeded", 51, 0), ("processing", 50, 0)],
)
def test_the_log_of_an_ended_training_is_kept_up_to_a_length(
    secret: str, at_replicate: MakeJob, monkeypatch: pytest.MonkeyPatch, status: str, size: int, kept: int
) -> None:
    monkeypatch.setattr(inbox, "MAX_LOG_CHARACTERS", 50)
    assert len(stored_log(secret, body_of(at_replicate(), status, logs="x" * size))) == kept


@pytest.mark.usefixtures("only_stored")
@pytest.mark.parametrize("log", [None, 3, ["a", "b"]])
def test_a_log_that_is_no_text_is_none(secret: str, at_replicate: MakeJob, log: Any) -> None:
    assert stored_log(secret, body_of(at_replicate(), "succeeded", logs=log)) == ""


def test_the_id_of_a_refused_delivery_is_stored_as_far_as_a_database_can(db: None, secret: str) -> None:
    headers = {"webhook-id": f"a\x00{'b' * 300}"}
    inbox.process_batch([IncomingDelivery(WebhookRequest(headers, b"{}", "nobody"))])
    row = WebhookDelivery.objects.get()
    assert (row.delivery_id, row.verdict, row.sender) == (f"a{'b' * 199}", "forged", None)


def test_a_jobs_own_secret_is_masked_in_what_is_kept_of_its_error(
    only_stored: None, secret: str, at_replicate: MakeJob
) -> None:
    """Found by the training's id or, before the job has one, by its marker; another job's text stays as it is."""
    sealed = sealed_columns(config={"hub_token": "plain-words-as-secret"})["sealed"]
    submitted_before, submitted = at_replicate(sealed=sealed), at_replicate(sealed=sealed)
    Job.objects.filter(pk=submitted.pk).update(external_id=None, submission_marker=MARKER)
    fields = {"error": "no plain-words-as-secret here", "logs": "plain-words-as-secret\n"}
    foreign = json.dumps({"id": "foreign", "status": "failed", **fields}).encode()
    bodies = [
        (body_of(submitted_before, "failed", **fields), ""),
        (body_of(submitted, "failed", **fields), MARKER),
        (foreign, ""),
    ]
    inbox.process_batch(
        [
            IncomingDelivery(WebhookRequest(sign(body, secret, delivery=f"m{number}"), body, "127.0.0.1", marker))
            for number, (body, marker) in enumerate(bodies)
        ]
    )
    rows = WebhookDelivery.objects.order_by("id")
    assert ["plain-words-as-secret" in json.dumps(row.payload) for row in rows] == [False, False, True]
    assert ["plain-words-as-secret" in row.log for row in rows] == [False, False, True]
