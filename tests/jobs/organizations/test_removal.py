"""The removal of a person leaves a pseudonym, and their name and mail nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db import models
from django.test import Client
from rest_framework.exceptions import PermissionDenied
from rest_framework.test import APIClient

from approvals.models import ApprovalRequest, ApprovalRule, Decision
from cloudtrain_site.accounts.api_keys import issue_key
from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.audit.recording import OPERATOR, record
from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import ApiKey
from cloudtrain_site.people.naming import Identity
from jobs.models import DatasetUpload, Job, JobEvent, Membership, Organization
from jobs.organizations.invitations import invite
from jobs.organizations.removal import pseudonym_of, remove_person, what_removal_takes
from jobs.roles import Role
from queueing.models import QueueEntry, QueueState
from tests.dataset_archives import make_zip
from tests.factories import make_user
from tests.settings_pages import browser_of
from tests.web import body_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
NAME, MAIL = "zo-unmistakable", "zo.private@example.org"
ClientOf = Callable[[User | None], APIClient]


@pytest.fixture
def zo(acme: Organization, bob: User, client_of: ClientOf) -> User:
    """A lead who did much: submitted, decided, invited, changed limits; and about whom others wrote."""
    user = make_user(NAME, acme, Role.LEAD)
    User.objects.filter(pk=user.pk).update(email=MAIL, first_name=NAME, last_name=NAME)
    EmailAddress.objects.create(user=user, email=MAIL, verified=True, primary=True)
    user.refresh_from_db()
    QueueState.objects.get_or_create()
    ApprovalRule.objects.create(name="first", first_job=True, organization=acme)
    browser, bobs = client_of(user), client_of(bob)
    archive = SimpleUploadedFile("pictures-of-zo.zip", make_zip())
    browser.post("/api/cloud/uploads", {"file": archive}, format="multipart")
    body = {"config": {"max_train_steps": 1}, "config_name": "mine"}
    own = browser.post("/api/cloud/jobs/submit", body).json()
    other = bobs.post("/api/cloud/jobs/submit", body).json()
    browser.post(f"/api/approvals/{other['approval_id']}/reject", {"reason": f"no, says {NAME}"})
    bobs.post(f"/api/approvals/{own['approval_id']}/reject", {"reason": f"{NAME}, write to {MAIL}."})
    record("user_changed", bob, by=user, before={"told_by": NAME}, after={"mail": MAIL})
    record("role_changed", user, by=bob, organization=acme, before={"name": NAME})
    LogEntry.objects.create(
        user=bob, object_id=str(user.pk), object_repr=NAME, action_flag=2, change_message=f"Changed {NAME}."
    )
    issue_key(user, "laptop", timedelta(days=1), by=OPERATOR)
    Client().force_login(user)
    maria = make_user("maria", acme, Role.ADMIN)
    invite(acme, Role.VIEWER, by=maria, email=MAIL)
    return user


def cells() -> Iterator[tuple[str, str]]:
    """Every text of every table, with its place."""
    for model in apps.get_models(include_auto_created=True):
        texts = (models.CharField, models.TextField, models.JSONField)
        columns = [field.attname for field in model._meta.concrete_fields if isinstance(field, texts)]
        for row in models.QuerySet(model).values(*columns) if columns else ():
            for column, value in row.items():
                yield f"{model._meta.label}.{column}", json.dumps(value, default=str, ensure_ascii=False)


def places_of(*texts: str) -> set[str]:
    return {place for place, cell in cells() if any(text in cell for text in texts)}


def test_no_table_has_the_name_or_the_mail_afterwards(zo: User, root: User) -> None:
    before = places_of(NAME, MAIL)
    assert {"jobs.JobEvent.actor", "approvals.Decision.name", "auth.User.username"} < before
    assert len(before) >= 12, before
    pseudonym = remove_person(zo, by=root)
    assert places_of(NAME, MAIL) == set()
    assert pseudonym == f"former member {zo.pk}"
    assert JobEvent.objects.filter(actor=pseudonym).exists()
    assert AuditRecord.objects.filter(actor=pseudonym, address="").exists()


def test_what_others_need_stays_and_what_was_theirs_goes(zo: User, root: User) -> None:
    counted = (Job, JobEvent, ApprovalRequest, Decision, QueueEntry)
    before = [model._default_manager.count() for model in counted]
    listed = what_removal_takes(zo)
    assert listed.takes["uploaded datasets"] == 1 and listed.takes["memberships"] == 1
    assert listed.keeps["jobs"] == 1
    remove_person(zo, by=root)
    assert [model._default_manager.count() for model in counted] == before
    assert not Membership.objects.filter(user=zo).exists()
    assert not ApiKey.objects.filter(user=zo).exists()
    upload = DatasetUpload.objects.get()
    assert (upload.name, upload.removed_at is None) == ("removed", False)
    zo.refresh_from_db()
    assert (zo.is_active, zo.email, zo.has_usable_password()) == (False, "", False)
    with pytest.raises(Conflict, match="was already removed"):
        remove_person(zo, by=root)


def test_running_jobs_are_waited_for_or_cancelled(
    alice: User, root: User, make_job: Callable[..., Job], django_capture_on_commit_callbacks: Any
) -> None:
    job = make_job(status="pending")
    with pytest.raises(Conflict, match="alice has 1 active job"):
        remove_person(alice, by=root)
    assert Membership.objects.filter(user=alice).exists()
    remove_person(alice, by=root, cancel=True)
    job.refresh_from_db()
    assert job.status == "cancelled"


def test_who_can_not_be_removed(acme: Organization, root: User, bob: User, alice: User) -> None:
    maria = make_user("maria", acme, Role.ADMIN)
    with pytest.raises(Conflict, match="last admin of acme"):
        remove_person(maria, by=root)
    with pytest.raises(Conflict, match="last superuser"):
        remove_person(root, by=OPERATOR)
    with pytest.raises(Conflict, match="can't remove yourself"):
        remove_person(root, by=root)
    with pytest.raises(PermissionDenied):
        remove_person(alice, by=bob)
    assert set(User.objects.filter(username__startswith="former")) == set()


def test_only_the_name_itself_is_replaced() -> None:
    identity = Identity(("bob", "bob@example.org"))
    text = "bob, bob2, bob@example.org, bob@example.orgx, a.bob, bob. bob's bob.c Bob"
    replaced = identity.replaced(text, "X")
    assert replaced == "X, bob2, X, bob@example.orgx, a.bob, X. X's bob.c Bob"
    assert identity.replaced({"bob": ["by bob", 1, None]}, "X") == {"X": ["by X", 1, None]}


class TestCommands:
    def test_a_removal_is_dry_until_it_is_applied(self, zo: User, root: User) -> None:
        out = StringIO()
        call_command("remove_person", NAME, stdout=out)
        assert "Nothing was changed. Add --apply" in out.getvalue()
        assert f"would be called {pseudonym_of(zo)}" in out.getvalue()
        assert User.objects.filter(username=NAME).exists()
        call_command("remove_person", NAME, "--apply", stdout=out)
        assert places_of(NAME, MAIL) == set()
        with pytest.raises(CommandError, match="There is no user"):
            call_command("remove_person", NAME, "--apply")

    def test_what_is_stored_is_exported(self, zo: User) -> None:
        out = StringIO()
        call_command("export_person", NAME, stdout=out)
        found = json.loads(out.getvalue())
        assert found["account"][0]["email"] == MAIL
        assert [row["role"] for row in found["memberships"]] == ["lead"]
        assert [row["config_name"] for row in found["jobs"]] == ["mine"]
        assert [row["verdict"] for row in found["decisions"]] == ["reject"]
        assert [row["name"] for row in found["uploads"]] == ["pictures-of-zo.zip"]
        assert [row["name"] for row in found["api_keys"]] == ["laptop"]
        assert {row["action"] for row in found["audit"]} >= {"user_changed", "role_changed"}
        digests = ApiKey.objects.values_list("digest", flat=True)
        assert not any(digest in out.getvalue() for digest in digests)


class TestPages:
    def test_one_downloads_ones_own_data_alone(self, zo: User, alice: User) -> None:
        browser = browser_of(zo)
        answer = browser.get("/account/export")
        assert answer["Content-Disposition"] == f'attachment; filename="person-{zo.pk}.json"'
        assert json.loads(body_of(answer))["account"][0]["username"] == NAME
        assert "account/export" in browser.get("/account").content.decode()
        assert NAME not in body_of(browser_of(alice).get("/account/export")).decode()
        assert Client().get("/account/export")["Location"] == "/login?next=/account/export"

    def test_superusers_download_and_remove(self, zo: User, root: User, bob: User) -> None:
        browser, page = browser_of(root), f"/site/people/{zo.pk}"
        assert json.loads(body_of(browser.get(f"{page}/export")))["memberships"]
        shown = browser.get(f"{page}/removal").content.decode()
        assert f"former member {zo.pk}" in shown
        assert "uploaded datasets" in shown
        for address in ("export", "removal"):
            assert browser_of(bob).get(f"{page}/{address}").status_code == 403
        assert browser_of(bob).post(f"{page}/removal").status_code == 403
        assert "was removed" in browser.post(f"{page}/removal", follow=True).content.decode()
        assert places_of(NAME, MAIL) == set()

    def test_a_refusal_is_said_on_the_page(self, alice: User, root: User, make_job: Callable[..., Job]) -> None:
        make_job(status="pending")
        browser, page = browser_of(root), f"/site/people/{alice.pk}/removal"
        assert "has 1 active job" in browser.post(page, follow=True).content.decode()
        assert User.objects.filter(username="alice").exists()
        browser.post(page, {"cancel": "on"})
        assert not User.objects.filter(username="alice").exists()
