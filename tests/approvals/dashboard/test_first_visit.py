"""The first visit: the link of the first account, the organization, the first job."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.http import Http404
from django.test import Client
from django.utils import timezone

from approvals.dashboard.first_visit import EXAMPLE
from cloudtrain_site.accounts.first_link import make_first_link
from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.models import FirstLink
from jobs.models import Job, Membership
from jobs.organizations.first_account import make_first_account
from tests.races import at_once

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
ROOT = {"username": "ada", "password": "a tin toy robot", "email": ""}


def test_the_link_leads_to_an_account_an_organization_and_a_job(client: Client) -> None:
    link = make_first_link()
    assert "There are no accounts yet" in client.get("/", follow=True).content.decode()
    assert client.get(link).status_code == 200
    assert client.post(link, ROOT)["Location"] == "/first-visit/organization"
    ada = User.objects.get()
    assert (ada.is_superuser, ada.is_staff, ada.check_password(ROOT["password"])) == (True, True, True)
    assert AuditRecord.objects.filter(action="user_made").exists()

    assert client.post("/first-visit/organization", {"name": "acme"})["Location"] == "/first-visit/job"
    assert Membership.objects.get().role == "admin"
    job_page = client.post("/first-visit/job")["Location"]
    assert client.post("/first-visit/job")["Location"] == job_page
    job = Job.objects.get()
    assert (job.provider, job.config["model_family"]) == ("local", EXAMPLE["model_family"])


def test_a_link_works_once_and_ends_with_a_newer_one(client: Client) -> None:
    former, link = make_first_link(), make_first_link()
    assert client.post(former, ROOT).status_code == 404
    assert client.post(link, ROOT).status_code == 302
    assert Client().post(link, {**ROOT, "username": "eve"}).status_code == 404
    assert [user.username for user in User.objects.all()] == ["ada"]


@pytest.mark.django_db(transaction=True)
def test_of_two_browsers_one_wins() -> None:
    token = make_first_link().rpartition("/")[2]

    def take(name: str) -> str:
        try:
            return make_first_account(token, name, ROOT["password"]).username
        except Http404:
            return ""

    winners = at_once(lambda: take("ada"), lambda: take("eve"))
    assert sorted(map(bool, winners)) == [False, True]
    assert User.objects.get().username in winners


def test_an_old_link_makes_nobody(client: Client) -> None:
    link = make_first_link()
    FirstLink.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert client.post(link, ROOT).status_code == 404
    assert not User.objects.exists()


def test_only_a_digest_of_the_token_is_stored() -> None:
    token = make_first_link().rpartition("/")[2]
    assert token not in str(FirstLink.objects.values().get())


@pytest.mark.parametrize("token", ["ct_of-nobody", "", "\x00", "organization%00"])
def test_nobody_without_the_link_gets_in(client: Client, token: str) -> None:
    make_first_link()
    assert client.post(f"/first-visit/{token}", ROOT).status_code in (404, 302)
    assert not User.objects.exists()


def test_a_weak_password_leaves_the_link(client: Client) -> None:
    link = make_first_link()
    answer = client.post(link, {**ROOT, "password": "ada"})
    assert (answer.status_code, User.objects.exists()) == (400, False)
    assert client.post(link, ROOT).status_code == 302


def test_there_is_no_link_once_somebody_has_an_account(client: Client, alice: User) -> None:
    with pytest.raises(CommandError, match="An account already exists"):
        call_command("first_link")


def test_a_link_of_before_ends_with_an_account_made_elsewhere(client: Client) -> None:
    link = make_first_link()
    User.objects.create_superuser("root")
    assert client.post(link, ROOT).status_code == 404


def test_the_further_steps_are_superusers(client: Client, alice: User) -> None:
    client.force_login(alice)
    for step in ("organization", "job"):
        assert client.post(f"/first-visit/{step}", {"name": "mine"}).status_code == 403
        assert Client().get(f"/first-visit/{step}")["Location"].startswith("/login")
