"""What the list of providers tells: kinds, prices, and what can run a job now."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from jobs.models import ProviderConfig
from jobs.providers.base import ProviderError
from jobs.providers.clusters.view import ClusterView
from jobs.sync import asking, clusters
from tests.providers import ClusterProvider, node

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
    well = {"can_run_now": True, "why_not_now": ""}
    assert profiles["h100"] == {"cost_per_second": 0.01, "price_set_by": "operator", **well}
    assert profiles["l40s"] == {"cost_per_second": None, "price_set_by": None, **well}


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


class TestClusters:
    """What the last look showed is told without a request."""

    def shown_lab(self, client: APIClient) -> dict[str, Any]:
        providers: list[dict[str, Any]] = client.get("/api/cloud/providers").json()["providers"]
        [lab] = [one for one in providers if one["name"] == "lab"]
        return lab

    def test_a_profile_that_no_node_can_run_says_why(self, as_alice: APIClient, lab: ClusterProvider) -> None:
        lab.view = ClusterView("1.0", (node(),), unrunnable={"gpu": "No node has a GPU."})
        clusters.look_now("lab")
        shown = self.shown_lab(as_alice)
        assert (shown["can_run_now"], shown["why_not_now"]) == (True, "")
        assert {one["name"]: (one["can_run_now"], one["why_not_now"]) for one in shown["profiles"]} == {
            "cpu": (True, ""),
            "gpu": (False, "No node has a GPU."),
        }
        assert lab.looks == 1

    def test_a_cluster_that_did_not_answer_says_so_for_all(self, as_alice: APIClient, lab: ClusterProvider) -> None:
        lab.view = ProviderError("connection refused")
        clusters.look_now("lab")
        shown = self.shown_lab(as_alice)
        assert shown["why_not_now"] == "Lab could not be checked: connection refused."
        assert [one["can_run_now"] for one in shown["profiles"]] == [False, False]

    def test_a_cluster_without_a_usable_node_says_so(self, as_alice: APIClient, lab: ClusterProvider) -> None:
        lab.view = ClusterView("1.0", (node(state="drained", is_usable=False),))
        clusters.look_now("lab")
        assert self.shown_lab(as_alice)["why_not_now"] == "Lab has no node that accepts trainings."

    def test_one_that_nobody_has_looked_at_can_run_as_far_as_is_known(
        self, as_alice: APIClient, lab: ClusterProvider
    ) -> None:
        assert self.shown_lab(as_alice)["can_run_now"] is True
        assert lab.looks == 0

    def test_to_validate_it_is_to_look(self, as_alice: APIClient, lab: ClusterProvider) -> None:
        assert as_alice.get("/api/cloud/providers/lab/validate").json()["valid"] is True
        assert lab.looks == 1

    def test_who_validates_waits_for_no_folder_and_no_name_server_that_hangs(
        self, as_alice: APIClient, add_provider: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        released = threading.Event()

        class Hanging(ClusterProvider):
            async def validate(self) -> str:
                await asyncio.to_thread(released.wait, 30)
                return "It would take a job."

        add_provider(Hanging("hangs"))
        monkeypatch.setattr(clusters, "LOOK_SECONDS", 0.05)
        monkeypatch.setattr(clusters, "SHORT_LOOK_SECONDS", 0.05)
        try:
            began = time.monotonic()
            body = as_alice.get("/api/cloud/providers/hangs/validate").json()
            assert time.monotonic() - began < 10
            assert body["valid"] is False
            assert body["message"] == body["error"] == "It did not answer within 0.05 s."
            assert as_alice.get("/api/cloud/providers/hangs/validate").json()["error"].startswith("An earlier check")
        finally:
            released.set()
        asking._asking["validate hangs"].join(10)
        assert as_alice.get("/api/cloud/providers/hangs/validate").json()["valid"] is True
