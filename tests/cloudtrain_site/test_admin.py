"""Each link that a list in the admin shows leads somewhere."""

from __future__ import annotations

from collections.abc import Callable
from html import unescape
from re import findall

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client

from cloudtrain_site.models import Loop, LoopRun
from jobs.models import Job

pytestmark = pytest.mark.django_db
LISTS = sorted(f"{model._meta.app_label}/{model._meta.model_name}" for model in admin.site._registry)


@pytest.fixture
def as_root(client: Client, root: User) -> Client:
    client.force_login(root)
    return client


def make_runs(*outcomes: str) -> None:
    """Runs of one loop; a filter of one choice alone is not shown, so that there is a second loop."""
    loop = Loop.objects.create(name="job upkeep", interval_seconds=5.0)
    Loop.objects.create(name="housekeeping", interval_seconds=60.0)
    for outcome in outcomes:
        LoopRun.objects.create(loop=loop, outcome=outcome, machine="m", duration_ms=1.0, correlation_id="c")


@pytest.mark.slow
@pytest.mark.parametrize("name", LISTS)
def test_every_link_of_a_list_leads_somewhere(as_root: Client, make_job: Callable[..., Job], name: str) -> None:
    make_job()
    make_runs("ok", "failed")
    address = f"/admin/{name}/"
    first = as_root.get(address, follow=True)
    assert first.status_code == 200
    links = {unescape(link) for link in findall(r'href="([^"#]+)"', first.content.decode())}
    links = {address + link if link.startswith("?") else link for link in links if link.startswith(("?", address))}
    links |= {f"{address}?_facets=True", f"{address}?q=x"}
    answers = {link: as_root.get(link, follow=True).status_code for link in links if "/static/" not in link}
    assert {link: status for link, status in answers.items() if status != 200} == {}


def test_the_counts_of_loop_runs_are_shown(as_root: Client) -> None:
    make_runs("ok", "ok", "failed")
    page = as_root.get("/admin/cloudtrain_site/looprun/?_facets=True").content.decode()
    assert "Hide counts" in page
    assert "job upkeep (3)" in page
    assert "housekeeping (0)" in page
    assert "Ok (2)" in page
    assert "Failed (1)" in page
