"""What jobs come to, and for whom; and what Replicate says of itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from rest_framework.test import APIClient

from jobs.models import Job
from jobs.providers.replicate import status_page as replicate_status
from jobs.roles import Role
from jobs.statuses import JobStatus
from queueing import claims

pytestmark = pytest.mark.django_db
ClientOf = Callable[[User | None], APIClient]
MakeJob = Callable[..., Job]


@pytest.fixture
def history(make_job: MakeJob) -> datetime:
    """Two jobs of today, one of last week, one of last year, and one that runs. Returns now."""
    now = timezone.now()

    def ended(status: JobStatus, days: int, cost: float) -> None:
        end = now - timedelta(days=days)
        times = {"created_at": end - timedelta(seconds=40), "started_at": end - timedelta(seconds=30)}
        make_job(status=status, completed_at=end, cost_usd=cost, submission_marker=f"m{cost}", **times)

    ended(JobStatus.COMPLETED, 0, 1.5)
    ended(JobStatus.FAILED, 0, 0.25)
    ended(JobStatus.COMPLETED, 7, 2)
    ended(JobStatus.COMPLETED, 400, 100)
    make_job(status=JobStatus.RUNNING, started_at=now, cost_usd=0.5, provider="replicate", external_id="x1")
    Job.objects.filter(cost_usd=2).update(deleted_at=now, cost_doubt="there is no price for cpu.")
    return now


def test_the_figures_of_a_month(client_of: ClientOf, alice: User, history: datetime) -> None:
    answer = client_of(alice).get("/api/cloud/metrics").json()
    days = {day.pop("date"): tuple(day.values()) for day in answer.pop("cost_by_day")}
    assert answer == {
        "period_days": 30,
        "job_count": 4,
        "jobs_by_status": {**dict.fromkeys(JobStatus.values, 0), "completed": 2, "failed": 1, "running": 1},
        "total_cost_usd": 4.25,
        "jobs_of_unknown_cost": 1,
        "average_duration_seconds": 30.0,
        "average_wait_seconds": 10.0,
        "success_rate": 0.6667,
    }
    assert len(days) == 30
    assert days[str(history.date())] == (2.25, 3, 0)
    assert days[str((history - timedelta(days=7)).date())] == (2.0, 1, 1)


@pytest.mark.parametrize(("days", "jobs"), [("1", 3), ("7", 3), ("8", 4), ("366", 4)])
def test_a_period_is_whole_days_with_today(
    client_of: ClientOf, alice: User, history: datetime, days: str, jobs: int
) -> None:
    answer = client_of(alice).get("/api/cloud/metrics", {"days": days}).json()
    assert (answer["job_count"], len(answer["cost_by_day"])) == (jobs, int(days))


@pytest.mark.parametrize("days", ["0", "367", "many"])
def test_a_period_that_cannot_be(client_of: ClientOf, alice: User, days: str) -> None:
    answer = client_of(alice).get("/api/cloud/metrics", {"days": days})
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["days"])


def test_nobody_learns_what_others_spend(client_of: ClientOf, charlie: User, history: datetime) -> None:
    answer = client_of(charlie).get("/api/cloud/metrics").json()
    assert (answer["job_count"], answer["total_cost_usd"], answer["success_rate"]) == (0, 0.0, None)


@pytest.mark.parametrize("path", ["metrics", "metrics/prometheus", "replicate/status"])
def test_they_are_for_people_who_are_signed_in(client_of: ClientOf, db: None, path: str) -> None:
    answer = client_of(None).get(f"/api/cloud/{path}", headers={"Accept": "*/*;q=0.1"})
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


def scrape(client: APIClient) -> dict[tuple[str, ...], float]:
    answer = client.get("/api/cloud/metrics/prometheus", headers={"Accept": "application/openmetrics-text;q=0.5"})
    assert answer["Content-Type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.content.decode())
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_prometheus_reads_what_the_asker_may_see(
    client_of: ClientOf, alice: User, charlie: User, root: User, history: datetime, make_job: MakeJob
) -> None:
    claims.enqueue(make_job(), role=Role.RESEARCHER, held=False, actor=claims.DISPATCHER, source="api")
    figures = scrape(client_of(alice))
    assert figures["cloudtrain_jobs", "local", "completed"] == 3
    assert figures["cloudtrain_job_cost_usd_total", "replicate"] == 0.5
    assert figures["cloudtrain_jobs_cost_unknown", "local"] == 1
    assert figures["cloudtrain_jobs_cost_unknown", "replicate"] == 0
    assert figures["cloudtrain_queue_entries", "local", "pending"] == 1
    assert scrape(client_of(root)) == figures
    assert not [key for key in scrape(client_of(charlie)) if "loop" not in key[0]]


@contextmanager
def status_page(answer: bytes, paths: list[str]) -> Iterator[str]:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/summary"
        server.shutdown()
        thread.join()


INCIDENT = {"name": "Slow starts", "status": "investigating"}


@pytest.mark.parametrize(
    ("summary", "operational"),
    [({"page_url": "https://status.example"}, True), ({"ongoing_incidents": [INCIDENT]}, False)],
)
def test_the_status_page_is_asked_once_a_minute(
    client_of: ClientOf, alice: User, monkeypatch: pytest.MonkeyPatch, summary: dict[str, Any], operational: bool
) -> None:
    paths: list[str] = []
    with status_page(json.dumps(summary).encode(), paths) as url:
        monkeypatch.setenv("REPLICATE_STATUS_URL", url)
        first, second = (client_of(alice).get("/api/cloud/replicate/status").json() for _ in range(2))
    assert first == second
    assert paths == ["/summary"]
    assert (first["operational"], first["error"]) == (operational, None)
    assert first["ongoing_incidents"] == summary.get("ongoing_incidents", [])
    assert first["scheduled_maintenances"] == []


@pytest.mark.parametrize("answer", [b"<html>", b"[]", None])
def test_a_status_page_that_says_nothing_is_no_error_of_ours(
    client_of: ClientOf, alice: User, monkeypatch: pytest.MonkeyPatch, answer: bytes | None
) -> None:
    with status_page(answer or b"", []) as url:
        monkeypatch.setenv("REPLICATE_STATUS_URL", url if answer else "http://127.0.0.1:1/nobody")
        shown = client_of(alice).get("/api/cloud/replicate/status")
    assert shown.status_code == 200
    assert shown.json()["operational"] is None
    assert "could not be read" in shown.json()["error"]
    assert replicate_status._cache.answer == shown.json()
