"""Requests that cost much are counted for each person; the others are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from cloudtrain_site.models import LimitUse
from jobs.models import Job
from tests.limits import SetLimits

pytestmark = pytest.mark.django_db
ClientOf = Callable[[User | None], APIClient]
SUBMIT = "/api/cloud/jobs/submit"
PREVIEW = "/api/approvals/rules/preview"


def test_the_syncs_of_a_minute_are_limited(client_of: ClientOf, alice: User, bob: User, set_limits: SetLimits) -> None:
    set_limits(syncs_per_minute=2)
    answers = [client_of(alice).post("/api/cloud/jobs/sync?provider=local") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    text = "You have reached the limit for requests to a provider for new jobs, 2 a minute per user."
    assert answers[-1].json()["detail"] == f"{text} Try again in 30 seconds."
    assert answers[-1].json()["code"] == "limit_reached"
    assert answers[-1]["Retry-After"] == "30"
    assert client_of(bob).post("/api/cloud/jobs/sync?provider=local").status_code == 200


def test_dry_runs_and_previews_of_rules_are_counted_together(
    client_of: ClientOf, bob: User, set_limits: SetLimits
) -> None:
    set_limits(previews_per_minute=2)
    client = client_of(bob)
    trial = {"config": {"max_train_steps": 1}, "dry_run": True}
    answers = [
        client.post(SUBMIT, trial),
        client.post(PREVIEW, {"rule": {"type": "dear", "condition": {"cost_exceeds": 1}}}),
        client.post(SUBMIT, trial),
        client.post(PREVIEW, {"rule": {"type": "dear", "condition": {"cost_exceeds": 1}}}),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert client.post(SUBMIT, trial | {"dry_run": False}).status_code == 201


def test_whole_logs_ends_and_curves_are_counted_and_what_follows_a_log_is_not(
    client_of: ClientOf, alice: User, make_job: Callable[..., Job], set_limits: SetLimits
) -> None:
    set_limits(log_reads_per_minute=3)
    client, address = client_of(alice), f"/api/cloud/jobs/{make_job().pk}"
    dear = ["logs", "logs?tail=5", "metrics"]
    assert [client.get(f"{address}/{path}").status_code for path in dear] == [200, 200, 200]
    assert [client.get(f"{address}/{path}").status_code for path in dear] == [429, 429, 429]
    assert [client.get(f"{address}/logs?since={start}").status_code for start in range(1, 9)] == [200] * 8
    assert client.get(f"{address}/logs?since=5&tail=2").status_code == 429


def test_a_refused_request_is_recorded_for_the_operator(
    client_of: ClientOf, alice: User, set_limits: SetLimits
) -> None:
    set_limits(syncs_per_minute=1)
    for _ in range(2):
        client_of(alice).post("/api/cloud/jobs/sync?provider=local")
    assert LimitUse.objects.exclude(refused_at=None).get().limit == "syncs_per_minute"


def test_nobody_is_not_counted(client_of: ClientOf) -> None:
    assert client_of(None).post("/api/cloud/jobs/sync?provider=local").status_code == 401
    assert not LimitUse.objects.exists()
