"""What a used-up budget does to what runs: nothing, a warning, or the end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from django_eventstream.models import Event

from cloudtrain_site.notices.models import Notice
from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle
from jobs.dashboard.rows import make_rows
from jobs.models import Job, JobEvent, Organization
from jobs.notices.ended import prepare
from jobs.providers.base import Snapshot
from jobs.statuses import JobStatus
from queueing.budgets import watch
from queueing.budgets.periods import window
from queueing.models import Budget
from tests.providers import ScriptedProvider
from tests.queueing.budgets.spending import budget_of, spend, take_slot
from tests.races import at_once

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]


@pytest.fixture(autouse=True)
def provider(scripted: ScriptedProvider) -> None:
    """The jobs are there."""


@pytest.fixture
def job(make_job: MakeJob) -> Job:
    """A job that runs, takes a slot, and has cost $60."""
    made = spend(make_job, "60")
    take_slot(made)
    return made


def notes_of(job: Job) -> list[str]:
    return list(JobEvent.objects.filter(job=job, actor="budgets").values_list("reason", flat=True))


def reached(owner: str = "acme") -> str:
    return f"Budget of {owner} for {window('month', 'UTC', timezone.now()).name} reached"


def test_hold_leaves_alone_what_runs(job: Job, acme: Organization) -> None:
    budget_of(acme, "50", action="hold")
    assert watch.watch() == {"reached": 3, "warned": 0, "cancelled": 0}
    job.refresh_from_db()
    assert job.cancel_requested_at is None
    assert notes_of(job) == []


def test_finish_warns_once_of_what_runs(job: Job, acme: Organization, alice: User) -> None:
    budget_of(acme, "50", action="finish")
    assert watch.watch()["warned"] == 1
    assert watch.watch()["warned"] == 0
    message = f"{reached()}. This job can finish, but no more jobs start."
    assert notes_of(job) == [message]
    job.refresh_from_db()
    assert (job.status, job.cancel_requested_at) == ("running", None)
    notice = Notice.objects.get(kind="job_cost_warning")
    assert (notice.users, notice.job_id, notice.link) == ([alice.pk], job.pk, f"/jobs/{job.pk}")
    assert message in notice.subject
    assert [data for data in Event.objects.values_list("data", flat=True) if "job_cost_warning" in data]


def test_a_job_that_begins_later_is_warned_too(job: Job, make_job: MakeJob, acme: Organization) -> None:
    budget_of(acme, "50", action="finish")
    watch.watch()
    take_slot(spend(make_job, "1"))
    assert watch.watch()["warned"] == 1


def test_cancel_ends_what_runs_and_says_why(job: Job, acme: Organization, alice: User) -> None:
    budget_of(acme, "50", action="cancel")
    assert watch.watch()["cancelled"] == 1
    assert watch.watch()["cancelled"] == 0
    assert notes_of(job) == [f"cancel requested: {reached()}"]
    job.refresh_from_db()
    gone = Snapshot(job.external_id or "", JobStatus.CANCELLED)
    assert lifecycle.apply_snapshot(job, gone, source=Source.POLL)
    job.refresh_from_db()
    assert make_rows([job], alice)[0].note == f"By budgets: {reached()}"
    notice = Notice.objects.get(kind="job_cancelled")
    assert prepare(notice)
    assert f"The reason: {reached()}" in notice.text


def test_what_was_asked_to_stop_is_not_warned(job: Job, acme: Organization) -> None:
    budget_of(acme, "50", action="finish")
    lifecycle.request_cancel(job, actor=SYSTEM, source=Source.API)
    assert watch.watch()["warned"] == 0


def test_nothing_is_done_before_all_is_spent(job: Job, acme: Organization) -> None:
    budget_of(acme, "60.01", action="cancel")
    assert watch.watch()["cancelled"] == 0
    Budget.objects.update(amount="60")
    assert watch.watch()["cancelled"] == 1


def test_only_jobs_that_the_budget_concerns_are_cancelled(
    job: Job, make_job: MakeJob, acme: Organization, bob: User
) -> None:
    of_bob = spend(make_job, "70", submitted_by=bob)
    take_slot(of_bob)
    budget_of(acme, "50", action="cancel", user=bob)
    assert watch.watch()["cancelled"] == 1
    job.refresh_from_db()
    of_bob.refresh_from_db()
    assert job.cancel_requested_at is None
    assert of_bob.cancel_requested_at is not None


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("action", "counted"), [("finish", "warned"), ("cancel", "cancelled")])
def test_of_many_who_look_at_once_one_tells(job: Job, acme: Organization, action: str, counted: str) -> None:
    budget_of(acme, "50", action=action)
    counts = at_once(*[watch.watch] * 6)
    assert len(notes_of(job)) == 1
    if counted == "warned":
        assert sum(count["warned"] for count in counts) == 1
    assert sum(count["reached"] for count in counts) == 3
    assert Notice.objects.filter(kind="budget_threshold").count() == 2
