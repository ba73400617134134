"""Jobs from before the ledger get their entries."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.utils import timezone

from jobs.costs.verification import verify
from jobs.models import DayCost, Job, JobAccount, LedgerEntry

pytestmark = pytest.mark.django_db
OLD_JOBS: Any = importlib.import_module("jobs.migrations.0036_ledger_of_old_jobs")


def test_each_has_what_it_cost_and_what_is_held_for_it(make_job: Callable[..., Job]) -> None:
    ended = timezone.now() - timedelta(days=40)
    estimate: dict[str, Any] = {"estimated_cost_usd": Decimal(9)}
    make_job(status="completed", completed_at=ended, cost_usd=Decimal("3.25"), **estimate)
    make_job(status="failed", completed_at=ended, cost_doubt="there is no price for cpu.")
    make_job(status="running", external_id="x-1", cost_usd=Decimal(2), **estimate)
    make_job(status="queued", external_id="x-2", **estimate)
    make_job(status="pending", **estimate)
    make_job(status="cancelled")
    for _ in range(2):
        OLD_JOBS.enter(apps, None)
    entries = LedgerEntry.objects.order_by("id").values_list("kind", "amount", "source")
    assert [(kind, float(amount), source) for kind, amount, source in entries] == [
        ("settle", 3.25, "before"),
        ("settle", 0, "unpriced"),
        ("accrue", 2, "before"),
        ("reserve", 7, "estimate"),
        ("reserve", 9, "estimate"),
    ]
    assert not verify().differences
    assert DayCost.objects.filter(day=ended.date()).count() == 2
    assert [account.settled_at is None for account in JobAccount.objects.order_by("id")] == [False, False, True, True]
