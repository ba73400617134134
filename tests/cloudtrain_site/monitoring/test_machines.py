"""The heartbeats of the processes, and what is said of the silent, the old and those with a wrong clock."""
# ruff: noqa: F401, F811 - fixtures are imported, and then named again by the tests that want them

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

import cloudtrain_site
from cloudtrain_site.models import SiteProcess
from cloudtrain_site.monitoring import machines, process_heartbeats
from cloudtrain_site.monitoring.process_heartbeats import BACKGROUND, WEB, Heartbeat
from cloudtrain_site.tasks import housekeep
from tests.cloudtrain_site.process_stacks import START_SECONDS, Stack, migrated, stack
from tests.factories import make_process as add
from tests.servers import free_port
from tests.wait import wait_until

pytestmark = pytest.mark.django_db
AN_HOUR, A_MINUTE = timedelta(hours=1), timedelta(minutes=1)


class TestSending:
    def test_a_process_has_one_row_that_its_heartbeats_renew(self) -> None:
        before = timezone.now()
        process_heartbeats.send_heartbeat(WEB)
        first = SiteProcess.objects.get()
        SiteProcess.objects.update(seen_at=before - A_MINUTE)
        process_heartbeats.send_heartbeat(WEB)
        again = SiteProcess.objects.get()
        assert (first.role, first.pid, first.version) == ("web", os.getpid(), cloudtrain_site.__version__)
        assert first.code == process_heartbeats.code_fingerprint() and len(first.code) == 12
        assert again.seen_at > before - A_MINUTE
        assert again.started_at == first.started_at

    def test_it_costs_few_statements(self, django_assert_max_num_queries: Any) -> None:
        process_heartbeats.send_heartbeat(WEB)
        with django_assert_max_num_queries(4):
            process_heartbeats.send_heartbeat(WEB)

    @pytest.mark.sqlite
    def test_with_sqlite_there_is_no_other_clock(self) -> None:
        assert process_heartbeats.clock_offset() is None

    @pytest.mark.postgresql
    def test_the_offset_is_against_the_databases_clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        honest = time.time
        assert abs(process_heartbeats.clock_offset() or 0.0) < 1
        monkeypatch.setattr(time, "time", lambda: honest() + 7)
        assert 6 < (process_heartbeats.clock_offset() or 0.0) < 8

    def test_it_forgets_the_silent_ones_that_it_replaces_and_no_others(self) -> None:
        here = process_heartbeats.MACHINE
        replaced = add(here, WEB, silent_for=2 * A_MINUTE)
        kept = {add(here, WEB), add(here, BACKGROUND, silent_for=AN_HOUR), add("other", WEB, silent_for=AN_HOUR)}
        process_heartbeats.send_heartbeat(WEB)
        assert set(SiteProcess.objects.exclude(pid=os.getpid())) == kept
        assert not SiteProcess.objects.filter(pk=replaced.pk).exists()

    def test_what_is_silent_for_a_day_is_forgotten(self) -> None:
        kept, old = add(silent_for=timedelta(hours=23)), add(silent_for=timedelta(hours=25))
        assert housekeep()["processes"] == 1
        assert list(SiteProcess.objects.all()) == [kept]
        assert old not in SiteProcess.objects.all()

    def test_other_code_has_another_fingerprint(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        found = set()
        for text in ("one", "two"):
            for room in ("approvals", "cloudtrain_site"):
                (tmp_path / room).mkdir(exist_ok=True)
            (tmp_path / "approvals" / "rules.py").write_text(text)
            monkeypatch.setattr(cloudtrain_site, "__file__", str(tmp_path / "cloudtrain_site" / "__init__.py"))
            found.add(process_heartbeats.code_fingerprint.__wrapped__())
        assert len(found) == 2


@pytest.mark.django_db(transaction=True)
class TestHeartbeat:
    @pytest.fixture
    def heartbeat(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Heartbeat]:
        monkeypatch.setattr(process_heartbeats, "HEARTBEAT_SECONDS", 0.05)
        heartbeat = Heartbeat(WEB)
        yield heartbeat
        heartbeat.end()

    def test_it_sends_until_its_end_and_then_removes_its_row(self, heartbeat: Heartbeat) -> None:
        heartbeat.start()
        wait_until(SiteProcess.objects.exists)
        heartbeat.end()
        assert not SiteProcess.objects.exists()

    def test_a_database_that_is_away_is_logged_once_and_ends_nothing(
        self, heartbeat: Heartbeat, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        honest, failures = process_heartbeats.clock_offset, iter([True, True, False])

        def fail_twice() -> float | None:
            if next(failures, False):
                raise OSError("away")
            return honest()

        monkeypatch.setattr(process_heartbeats, "clock_offset", fail_twice)
        heartbeat.start()
        wait_until(SiteProcess.objects.exists)
        logged = [r for r in caplog.records if r.message == "Heartbeat could not be written"]
        assert [r.levelname for r in logged if r.levelname == "WARNING"] == ["WARNING"]


class TestReports:
    def test_all_is_well(self) -> None:
        add("one", WEB), add("one", BACKGROUND), add("two", BACKGROUND, clock_offset_seconds=4.9)
        reports = machines.process_reports()
        assert [(one.machine, one.role) for one in reports] == [
            ("one", "background"),
            ("one", "web"),
            ("two", "background"),
        ]
        assert not any(one.is_silent or one.is_outdated or one.is_clock_off for one in reports)
        assert machines.warning() == ""

    def test_there_is_no_heartbeat_yet(self) -> None:
        assert (machines.process_reports(), machines.warning()) == ([], "")

    def test_a_machine_is_silent_after_a_minute(self) -> None:
        add("one"), add("two", silent_for=timedelta(seconds=70))
        assert [one.is_silent for one in machines.process_reports()] == [False, True]
        assert machines.warning() == f"1 machine has sent no heartbeat for 60 s or more. {machines.REMEDY}"
        assert "two" not in machines.warning()  # everybody reads it

    def test_a_process_that_was_replaced_is_not_missed(self) -> None:
        add("one", silent_for=A_MINUTE * 2), add("one")
        assert machines.warning() == ""
        add("one", BACKGROUND, silent_for=A_MINUTE * 2)
        assert "1 machine has sent no heartbeat" in machines.warning()

    @pytest.mark.parametrize("offset", [5.1, -5.1])
    def test_a_clock_that_is_off(self, offset: float) -> None:
        add("one"), add("two", clock_offset_seconds=offset), add("three", clock_offset_seconds=offset)
        assert [one.is_clock_off for one in machines.process_reports()] == [False, True, True]
        assert machines.warning().startswith("2 machines have a clock that is off by more than 5 s")

    @pytest.mark.parametrize(
        ("versions", "outdated"),
        [
            ([("1.9.0", "a", 1), ("1.10.0", "b", 2)], ["1.9.0"]),  # by number, and not by who was started last
            ([("1.10.0", "a", 2), ("1.10.0", "b", 1)], ["1.10.0"]),
            ([("1.10.0", "a", 2), ("1.10.0", "a", 1)], []),
        ],
    )
    def test_code_that_is_not_the_newest(self, versions: list[tuple[str, str, int]], outdated: list[str]) -> None:
        for number, (version, code, hours) in enumerate(versions):
            add(f"m{number}", version=version, code=code, started_at=timezone.now() - hours * AN_HOUR)
        found = [one for one in machines.process_reports() if one.is_outdated]
        assert [one.version for one in found] == outdated
        assert ("1 machine runs older code" in machines.warning()) is bool(outdated)

    def test_of_two_codes_of_a_version_the_one_started_last_counts(self) -> None:
        add("old", code="a", started_at=timezone.now() - 2 * AN_HOUR), add("new", code="b")
        assert [one.machine for one in machines.process_reports() if one.is_outdated] == ["old"]

    def test_the_code_of_a_silent_process_is_nobodys_measure(self) -> None:
        add("one", code="a"), add("gone", code="b", version="9.0", silent_for=AN_HOUR)
        assert [one.machine for one in machines.process_reports() if one.is_outdated] == ["gone"]
        assert "older code" not in machines.warning()


def test_the_health_says_it(client_of: Callable[..., Any], alice: Any) -> None:
    add("one"), add("two", silent_for=AN_HOUR)
    parts = {part["name"]: part for part in client_of(alice).get("/api/cloud/health").json()["components"]}
    assert parts["machines"]["status"] == "degraded"
    assert "sent no heartbeat" in parts["machines"]["message"]


@pytest.mark.slow
@pytest.mark.long
def test_what_is_started_sends_heartbeats_and_what_is_stopped_has_no_row(stack: Stack) -> None:
    """By the real processes of `up`, and SIGTERM to them."""
    up = stack.start("up", "--port", str(free_port()))

    def roles() -> list[tuple[str, ...]]:
        return sorted(stack.query("SELECT role FROM cloudtrain_site_siteprocess"))

    wait_until(lambda: roles() == [("background",), ("web",)], START_SECONDS)
    up.terminate()
    up.wait(15)
    assert roles() == []
