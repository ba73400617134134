"""Costs from before it was kept why one is not known."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.utils import timezone

from jobs.models import Job

pytestmark = pytest.mark.django_db
DOUBT: Any = importlib.import_module("jobs.migrations.0028_unknown_costs_of_ended_jobs")
PRICE = {"price": {"usd_per_second": 0.01}}


@pytest.mark.parametrize(
    ("fields", "doubt"),
    [
        ({"metadata": {"refused": {"billed_seconds": "1e+300"}}}, "billed for, as its provider tells it, can't be"),
        ({"metadata": {"refused": {"completed_at": "9999"}}, "cost_usd": Decimal(3)}, "its end, as its provider"),
        ({"started_at": None, "metadata": {"refused": {"started_at": "9999"}}}, "its start, as its provider tells it"),
        ({}, "there is no price for cpu."),
        ({"hardware_profile": ""}, "there is no price for the default hardware."),
        ({"metadata": {"refused": {"completed_at": "9999"}, **PRICE}}, None),
        ({"metadata": PRICE}, None),
        ({"cost_usd": Decimal(3)}, None),
        ({"metadata": {"refused": {"started_at": "9999"}}, "cost_usd": Decimal(3)}, None),
        ({"duration_ms": 0}, None),
        ({"status": "cancelled", "started_at": None}, None),
        ({"status": "running"}, None),
    ],
)
def test_an_ended_job_that_ran_without_a_known_cost_says_so(
    make_job: Callable[..., Job], fields: dict[str, Any], doubt: str | None
) -> None:
    job = make_job(**{"status": "completed", "started_at": timezone.now() - timedelta(hours=1), **fields})
    DOUBT.doubt(apps, None)
    job.refresh_from_db()
    assert (job.cost_doubt is None) == (doubt is None)
    assert (doubt or "") in (job.cost_doubt or "")


def test_more_of_them_than_go_at_once(make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DOUBT, "BATCH", 2)
    for _ in range(5):
        make_job(status="completed")
    DOUBT.doubt(apps, None)
    assert Job.objects.filter(cost_doubt="there is no price for cpu.").count() == 5
