"""Looks at clusters: who looks, what is kept of an answer and of a failure."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from jobs import tasks
from jobs.models import ClusterLook, Job, ProviderConfig
from jobs.providers.base import ProviderError
from jobs.providers.clusters.view import ClusterView
from jobs.sync import asking, clusters
from tests.events import published_events
from tests.providers import ClusterProvider, ScriptedProvider, node
from tests.races import at_once

pytestmark = pytest.mark.django_db
UNREADABLE = {"nodes": None}


def make_due(name: str = "lab") -> None:
    ClusterLook.objects.filter(pk=name).update(looked_at=timezone.now() - timedelta(minutes=1), look_until=None)


def test_what_a_look_shows_is_kept_with_its_time(lab: ClusterProvider) -> None:
    before = timezone.now()
    assert clusters.look_where_due() == {"seen": 1, "failed": 0}
    look = ClusterLook.objects.get()
    assert clusters.view_of(look) == lab.view
    assert look.seen_at is not None and look.seen_at >= before
    assert (look.error, look.error_at, look.is_fresh) == ("", None, True)


def test_a_failure_keeps_the_last_view_and_says_when_and_why(
    lab: ClusterProvider, caplog: pytest.LogCaptureFixture
) -> None:
    seen, shown = clusters.look_now("lab"), ClusterProvider().view
    lab.view = ProviderError("connection refused, token=abc123secret")
    for _ in range(2):
        make_due()
        assert clusters.look_where_due() == {"seen": 0, "failed": 1}
    look = ClusterLook.objects.get()
    assert look.error.startswith("connection refused") and "abc123secret" not in look.error
    assert look.error_at is not None
    assert seen is not None and look.seen_at == seen.seen_at
    assert clusters.view_of(look) == shown
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING and r.message == "Cluster could not be asked"]
    assert len(warnings) == 1  # an outage is told once

    lab.view = shown
    make_due()
    clusters.look_where_due()
    assert ClusterLook.objects.get().error == ""


def test_a_cluster_that_hangs_keeps_no_other_from_being_seen(
    lab: ClusterProvider, add_provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_provider(ClusterProvider("hangs", answers_at_once=False))
    monkeypatch.setattr(clusters, "LOOK_SECONDS", 0.05)
    assert clusters.look_where_due() == {"seen": 1, "failed": 1}
    assert ClusterLook.objects.get(pk="hangs").error == "It did not answer within 0.05 s."
    assert ClusterLook.objects.get(pk="lab").is_fresh


def test_a_look_that_no_timeout_can_cancel_is_left_alone(
    lab: ClusterProvider, monkeypatch: pytest.MonkeyPatch, add_provider: Any
) -> None:
    """A shared folder or a name server that hangs: a thread, whose end nobody may have to wait for."""
    released = threading.Event()

    class Hanging(ClusterProvider):
        async def look(self) -> ClusterView:
            self.looks += 1
            await asyncio.to_thread(released.wait, 30)
            return ClusterView("1.0", (node(),))

    hanging = Hanging("hangs")
    add_provider(hanging)
    try:
        began = time.monotonic()
        look = clusters.look_now("hangs", seconds=0.05)
        assert time.monotonic() - began < 5
        assert look is not None and look.error == "It did not answer within 0.05 s."
        make_due("hangs")
        again = clusters.look_now("hangs", seconds=0.05)
        assert again is not None and again.error.startswith("An earlier check of it still hangs")
        assert hanging.looks == 1  # no thread is left behind each half a minute
        assert clusters.look_where_due() == {"seen": 1, "failed": 0}
    finally:
        released.set()
    asking._asking["look at hangs"].join(10)
    make_due("hangs")
    assert clusters.look_where_due() == {"seen": 1, "failed": 0}


def test_an_answer_that_breaks_our_code_is_a_failure_of_that_cluster_alone(
    lab: ClusterProvider, add_provider: Any
) -> None:
    add_provider(ClusterProvider("odd", view=KeyError("nodes")))
    assert clusters.look_where_due() == {"seen": 1, "failed": 1}
    assert ClusterLook.objects.get(pk="odd").error == "Its answer could not be read (KeyError)."


def test_the_background_leaves_alone_what_was_seen_just_now(lab: ClusterProvider) -> None:
    clusters.look_now("lab")
    assert clusters.look_where_due() == {"seen": 0, "failed": 0}
    make_due()
    assert clusters.look_where_due() == {"seen": 1, "failed": 0}
    assert lab.looks == 2


def test_a_second_click_asks_nobody_and_shows_the_same(lab: ClusterProvider) -> None:
    first, second = clusters.look_now("lab"), clusters.look_now("lab")
    assert lab.looks == 1
    assert first is not None and second is not None and first.seen_at == second.seen_at


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_asks(lab: ClusterProvider) -> None:
    at_once(*[lambda: clusters.look_now("lab")] * 4)
    assert lab.looks == 1
    assert ClusterLook.objects.get().is_fresh


def test_a_killed_look_blocks_the_next_one_for_its_lease_alone(lab: ClusterProvider) -> None:
    now = timezone.now()
    ClusterLook.objects.create(
        provider="lab", looked_at=now - timedelta(minutes=1), look_until=now + timedelta(seconds=5)
    )
    clusters.look_now("lab")
    assert lab.looks == 0
    ClusterLook.objects.update(look_until=now - timedelta(seconds=1))
    clusters.look_now("lab")
    assert lab.looks == 1


def test_a_look_that_a_later_one_overtook_stores_nothing(lab: ClusterProvider) -> None:
    clusters.look_now("lab")
    old = timezone.now() - timedelta(minutes=1)
    clusters._store("lab", old, "too late")
    clusters._store("lab", old, ClusterView("0.1", [node("gone")]))
    assert clusters.view_of(ClusterLook.objects.get()) == lab.view
    assert ClusterLook.objects.get().error == ""


def test_what_another_version_stored_is_no_view(lab: ClusterProvider) -> None:
    assert clusters.view_of(ClusterLook(provider="lab", data=UNREADABLE)) is None
    assert clusters.view_of(None) is None


def test_without_a_cluster_the_loop_is_off_and_a_look_costs_no_query(
    add_provider: Any, django_assert_num_queries: Any
) -> None:
    add_provider(ScriptedProvider("plain"))
    with django_assert_num_queries(0):
        assert tasks.has_clusters() is False
        assert clusters.look_where_due() == {"seen": 0, "failed": 0}


def test_with_a_cluster_the_loop_is_on(lab: ClusterProvider) -> None:
    assert tasks.has_clusters() is True
    assert tasks.look_at_clusters() == {"seen": 1, "failed": 0}


class TestHealth:
    @pytest.fixture
    def component(self, alice: User, client_of: Callable[..., APIClient]) -> Callable[[], tuple[str, str]]:
        def get() -> tuple[str, str]:
            components = client_of(alice).get("/api/cloud/health").json()["components"]
            [part] = [one for one in components if one["name"] == "clusters"]
            return part["status"], part["message"]

        return get

    def test_a_cluster_that_does_not_answer_is_said(
        self, lab: ClusterProvider, component: Callable[[], tuple[str, str]]
    ) -> None:
        assert component() == ("healthy", "All answer.")
        clusters.look_now("lab")
        assert component() == ("healthy", "All answer.")
        lab.view = ProviderError("connection refused")
        make_due()
        clusters.look_now("lab")
        status, message = component()
        assert status == "degraded"
        assert message.startswith("Lab could not be checked: connection refused. It was last seen at 20")

    def test_an_error_that_names_the_cluster_is_said_as_it_is(
        self, lab: ClusterProvider, component: Callable[[], tuple[str, str]]
    ) -> None:
        lab.view = ProviderError("Lab does not accept its token.")
        clusters.look_now("lab")
        assert component() == ("degraded", "Lab does not accept its token.")

    def test_one_that_is_switched_off_is_not_missed(
        self, lab: ClusterProvider, component: Callable[[], tuple[str, str]]
    ) -> None:
        lab.view = ProviderError("connection refused")
        clusters.look_now("lab")
        ProviderConfig.objects.create(name="lab", enabled=False)
        assert component() == ("healthy", "All answer.")


class TestEvents:
    """Whoever shows a waiting job hears that a node can run it no more, or again."""

    @pytest.fixture
    def jobs(self, make_job: Callable[..., Job], lab: ClusterProvider) -> list[Job]:
        """Two that wait for the profile, and three that don't."""
        fields: list[dict[str, Any]] = [
            {"hardware_profile": "gpu", "status": "pending"},
            {"hardware_profile": "gpu", "status": "queued"},
            {"hardware_profile": "gpu", "status": "running"},
            {"hardware_profile": "cpu", "status": "queued"},
            {"hardware_profile": "gpu", "status": "queued", "provider": "replicate"},
        ]
        return [make_job(**{"provider": "lab", "external_id": f"x-{n}", **one}) for n, one in enumerate(fields)]

    def look(self, lab: ClusterProvider, unrunnable: dict[str, str]) -> list[str]:
        """Return the ids of the jobs that the look's events are about."""
        before = published_events().count()
        lab.view = ClusterView("1.0", (node(),), unrunnable=unrunnable)
        ClusterLook.objects.update(looked_at=None)
        clusters.look_now("lab")
        return [json.loads(event.data)["job_id"] for event in published_events()[before:]]

    def test_a_change_is_published_once_for_the_jobs_that_it_concerns(
        self, lab: ClusterProvider, jobs: list[Job]
    ) -> None:
        waiting = [jobs[0].pk, jobs[1].pk]
        assert self.look(lab, {"gpu": "No node has a GPU."}) == waiting
        assert self.look(lab, {"gpu": "No node has a GPU."}) == []
        assert self.look(lab, {}) == waiting
        assert self.look(lab, {"other": "No node."}) == []

    def test_a_failure_changes_nothing_of_it(self, lab: ClusterProvider, jobs: list[Job]) -> None:
        self.look(lab, {"gpu": "No node has a GPU."})
        before = published_events().count()
        lab.view = ProviderError("away")
        ClusterLook.objects.update(looked_at=None)
        clusters.look_now("lab")
        assert published_events().count() == before
        assert clusters.unrunnable_profiles({"lab"}) == {("lab", "gpu"): "No node has a GPU."}
