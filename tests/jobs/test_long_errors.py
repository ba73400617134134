"""An error of a hundred thousand characters: whole where it is about this job alone, its beginning in every list."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle
from jobs.models import Job
from tests.events import published_events
from tests.web import read_page

pytestmark = pytest.mark.django_db
ERROR = "CUDA out of memory " + "x" * 100_000 + "the end"
BEGINNING = ERROR[:299] + "…"
ClientOf = Callable[[User | None], APIClient]


@pytest.fixture
def failed(make_job: Callable[..., Job]) -> Job:
    return make_job(status="failed", error_message=ERROR, sync_error=ERROR)


def test_a_list_has_its_beginning_and_the_job_all_of_it(client_of: ClientOf, alice: User, failed: Job) -> None:
    [listed] = client_of(alice).get("/api/cloud/jobs").json()["jobs"]
    assert (listed["error_message"], listed["metadata"]["sync_error"]) == (BEGINNING, BEGINNING)
    job = client_of(alice).get(f"/api/cloud/jobs/{failed.pk}").json()["job"]
    assert (job["error_message"], job["metadata"]["sync_error"]) == (ERROR, ERROR)
    assert set(listed) == set(job)


@pytest.mark.parametrize("length", [0, 299, 300])
def test_a_short_one_is_whole_in_a_list(
    client_of: ClientOf, alice: User, make_job: Callable[..., Job], length: int
) -> None:
    make_job(status="failed", error_message="ä" * length)
    [listed] = client_of(alice).get("/api/cloud/jobs").json()["jobs"]
    assert listed["error_message"] == ("ä" * length or None)


def test_no_query_of_a_list_carries_it(client_of: ClientOf, alice: User, failed: Job) -> None:
    with CaptureQueriesContext(connection) as queries:
        client_of(alice).get("/api/cloud/jobs")
    columns = [query["sql"].partition(" FROM ")[0] for query in queries.captured_queries]
    # But as the argument of a function, which cuts it.
    assert not any(re.search(r'(?<!\()"jobs_job"."(error_message|sync_error|config)"', text) for text in columns)
    assert any("error_message_beginning" in text for text in columns)
    assert len(queries) < 12  # it is not fetched later on, row by row, either


def test_a_line_of_the_page_has_its_beginning(alice: User, failed: Job) -> None:
    page = read_page(alice, "/")
    assert "CUDA out of memory" in page
    assert "the end" not in page
    assert len(page) < 100_000
    assert "the end" in read_page(alice, f"/jobs/{failed.pk}")


def test_an_event_has_its_beginning_and_the_history_all_of_it(make_job: Callable[..., Job]) -> None:
    job = make_job(status="running", started_at=None)
    lifecycle.finish(job, "failed", actor=SYSTEM, source=Source.API, reason=ERROR)  # type: ignore[arg-type]
    event = json.loads(published_events().order_by("-eid").values_list("data", flat=True)[0])
    assert event["error_message"] == BEGINNING
    assert job.events.last().reason == ERROR  # type: ignore[union-attr]


def test_a_reason_to_cancel_is_cut_in_the_list_alone(
    client: Client, client_of: ClientOf, alice: User, make_job: Callable[..., Job]
) -> None:
    job = make_job()
    reason = "x" * 1000 + "the end"
    assert lifecycle.request_cancel(job, actor=SYSTEM, source=Source.API, reason=reason)
    assert "the end" not in read_page(alice, "/")
    events = client_of(alice).get(f"/api/cloud/jobs/{job.pk}/events").json()["events"]
    assert events[-1]["reason"] == reason
