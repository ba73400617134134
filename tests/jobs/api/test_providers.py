"""What the list of providers tells: kinds, prices, and what can run a job now."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from jobs.models import ProviderConfig

pytestmark = pytest.mark.django_db


@pytest.fixture
def as_alice(alice: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(alice)
    return client


def test_each_provider_tells_its_kind_its_prices_and_that_it_can_run_now(
    as_alice: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLICATE_API_TOKEN", "r8_not-a-real-one")
    ProviderConfig.objects.update_or_create(name="replicate", defaults={"cost_per_second": {"h100": 0.01}})
    local, replicate = as_alice.get("/api/cloud/providers").json()["providers"]
    assert [one["kind"] for one in (local, replicate)] == ["local", "replicate"]
    assert [(one["can_run_now"], one["why_not_now"]) for one in (local, replicate)] == [(True, ""), (True, "")]
    profiles = {profile.pop("name"): profile for profile in replicate["profiles"]}
    assert list(profiles) == replicate["hardware"]
    assert profiles["h100"] == {"cost_per_second": 0.01, "can_run_now": True}
    assert profiles["l40s"] == {"cost_per_second": None, "can_run_now": True}


@pytest.mark.parametrize(
    ("token", "fields", "reason"),
    [
        ("", {}, "REPLICATE_API_TOKEN is not set"),
        ("r8_not-a-real-one", {"enabled": False}, "Replicate is switched off"),
        ("r8_not-a-real-one", {"outage_until": timezone.now() + timedelta(hours=1)}, "could not be reached"),
    ],
)
def test_a_provider_that_can_run_nothing_now_says_why(
    as_alice: APIClient, monkeypatch: pytest.MonkeyPatch, token: str, fields: dict[str, Any], reason: str
) -> None:
    monkeypatch.setenv("REPLICATE_API_TOKEN", token)
    ProviderConfig.objects.update_or_create(name="replicate", defaults=fields)
    local, replicate = as_alice.get("/api/cloud/providers").json()["providers"]
    assert (local["can_run_now"], replicate["can_run_now"]) == (True, False)
    assert reason in replicate["why_not_now"]
    assert not any(profile["can_run_now"] for profile in replicate["profiles"])
