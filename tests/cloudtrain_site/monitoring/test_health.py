"""What the site says of its own health, to whom."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import OrmQ
from rest_framework.test import APIClient

from cloudtrain_site import extensions
from cloudtrain_site.extensions import HealthComponent
from cloudtrain_site.models import Loop, LoopRun
from cloudtrain_site.registry import Registry

URL = "/api/cloud/health"
ClientOf = Callable[[User | None], APIClient]


@pytest.fixture
def loops_run(db: None) -> None:
    """Every loop ran a second ago."""
    now = timezone.now()
    for name, spec in extensions.loops.items():
        Loop.objects.create(
            name=name,
            interval_seconds=spec.seconds(),
            wanted_since=now - timedelta(days=1),
            last_started_at=now - timedelta(seconds=1),
            last_duration_ms=3.0,
            last_outcome="ok",
        )


@pytest.fixture
def health(client_of: ClientOf, alice: User) -> Callable[[], dict[str, Any]]:
    """The answer that alice gets, its components by name."""

    def get() -> dict[str, Any]:
        answer = client_of(alice).get(URL, {"include_replicate": "true"})
        assert answer.status_code == 200
        return {**answer.json(), **{part["name"]: part for part in answer.json()["components"]}}

    return get


Health = Callable[[], dict[str, Any]]


class TestHealth:
    def test_all_is_well(self, health: Health, loops_run: None) -> None:
        answer = health()
        assert answer["status"] == "healthy"
        assert answer["uptime_seconds"] >= 0
        names = [part["name"] for part in answer["components"]]
        parts = ["database", "broker", "events", *extensions.loops]
        assert names == [*parts, *extensions.health_components]

    def test_each_part_has_the_documented_fields(self, health: Health, loops_run: None) -> None:
        for part in health()["components"]:
            assert set(part) == {"name", "status", "message", "latency_ms", "last_beat"}
            assert part["latency_ms"] >= 0

    def test_a_room_adds_what_it_knows(self, health: Health, loops_run: None, monkeypatch: pytest.MonkeyPatch) -> None:
        added: Registry[HealthComponent] = Registry()
        monkeypatch.setattr(extensions, "health_components", added)
        added.register("post office", HealthComponent(lambda: "Closed. Come back later.", well="Open."))
        added.register("bakery", HealthComponent(lambda: "", well="Bread is there."))
        added.register("broken", HealthComponent(lambda: str(1 / 0), well="Never."))
        answer = health()
        components = {
            name: (answer[name]["status"], answer[name]["message"]) for name in ("post office", "bakery", "broken")
        }
        assert components == {
            "post office": ("degraded", "Closed. Come back later."),
            "bakery": ("healthy", "Bread is there."),
            "broken": ("degraded", "Does not answer (ZeroDivisionError)."),
        }
        assert answer["status"] == "degraded"

    def test_a_loop_that_never_ran(self, health: Health) -> None:
        assert health()["status"] == "degraded"
        assert health()["queue processing"]["status"] == "degraded"

    @pytest.mark.parametrize(("age", "status"), [(9, "healthy"), (12, "degraded")])
    def test_a_loop_is_late_after_two_intervals(self, health: Health, loops_run: None, age: int, status: str) -> None:
        Loop.objects.filter(name="queue processing").update(last_started_at=timezone.now() - timedelta(seconds=age))
        assert health()["queue processing"]["status"] == health()["status"] == status

    def test_a_loop_that_runs_for_long_is_not_late(self, health: Health, loops_run: None) -> None:
        now = timezone.now()
        Loop.objects.filter(name="queue processing").update(
            last_started_at=now - timedelta(seconds=50), lease_until=now + timedelta(seconds=9)
        )
        assert health()["queue processing"]["status"] == "healthy"

    def test_a_loop_that_was_just_switched_on_is_not_late(self, health: Health, loops_run: None) -> None:
        Loop.objects.filter(name="job status polling").update(last_started_at=None, wanted_since=timezone.now())
        assert health()["job status polling"]["status"] == "healthy"

    def test_a_loop_that_is_switched_off_is_not_late(self, health: Health, loops_run: None) -> None:
        Loop.objects.filter(name="job status polling").update(enabled=False, last_started_at=None)
        assert health()["job status polling"]["status"] == "healthy"

    def test_a_failed_run_tells_no_details(self, health: Health, loops_run: None) -> None:
        Loop.objects.filter(name="queue processing").update(last_outcome="failed", last_error="db.example.org")
        part = health()["queue processing"]
        assert part["status"] == "degraded"
        assert "example" not in part["message"]

    @pytest.mark.skipif(not Conf.ORM, reason="Redis keeps no times")
    def test_tasks_that_nobody_takes(self, health: Health, loops_run: None) -> None:
        OrmQ.objects.create(key=Conf.CLUSTER_NAME, payload="", lock=timezone.now() - timedelta(seconds=90))
        assert health()["broker"]["status"] == "degraded"
        assert "the oldest for 90 s" in health()["broker"]["message"]

    def test_nobody_else_may_look(self, client_of: ClientOf, db: None) -> None:
        assert client_of(None).get(URL).status_code == 401


class TestProbes:
    def test_live_needs_no_database(self) -> None:
        """Without the mark, any look at the database fails."""
        answer = Client().get(f"{URL}/live")
        assert (answer.status_code, answer.json()) == (200, {"status": "alive"})

    @pytest.mark.django_db
    def test_ready(self) -> None:
        assert Client().get(f"{URL}/ready").status_code == 200


@pytest.mark.django_db
class TestAdmin:
    @pytest.fixture
    def browser(self, root: User, client: Client) -> Client:
        client.force_login(root)
        return client

    def test_a_late_loop_is_marked(self, browser: Client, loops_run: None) -> None:
        Loop.objects.filter(name="housekeeping").update(last_started_at=timezone.now() - timedelta(hours=3))
        page = browser.get("/admin/cloudtrain_site/loop/")
        assert page.status_code == 200
        assert page.content.count(b"icon-no") == 1

    def test_the_runs_can_be_looked_at(self, browser: Client, loops_run: None) -> None:
        run = LoopRun.objects.create(loop_id="housekeeping", duration_ms=5, outcome="ok", correlation_id="abc123")
        assert b"abc123" in browser.get("/admin/cloudtrain_site/looprun/?loop__name__exact=housekeeping").content
        assert browser.get(f"/admin/cloudtrain_site/looprun/{run.pk}/change/").status_code == 200

    @pytest.mark.parametrize("page", ["loop/add/", "loop/housekeeping/delete/", "looprun/add/"])
    def test_nothing_can_be_changed(self, browser: Client, loops_run: None, page: str) -> None:
        assert browser.get(f"/admin/cloudtrain_site/{page}").status_code == 403

    def test_a_lead_does_not_see_them(self, bob: User, client: Client) -> None:
        client.force_login(bob)
        assert client.get("/admin/cloudtrain_site/loop/").status_code == 403

    def test_schedule_rows_are_there_too(self, browser: Client) -> None:
        assert browser.get("/admin/django_q/schedule/").status_code == 200
