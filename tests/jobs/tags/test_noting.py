"""The note on a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from jobs.models import Job, Organization
from jobs.roles import Role
from tests.factories import make_user
from tests.web import read_page

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeJob = Callable[..., Job]


def write(user: User, job: Job, note: str) -> Any:
    client = Client()
    client.force_login(user)
    return client.post(f"/api/cloud/jobs/{job.pk}/note", {"note": note}, content_type="application/json")


def test_any_submitter_writes_it_and_the_history_has_it(acme: Organization, make_job: MakeJob) -> None:
    job, carol = make_job(), make_user("carol", acme, Role.RESEARCHER)
    assert write(carol, job, "  best   so far ").json()["note"] == "best so far"
    assert write(carol, job, "best so far").status_code == 200
    job.refresh_from_db()
    assert job.note == "best so far"
    assert list(job.events.values_list("actor", "reason")) == [("carol", "note: best so far")]
    assert "best so far" in read_page(carol, f"/jobs/{job.pk}")


def test_viewers_and_strangers_write_none(acme: Organization, charlie: User, make_job: MakeJob) -> None:
    job, vera = make_job(), make_user("vera", acme, Role.VIEWER)
    assert (write(vera, job, "x").status_code, write(charlie, job, "x").status_code) == (403, 404)
    client = Client()
    client.force_login(vera)
    assert client.post(f"/jobs/{job.pk}/note", {"note": "x"}).status_code == 403
    job.refresh_from_db()
    assert job.note is None


@pytest.mark.parametrize("note", ["x" * 301, "r8_" + "a" * 37])
def test_a_note_that_cannot_be_changes_nothing(alice: User, make_job: MakeJob, note: str) -> None:
    job = make_job()
    assert write(alice, job, note).status_code == 400
    job.refresh_from_db()
    assert job.note is None


def test_the_page_writes_it_and_takes_it_off(alice: User, make_job: MakeJob) -> None:
    job, client = make_job(), Client()
    client.force_login(alice)
    for note in ("worse", ""):
        assert client.post(f"/jobs/{job.pk}/note", {"note": note})["Location"] == f"/jobs/{job.pk}"
        job.refresh_from_db()
        assert job.note == note
