"""The fuse of a job: warned of once, cancelled before it costs more, raised and lowered by those who may."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from django_eventstream.models import Event
from rest_framework.test import APIClient

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.notices.models import Notice
from jobs.costs import ledger
from jobs.fuses.burns import CHECK_SECONDS, current_burns
from jobs.fuses.fuse import lower_fuse
from jobs.fuses.watch import check_fuses
from jobs.models import Job, JobAccount, ProviderConfig

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]
Client = Callable[[User | None], APIClient]
PRICE = Decimal("0.01")
NOTHING = {"warned": 0, "asked": 0, "cancelled": 0}


@pytest.fixture(autouse=True)
def price(db: None) -> None:
    ProviderConfig.objects.update_or_create(name="local", defaults={"cost_per_second": {"cpu": float(PRICE)}})


def running(make_job: MakeJob, cost: str, limit: str | None, **fields: Any) -> Job:
    now = timezone.now()
    usual = {"status": "running", "external_id": f"x-{cost}-{limit}", "last_synced_at": now}
    began = {"started_at": now - timedelta(hours=1), "max_cost_usd": None if limit is None else Decimal(limit)}
    return make_job(cost_usd=Decimal(cost), **{**usual, **began, **fields})


def cancelled(job: Job) -> bool:
    job.refresh_from_db()
    return job.cancel_requested_at is not None


def test_a_job_is_warned_of_once_at_eighty_percent(make_job: MakeJob) -> None:
    job = running(make_job, "24", "30", progress=50.0)
    assert [check_fuses()["warned"], check_fuses()["warned"]] == [1, 0]
    note = job.events.get(actor="fuse")
    assert note.reason == "It has cost $24.00 of $30.00. At this pace it will cost $48.00."
    assert Notice.objects.filter(kind="job_cost_warning", job_id=job.pk).count() == 1
    assert Event.objects.filter(data__contains="job_cost_warning").count() == 1


def test_below_it_nothing_is_said(make_job: MakeJob) -> None:
    running(make_job, "23.9", "30")
    running(make_job, "100", None)
    running(make_job, "29", "30", status="completed")
    assert check_fuses() == NOTHING


def test_a_job_is_cancelled_before_it_costs_more(make_job: MakeJob) -> None:
    before_the_next_look = Decimal(30) - PRICE * Decimal(CHECK_SECONDS) + PRICE
    job = running(make_job, f"{before_the_next_look}", "30")
    assert check_fuses()["cancelled"] == 1
    assert check_fuses()["cancelled"] == 0
    assert cancelled(job)
    assert job.cancel_requested_by == "fuse"
    assert job.events.filter(reason__startswith="cancel requested: it has cost $29.86 of its $30.00 limit").exists()


def test_one_that_has_room_until_the_next_look_goes_on(make_job: MakeJob) -> None:
    job = running(make_job, f"{Decimal(30) - PRICE * Decimal(CHECK_SECONDS) * 2}", "30")
    assert check_fuses()["cancelled"] == 0
    assert not cancelled(job)


def test_a_provider_that_does_not_answer_delays_nothing(make_job: MakeJob) -> None:
    silent_for = timedelta(minutes=50)
    job = running(make_job, "1", "30", last_synced_at=timezone.now() - silent_for)
    [burn] = current_burns(timezone.now())
    assert 31 <= burn.cost < 32, "a dollar, and 3,000 seconds since then"
    check_fuses()
    assert cancelled(job)


def test_without_a_price_only_what_is_known_counts(make_job: MakeJob) -> None:
    job = running(make_job, "5", "30", hardware_profile="gpu")
    assert check_fuses() == NOTHING
    assert not cancelled(job)


def test_a_fuse_bounds_what_is_held(make_job: MakeJob) -> None:
    job = make_job(estimated_cost_usd=Decimal(41), max_cost_usd=Decimal(30))
    ledger.reserve([job])
    assert JobAccount.objects.get().held == 30


def test_a_fuse_stands_in_for_an_unknown_estimate_where_there_is_a_price(make_job: MakeJob) -> None:
    fields: dict[str, Any] = {
        "estimated_cost_usd": None,
        "max_cost_usd": Decimal(30),
        "config": {"of": "nothing known"},
    }
    assert ledger.expected_cost(make_job(**fields)) == 30
    assert ledger.expected_cost(make_job(hardware_profile="gpu", **fields)) is None


def test_a_lower_fuse_stays(make_job: MakeJob) -> None:
    job = make_job(max_cost_usd=Decimal(5))
    lower_fuse(job, Decimal(8))
    assert Job.objects.get().max_cost_usd == 5
    lower_fuse(job, Decimal(3))
    assert Job.objects.get().max_cost_usd == 3


def post(client: APIClient, job: Job, amount: object) -> Any:
    return client.post(f"/api/cloud/jobs/{job.pk}/fuse", {"max_cost_usd": amount}, format="json")


def test_the_submitter_sets_it_over_http(client_of: Client, alice: User, make_job: MakeJob) -> None:
    job = running(make_job, "5", None)
    answer = post(client_of(alice), job, 30)
    assert (answer.status_code, answer.json()["max_cost_usd"]) == (200, 30)
    shown = client_of(alice).get(f"/api/cloud/jobs/{job.pk}").json()["job"]
    assert (shown["max_cost_usd"], shown["committed_usd"]) == (30, 0)
    record = AuditRecord.objects.get()
    assert (record.action, record.before, record.after) == (
        "job_fuse_set",
        {"max_cost_usd": None},
        {"max_cost_usd": 30},
    )


def test_raising_it_warns_anew(client_of: Client, alice: User, make_job: MakeJob) -> None:
    job = running(make_job, "24", "30")
    assert check_fuses()["warned"] == 1
    assert post(client_of(alice), job, 28).status_code == 200
    assert check_fuses()["warned"] == 1


@pytest.mark.parametrize("amount", [-1, 0, "NaN", "Infinity", 1e12, "much", None])
def test_a_bad_amount_changes_nothing(client_of: Client, alice: User, make_job: MakeJob, amount: object) -> None:
    job = running(make_job, "5", "30")
    answer = post(client_of(alice), job, amount)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["max_cost_usd"])
    job.refresh_from_db()
    assert job.max_cost_usd == 30


def test_less_than_it_has_cost_is_refused(client_of: Client, alice: User, make_job: MakeJob) -> None:
    answer = post(client_of(alice), running(make_job, "12", "30"), 10)
    assert (answer.status_code, answer.json()["code"]) == (409, "spent_already")
    assert "The job has already cost $12.00" in answer.json()["detail"]


def test_an_ended_job_has_none(client_of: Client, alice: User, make_job: MakeJob) -> None:
    assert post(client_of(alice), running(make_job, "12", None, status="completed"), 50).status_code == 409


def test_strangers_find_no_job(client_of: Client, charlie: User, make_job: MakeJob) -> None:
    job = running(make_job, "5", "30")
    assert post(client_of(charlie), job, 50).status_code == 404
    job.refresh_from_db()
    assert job.max_cost_usd == 30
