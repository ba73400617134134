"""The ledger with its jobs: written with what it records, never edited, and proven by a command."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle
from jobs.costs import ledger
from jobs.costs.prices import note_prices, price_of
from jobs.costs.verification import verify
from jobs.models import DatedPrice, DayCost, Job, JobAccount, LedgerEntry, Organization, ProviderConfig
from jobs.models.ledger import LedgerError
from jobs.providers.base import Snapshot
from jobs.statuses import JobStatus

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]


def kinds(job: Job) -> list[tuple[str, float]]:
    entries = job.ledger_entries.order_by("sequence")
    return [(kind, float(amount)) for kind, amount in entries.values_list("kind", "amount")]


def running(make_job: MakeJob, **fields: Any) -> Job:
    now = timezone.now()
    # Since yesterday, in the hour after midnight, it would have an entry for each of two days.
    began = max(now - timedelta(hours=1), now.replace(hour=0, minute=0, second=0, microsecond=0))
    usual = {"external_id": "x-1", "status": JobStatus.RUNNING, "started_at": began, "estimated_cost_usd": Decimal(5)}
    return make_job(**{**usual, **fields})


def end(job: Job, cost: str, status: JobStatus = JobStatus.COMPLETED) -> None:
    lifecycle.apply_snapshot(job, Snapshot(job.external_id or "", status, cost_usd=Decimal(cost)), source=Source.POLL)


def test_from_its_end_on_a_jobs_entries_add_up_to_its_cost(make_job: MakeJob) -> None:
    job = running(make_job)
    ledger.reserve([job])
    end(job, "3.2105")
    assert kinds(job) == [("reserve", 5), ("settle", 3.2105), ("release", -5)]
    assert job.account.spent == job.cost_usd
    assert not verify().differences


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.CANCELLED])
def test_every_end_settles(make_job: MakeJob, status: JobStatus) -> None:
    job = running(make_job)
    ledger.reserve([job])
    end(job, "1", status)
    assert (float(job.account.spent), float(job.account.held)) == (1, 0)


def test_a_job_that_was_never_claimed_has_no_entries(make_job: MakeJob) -> None:
    job = make_job()
    assert lifecycle.request_cancel(job, actor=SYSTEM, source=Source.API)
    assert kinds(job) == []
    assert not JobAccount.objects.exists()


def test_a_claimed_job_that_could_not_be_started_holds_nothing(make_job: MakeJob) -> None:
    job = make_job(estimated_cost_usd=Decimal(5))
    ledger.reserve([job])
    lifecycle.finish(job, JobStatus.FAILED, actor=SYSTEM, source=Source.DISPATCHER, reason="refused")
    assert kinds(job) == [("reserve", 5), ("release", -5)]


def test_what_a_version_without_a_ledger_ran_is_settled_once(make_job: MakeJob) -> None:
    now, cost = timezone.now(), Decimal("2.5")
    ended = {"status": JobStatus.COMPLETED, "completed_at": now, "cost_usd": cost}
    never, *others = (running(make_job, external_id=f"x-{number}") for number in range(4))
    claimed, own, free = others
    ledger.reserve([claimed, own])
    end(own, "1")
    Job.objects.filter(pk__in=[never.pk, claimed.pk]).update(**ended)
    Job.objects.filter(pk=free.pk).update(status=JobStatus.FAILED, completed_at=now)
    assert ledger.count_forgotten() == 2
    assert kinds(never) == [("settle", 2.5)]
    assert kinds(claimed) == [("reserve", 5), ("settle", 2.5), ("release", -5)]
    assert ledger.count_forgotten() == 0
    assert not verify().differences


def test_what_is_rolled_back_leaves_no_entry(make_job: MakeJob) -> None:
    job = running(make_job)
    with unit_of_work():
        ledger.reserve([job])
        with pytest.raises(ValueError, match="no"), transaction.atomic():
            end(job, "3")
            raise ValueError("no")
    assert kinds(job) == [("reserve", 5)]


def test_an_entry_is_never_edited_nor_deleted(make_job: MakeJob) -> None:
    job = running(make_job)
    ledger.reserve([job])
    entry = LedgerEntry.objects.get()
    for forbidden in (
        entry.save,
        entry.delete,
        LedgerEntry.objects.all().delete,
        lambda: LedgerEntry.objects.update(amount=0),
        lambda: LedgerEntry.objects.bulk_update([entry], ["amount"]),
    ):
        with pytest.raises(LedgerError):
            forbidden()
    for statement in ("UPDATE jobs_ledgerentry SET amount = 0", "DELETE FROM jobs_ledgerentry"):
        with pytest.raises(DatabaseError, match="never edited"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    assert kinds(job) == [("reserve", 5)]


def test_a_training_that_was_found_is_counted_from_its_start(make_job: MakeJob) -> None:
    began = timezone.now() - timedelta(days=3)
    job = running(make_job, started_at=began)
    end(job, "30")
    days = dict(DayCost.objects.values_list("day", "spent"))
    assert len(days) == 4
    assert sum(days.values()) == 30
    assert min(days) == began.date()


def test_a_deleted_jobs_entries_stay(make_job: MakeJob) -> None:
    job = running(make_job)
    end(job, "3")
    assert lifecycle.delete(job, actor=SYSTEM, source=Source.API)
    assert kinds(job) == [("settle", 3)]
    assert not verify().differences


def test_news_after_the_end_is_corrected_by_the_provider(make_job: MakeJob) -> None:
    job = running(make_job)
    end(job, "3")
    assert lifecycle.apply_final_details(job, Snapshot("x-1", JobStatus.COMPLETED, cost_usd=Decimal(0)))
    entry = job.ledger_entries.last()
    assert entry is not None
    assert (entry.kind, float(entry.amount), entry.by) == ("correct", -3, "local")
    assert not verify().differences


def test_the_price_at_the_start_counts_for_the_whole_life() -> None:
    config = ProviderConfig.objects.create(name="replicate", cost_per_second={"h100": 0.01})
    began = timezone.now()
    config.cost_per_second = {"h100": 0.05}
    config.save()
    for at, price in ((began, "0.01"), (timezone.now(), "0.05")):
        found = price_of(config, "h100", at)
        assert found is not None
        assert found.per_second == Decimal(price)


def test_a_price_that_is_removed_counts_for_those_that_run() -> None:
    config = ProviderConfig.objects.create(name="replicate", cost_per_second={"h100": 0.01})
    began = timezone.now()
    config.cost_per_second = {}
    config.save()
    found = price_of(config, "h100", began)
    assert found is not None
    assert found.per_second == Decimal("0.01")
    assert price_of(config, "h100", timezone.now()) is None


def test_prices_are_dated_once() -> None:
    config = ProviderConfig.objects.create(name="replicate", cost_per_second={"h100": 0.01})
    before = DatedPrice.objects.count()
    assert note_prices([ProviderConfig.of("replicate"), config]) == 0
    assert DatedPrice.objects.count() == before


def test_jobs_that_were_nobodys_take_their_costs_along(make_job: MakeJob, acme: Organization) -> None:
    job = running(make_job, organization=None, submitted_by=None)
    end(job, "3")
    with unit_of_work():
        Job.objects.update(organization=acme)
        ledger.assign([job.pk], acme)
    entries = job.ledger_entries.values_list("kind", "amount", "organization")
    amounts = [(kind, float(amount), owner) for kind, amount, owner in entries]
    assert amounts == [("settle", 3, None), ("correct", -3, None), ("correct", 3, acme.pk)]
    assert DayCost.objects.get().organization == acme
    assert not verify().differences


def verified() -> str:
    out = StringIO()
    call_command("ledger", "--verify", stdout=out)
    return out.getvalue()


def test_the_command_proves_the_ledger(make_job: MakeJob) -> None:
    end(running(make_job), "3")
    assert verified() == "The ledger agrees: 1 jobs, 1 entries.\n"


def test_the_command_says_where_it_differs(make_job: MakeJob) -> None:
    job = running(make_job)
    ledger.reserve([job])
    Job.objects.filter(pk=job.pk).update(status="completed", completed_at=timezone.now(), cost_usd=7)
    JobAccount.objects.update(spent=1)
    out = StringIO()
    with pytest.raises(CommandError, match=r"The ledger differs in 3 places\."):
        call_command("ledger", "--verify", stdout=out)
    assert f"Job {job.pk}: it has cost $7.0000, and its entries add up to $0." in out.getvalue()
    assert "it has ended, and $5.000000 are still reserved for it." in out.getvalue()
    with pytest.raises(CommandError):
        call_command("ledger", "--verify", "--json", stdout=(out := StringIO()))
    assert len(json.loads(out.getvalue())["differences"]) == 3


CORRECT = ("ledger", "--correct", "--provider", "replicate", "--hardware", "h100", "--price", "0.02")


def priced_job(make_job: MakeJob) -> Job:
    ProviderConfig.objects.get_or_create(name="replicate", defaults={"cost_per_second": {"h100": 0.01}})
    job = running(make_job, provider="replicate", hardware_profile="h100")
    price = {"hardware": "h100", "usd_per_second": 0.01, "seconds": 100.0, "as_of": None}
    ended = Snapshot("x-1", JobStatus.COMPLETED, cost_usd=Decimal(1), metadata={"price": price})
    lifecycle.apply_snapshot(job, ended, source=Source.POLL)
    return job


def corrected(*more: str) -> str:
    since = (timezone.now() - timedelta(days=2)).date().isoformat()
    out = StringIO()
    by = ("--by", "alice", "--reason", "The price list was wrong.")
    call_command(*CORRECT, "--since", since, *by, *more, stdout=out)
    return out.getvalue()


def test_a_correction_is_dry_by_default(make_job: MakeJob) -> None:
    job = priced_job(make_job)
    assert "Would correct 1 job by $1.0000 in all; nothing was written" in corrected()
    job.refresh_from_db()
    assert (float(job.cost_usd), float(job.account.spent)) == (1, 1)


def test_a_correction_mends_a_wrong_price_once(make_job: MakeJob) -> None:
    job = priced_job(make_job)
    assert "Corrected 1 job by $1.0000 in all." in corrected("--apply")
    assert "Corrected 0 jobs" in corrected("--apply")
    job.refresh_from_db()
    entry = job.ledger_entries.last()
    assert entry is not None
    assert (float(job.cost_usd), entry.kind, float(entry.amount), entry.by, entry.source) == (
        2,
        "correct",
        1,
        "alice",
        "person",
    )
    assert entry.reason == "The price list was wrong."
    assert not verify().differences


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--price": "NaN"}, "is not a price"),
        ({"--price": "-1"}, "is not a price"),
        ({"--price": "much"}, "is not a number"),
        ({"--by": "nobody"}, "no active user"),
        ({"--reason": " "}, "needs --reason"),
        ({"--since": "soon"}, "is not a date"),
        ({"--since": "2999-01-01"}, "is in the future"),
        ({"--provider": "nowhere"}, "no provider “nowhere”"),
    ],
)
def test_a_bad_correction_changes_nothing(make_job: MakeJob, changed: dict[str, str], message: str) -> None:
    job = priced_job(make_job)
    options = {
        "--provider": "replicate",
        "--hardware": "h100",
        "--price": "0.02",
        "--since": "2026-01-01",
        "--by": "alice",
        "--reason": "It was wrong.",
        **changed,
    }
    with pytest.raises(CommandError, match=message):
        call_command("ledger", "--correct", "--apply", *(part for option in options.items() for part in option))
    job.refresh_from_db()
    assert job.cost_usd == 1
