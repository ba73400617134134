"""Submissions, as `submit` takes them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone
from django_q.models import OrmQ

from approvals.intake import SubmissionRequest, forecast, submit
from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import ApiKey
from cloudtrain_site.retention.runs import remove_old
from jobs.configs.reading import read_config
from jobs.costs.pace import kind_of
from jobs.models import IdempotencyKey, Job, JobEvent, ProviderConfig
from jobs.statuses import JobStatus
from queueing import passes
from queueing.models import QueueEntry
from queueing.statuses import EntryStatus
from tests.events import published_events
from tests.factories import make_job

pytestmark = pytest.mark.django_db
#: A submission over the API that a rule holds takes so many. On PostgreSQL events and their number are one.
MOST_STATEMENTS = 24 - (connection.vendor == "postgresql")
MakeRequest = Callable[..., SubmissionRequest]


def test_a_submission_that_no_rule_holds_waits_for_its_turn(submission_request: MakeRequest) -> None:
    outcome = submit(submission_request())
    assert outcome.job.status == JobStatus.PENDING
    assert outcome.approval is None
    assert outcome.queue_position == 1
    assert QueueEntry.objects.get().status == EntryStatus.PENDING


def test_a_submission_asks_for_a_queue_pass_after_the_commit(
    submission_request: MakeRequest, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        submit(submission_request())
        assert not OrmQ.objects.exists()
    assert OrmQ.objects.count() == 1


def test_a_rule_holds_the_job_and_says_why(submission_request: MakeRequest, first_job_rule: ApprovalRule) -> None:
    outcome = submit(submission_request())
    assert outcome.approval is not None
    assert outcome.approval.reason == "This is the first job of alice."
    assert outcome.queue_position is None
    assert QueueEntry.objects.get().status == EntryStatus.BLOCKED
    assert '"approval_requested"' in published_events().latest("eid").data


def test_a_second_job_is_held_as_well_until_one_has_run(
    submission_request: MakeRequest, first_job_rule: ApprovalRule
) -> None:
    submit(submission_request())
    assert submit(submission_request()).approval is not None
    Job.objects.update(submission_started_at=timezone.now())
    assert submit(submission_request()).approval is None


def test_a_rule_that_is_switched_off_holds_nothing(
    submission_request: MakeRequest, first_job_rule: ApprovalRule
) -> None:
    ApprovalRule.objects.update(enabled=False)
    assert submit(submission_request()).approval is None


def test_a_held_submission_takes_few_statements(
    alice: User,
    first_job_rule: ApprovalRule,
    django_assert_max_num_queries: Any,
    django_capture_on_commit_callbacks: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(passes, "REQUEST_LIFETIME", timedelta(minutes=5))  # on a busy machine the second comes late
    client = Client(headers={"X-API-Key": ApiKey.objects.create(user=alice)[1]})

    def post() -> Any:
        with django_capture_on_commit_callbacks(execute=True):
            return client.post("/api/cloud/jobs/submit", {"config": {"a": 1}}, content_type="application/json").json()

    post()  # the first makes the counters, and has a pass run
    with django_assert_max_num_queries(MOST_STATEMENTS):
        assert post()["requires_approval"]


def test_the_history_begins_with_the_submission(submission_request: MakeRequest, first_job_rule: ApprovalRule) -> None:
    submit(submission_request())
    lines = list(JobEvent.objects.values_list("subject", "new", "actor", "source"))
    assert lines == [
        ("job", "pending", "alice", "api"),
        ("queue_entry", "blocked", "alice", "api"),
        ("approval", "pending", "alice", "api"),
    ]
    assert JobEvent.objects.values("correlation_id").distinct().count() == 1


def test_one_key_makes_one_job(submission_request: MakeRequest) -> None:
    first, second = submit(submission_request(key="k")), submit(submission_request(key="k"))
    assert second.job == first.job
    assert (first.is_replay, second.is_replay) == (False, True)
    assert Job.objects.count() == QueueEntry.objects.count() == 1


def test_a_key_used_for_something_else_is_a_conflict(submission_request: MakeRequest) -> None:
    submit(submission_request(key="k"))
    with pytest.raises(Conflict, match="another submission"):
        submit(submission_request(key="k", config={"max_train_steps": 99}))
    assert Job.objects.count() == 1


def test_a_key_counts_for_its_user_alone(submission_request: MakeRequest, bob: User) -> None:
    assert submit(submission_request(key="k")).job != submit(submission_request(user=bob, key="k")).job


def test_a_key_counts_for_a_day(submission_request: MakeRequest) -> None:
    submit(submission_request(key="k"))
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert not submit(submission_request(key="k")).is_replay
    assert Job.objects.count() == 2


def test_keys_older_than_a_day_are_removed(submission_request: MakeRequest) -> None:
    for key in ("old", "new"):
        submit(submission_request(key=key))
    IdempotencyKey.objects.filter(key="old").update(created_at=timezone.now() - timedelta(hours=25))
    assert remove_old(timezone.now())["idempotency_keys"] == 1
    assert IdempotencyKey.objects.get().key == "new"


def test_a_replay_still_tells_of_the_approval(submission_request: MakeRequest, first_job_rule: ApprovalRule) -> None:
    first = submit(submission_request(key="k"))
    assert submit(submission_request(key="k")).approval == first.approval


def test_the_cost_is_estimated_from_steps_and_price(submission_request: MakeRequest) -> None:
    ProviderConfig.objects.create(name="local", cost_per_second={"cpu": 0.01}, seconds_per_step=2)
    assert submit(submission_request()).job.estimated_cost_usd == Decimal("0.2000")


def test_rules_go_by_the_upper_end_of_the_estimate(submission_request: MakeRequest) -> None:
    ProviderConfig.objects.create(name="local", cost_per_second={"cpu": 0.01}, seconds_per_step=2)
    ApprovalRule.objects.create(name="dear", cost_exceeds=Decimal("0.30"))
    kind = kind_of(read_config({"max_train_steps": 10}))
    for seconds in (1, 1, 4, 4, 4):
        make_job(status="completed", training_kind=kind, seconds_per_step=seconds)
    outcome = submit(submission_request())
    assert outcome.approval is not None
    assert "Estimated $0.40" in outcome.approval.reason
    assert outcome.job.estimated_cost_range == {"low": Decimal("0.1000"), "high": Decimal("0.4000")}
    assert outcome.job.estimate_source == "from 5 runs of a model without a name on CPU"


def test_a_cost_that_is_not_known_is_held_by_a_cost_rule(submission_request: MakeRequest) -> None:
    ApprovalRule.objects.create(name="dear", cost_exceeds=1)
    outcome = submit(submission_request())
    assert outcome.approval is not None
    assert "can't be estimated" in outcome.approval.reason


def test_a_forecast_says_what_would_happen_and_stores_nothing(
    submission_request: MakeRequest, first_job_rule: ApprovalRule
) -> None:
    coming = forecast(submission_request())
    assert [hold.rule for hold in coming.holds] == [first_job_rule]
    assert coming.start.position == 1
    assert not Job.objects.exists()
    assert not ApprovalRequest.objects.exists()
    assert not published_events().exists()
