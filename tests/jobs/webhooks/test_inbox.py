"""The inbox: what was kept is applied sooner or later, found by index however much there is, and forgotten in time."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.signals import pre_enqueue

from examples.fake_replicate import FakeReplicate
from jobs.models import Job, ProviderConfig, WebhookDelivery
from jobs.statuses import JobStatus
from jobs.webhooks import apply, inbox, signing_secret
from tests.cloudtrain_site.database.test_sqlite_write_queue import is_locked
from tests.jobs.webhooks.test_views import Deliver, body_of, deliver, incoming, secret

__all__ = ["deliver", "secret"]

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
    asked = []
    for count in (1, 20):
        jobs = [make_job() for _ in range(count)]
        WebhookDelivery.objects.bulk_create(WebhookDelivery(provider="replicate", job=job) for job in jobs)
        with CaptureQueriesContext(connection) as queries:
            assert browser.get("/admin/jobs/webhookdelivery/").status_code == 200
        asked.append(len(queries))
    assert asked[0] == asked[1]


def test_the_inbox_forgets_after_thirty_days(db: None) -> None:
    for days in (31, 29):
        at = timezone.now() - timedelta(days=days)
        WebhookDelivery.objects.create(provider="replicate", verdict="forged", received_at=at)
    assert (inbox.trim(), inbox.trim()) == (1, 0)


def test_refused_ones_do_not_fill_the_disk(deliver: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "MAX_REFUSALS_PER_HOUR", 3)
    assert {deliver(b"{}", headers={}) for _ in range(5)} == {401}
    assert WebhookDelivery.objects.count() == 3


@pytest.mark.sqlite
@pytest.mark.django_db(transaction=True)
def test_a_task_is_asked_for_in_line_with_the_other_writers(secret: str) -> None:
    turns: list[bool] = []

    def look(**told: Any) -> None:
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
    assert signing_secret.secret() == secret
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
