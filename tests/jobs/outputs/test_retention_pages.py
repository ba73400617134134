"""What the pages and the API say of the removal of results, and who pins them."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from jobs.models import Job, Membership, Organization, StoredOutput
from jobs.outputs import retention
from jobs.roles import Role

pytestmark = pytest.mark.django_db
MakeTrained = Callable[..., Job]


@pytest.fixture
def announced(old: MakeTrained, alice: User, acme: Organization, write_config: Any) -> Job:
    write_config("retention:\n  outputs: 90 days\n  outputs_gb: 5\n  checkpoints: 4\n")
    job = old(submitted_by=alice, organization=acme)
    retention.run(None, inf)
    return job


def test_the_page_tells_of_the_removal_and_pins(announced: Job, client: Client, alice: User) -> None:
    client.force_login(alice)
    page = f"/jobs/{announced.pk}/results"
    assert "All files will be removed on" in " ".join(client.get(page).content.decode().split())
    answer = client.post(f"{page}/pin", {"pin": "on"}, follow=True)
    text = " ".join(answer.content.decode().split())
    assert "Pinned by <bdi>alice</bdi>" in text
    assert "will be removed" not in text
    client.post(f"{page}/pin", {"pin": "off"})
    assert StoredOutput.objects.get().pinned_at is None


def test_who_may_only_look_pins_nothing(announced: Job, client: Client, bob: User, acme: Organization) -> None:
    Membership.objects.filter(user=bob).update(role=Role.VIEWER)
    client.force_login(bob)
    page = f"/jobs/{announced.pk}/results"
    assert 'name="pin"' not in client.get(page).content.decode()
    assert client.post(f"{page}/pin", {"pin": "on"}).status_code == 403
    assert StoredOutput.objects.get().pinned_at is None


def test_strangers_find_neither(announced: Job, client: Client, charlie: User) -> None:
    client.force_login(charlie)
    assert client.post(f"/jobs/{announced.pk}/results/pin", {"pin": "on"}).status_code == 404
    assert client.put(f"/api/cloud/jobs/{announced.pk}/pin").status_code == 404
    assert client.get("/organizations/acme/settings/results").status_code == 404


def test_a_removal_that_has_begun_is_said(announced: Job, client: Client, alice: User) -> None:
    StoredOutput.objects.update(begun_at=timezone.now())
    client.force_login(alice)
    answer = client.post(f"/jobs/{announced.pk}/results/pin", {"pin": "on"}, follow=True)
    assert "are being removed" in answer.content.decode()


def test_the_settings_show_the_room_and_what_goes(announced: Job, client: Client, alice: User) -> None:
    client.force_login(alice)
    text = " ".join(client.get("/organizations/acme/settings/results").content.decode().split())
    assert "The results of 1 ended run take" in text
    assert "The results of a run are kept for 90 days from its end on." in text
    assert "Each organization keeps 5 GB at most" in text
    assert "Of each ended run, the newest 4 checkpoints are kept." in text
    assert "announced 7 days before" in text
    assert 'id="going-title"' in text


def test_the_api_pins_and_releases(announced: Job, client_of: Callable[..., APIClient], alice: User) -> None:
    client, address = client_of(alice), f"/api/cloud/jobs/{announced.pk}/pin"
    before = client.get(address).json()
    assert (before["pinned"], before["removes"]) == (False, "all")
    assert before["remove_at"].endswith("Z")
    pinned = client.put(address).json()
    assert (pinned["pinned"], pinned["pinned_by"], pinned["remove_at"]) == (True, "alice", None)
    assert client.delete(address).json()["pinned"] is False


def test_the_api_of_a_job_without_files_says_so(
    client_of: Callable[..., APIClient], alice: User, acme: Organization, make_job: Callable[..., Job]
) -> None:
    job = make_job(organization=acme, submitted_by=alice)
    answer = client_of(alice).get(f"/api/cloud/jobs/{job.pk}/pin").json()
    nothing = dict.fromkeys(("pinned_by", "pinned_at", "remove_at", "removes", "removed_at"))
    assert answer == {"job_id": job.pk, "pinned": False, **nothing}
