"""Where one can go from any page."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from jobs.models import Job
from tests.web import read_page

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeJob = Callable[..., Job]


def found(user: User, text: str) -> list[str]:
    names = re.findall(r'class="place-name">([^<]*)<', read_page(user, f"/palette?q={text}"))
    return [re.sub(r" #\d+$", "", name) for name in names]


def test_has_pages_by_a_part_of_their_name(alice: User) -> None:
    assert found(alice, "appr") == ["Approvals"]
    assert found(alice, "NEW+j") == ["New job"]
    assert 'href="/?period=last-month&amp;sort=loss"' in read_page(alice, "/palette?q=best+last")
    assert {"Jobs", "Queue", "Account", "API"} <= set(found(alice, ""))


def test_has_the_settings_that_one_may_see(alice: User, bob: User, root: User) -> None:
    assert "acme: Members" in found(bob, "acme")
    assert "acme: General" not in found(alice, "acme")
    assert "acme: General" in found(root, "general")


def test_has_jobs_by_name_and_id_that_one_may_see(alice: User, charlie: User, make_job: MakeJob) -> None:
    job = make_job(config_name="Flux <b>portraits")
    assert found(alice, "portr") == ["Flux &lt;b&gt;portraits"]
    assert found(alice, job.pk) == ["Flux &lt;b&gt;portraits"]
    assert f'href="/jobs/{job.pk}"' in read_page(alice, "/palette?q=flux")
    assert found(charlie, "portr") == found(alice, "%00nothing") == []


def test_is_for_who_is_signed_in(client: Client, db: None) -> None:
    assert client.get("/palette").status_code == 401
