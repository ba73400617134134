"""Users and organizations with jobs in the admin: nothing of theirs is lost, and there is something else to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.models import ApiKey
from jobs.models import Job, Membership, Organization

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeJob = Callable[..., Job]
USERS, ORGANIZATIONS = "/admin/auth/user/", "/admin/jobs/organization/"


@pytest.fixture
def as_root(client: Client, root: User) -> Client:
    client.force_login(root)
    return client


def texts(client: Client, path: str, body: dict[str, object] | None = None) -> str:
    answer = client.get(path) if body is None else client.post(path, body, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_user_with_jobs_is_offered_deactivation(as_root: Client, alice: User, make_job: MakeJob) -> None:
    make_job(status="completed", cost_usd=7)
    page = texts(as_root, f"{USERS}{alice.pk}/delete/")
    assert "alice can’t be deleted. Jobs and uploads are kept" in page
    assert 'name="deactivate"' in page
    assert "I’m sure" not in page


def test_deactivation_ends_access_and_keeps_what_was_spent(
    as_root: Client, alice: User, make_job: MakeJob, client: Client
) -> None:
    make_job(status="completed", cost_usd=7)
    key = str(ApiKey.objects.create(user=alice)[1])
    hers = Client()
    hers.force_login(alice)
    assert "Deactivate: done for alice." in texts(as_root, f"{USERS}{alice.pk}/delete/", {"deactivate": "1"})
    assert hers.get("/").status_code == 302
    assert Client().get("/api/cloud/jobs", headers={"X-API-Key": key}).status_code == 401
    assert not ApiKey.objects.exists()
    assert AuditRecord.objects.get(action="key_revoked").actor == "root"
    assert Job.objects.filter(submitted_by=alice, cost_usd=7).exists()
    assert LogEntry.objects.get().change_message == "Deactivate"


def test_a_user_without_jobs_can_still_be_deleted(as_root: Client, charlie: User) -> None:
    assert "I’m sure" in texts(as_root, f"{USERS}{charlie.pk}/delete/")
    texts(as_root, f"{USERS}{charlie.pk}/delete/", {"post": "yes"})
    assert not User.objects.filter(pk=charlie.pk).exists()


def test_a_forged_deletion_of_one_with_jobs_deletes_nothing(as_root: Client, alice: User, make_job: MakeJob) -> None:
    make_job(status="completed")
    texts(as_root, f"{USERS}{alice.pk}/delete/", {"post": "yes"})
    assert (User.objects.filter(pk=alice.pk).exists(), Job.objects.count()) == (True, 1)


def test_nobody_deactivates_themselves(as_root: Client, root: User) -> None:
    assert "You can&#x27;t deactivate yourself." in texts(as_root, f"{USERS}{root.pk}/delete/", {"deactivate": "1"})
    root.refresh_from_db()
    assert root.is_active


def test_several_users_at_once(as_root: Client, alice: User, bob: User, make_job: MakeJob) -> None:
    make_job(status="completed")
    chosen = {"_selected_action": [alice.pk, bob.pk]}
    page = texts(as_root, USERS, {**chosen, "action": "delete_selected"})
    assert "nothing was deleted" in page
    assert "the action “Deactivate”" in " ".join(page.split())
    texts(as_root, USERS, {**chosen, "action": "deactivate_selected"})
    assert set(User.objects.filter(is_active=False)) == {alice, bob}


def test_an_organization_is_offered_to_be_closed(
    as_root: Client, acme: Organization, alice: User, make_job: MakeJob
) -> None:
    make_job(status="completed", cost_usd=7)
    make_job(status="pending")
    address = f"{ORGANIZATIONS}{acme.pk}/delete/"
    assert "No more jobs can be submitted for this organization" in texts(as_root, address)
    assert "done for acme" in texts(as_root, address, {"deactivate": "1"})
    acme.refresh_from_db()
    assert acme.is_closed and Membership.objects.count() == 1
    assert set(Job.objects.values_list("status", flat=True)) == {"completed", "cancelled"}
    assert "cme is already closed" in texts(as_root, address, {"deactivate": "1"})


def test_an_open_organization_is_not_deleted(as_root: Client, acme: Organization) -> None:
    address = f"{ORGANIZATIONS}{acme.pk}/delete/"
    assert "cme is open." in texts(as_root, address, {"post": "yes"})
    assert Organization.objects.exists()
    texts(as_root, address, {"deactivate": "1"})
    texts(as_root, address, {"post": "yes"})
    assert not Organization.objects.exists()


def test_the_last_superuser_is_not_deleted(as_root: Client, root: User, alice: User) -> None:
    assert "root is the last superuser" in texts(as_root, f"{USERS}{root.pk}/delete/", {"post": "yes"})
    chosen: dict[str, object] = {"_selected_action": [alice.pk, root.pk], "action": "delete_selected", "post": "yes"}
    assert "root is the last superuser" in texts(as_root, USERS, chosen)
    assert User.objects.count() == 2


def test_a_lead_does_neither(client: Client, bob: User, alice: User, acme: Organization) -> None:
    client.force_login(bob)
    for address in (f"{USERS}{alice.pk}/delete/", f"{ORGANIZATIONS}{acme.pk}/delete/"):
        assert client.post(address, {"deactivate": "1"}).status_code == 403
    alice.refresh_from_db()
    assert alice.is_active
    assert Membership.objects.count() == 2


def test_staff_whom_django_permits_it_delete_nobody(client: Client, alice: User, charlie: User) -> None:
    alice.user_permissions.set(Permission.objects.filter(codename__in=("view_user", "change_user", "delete_user")))
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    client.force_login(alice)
    assert client.post(f"{USERS}{charlie.pk}/delete/", {"post": "yes"}).status_code == 403
    chosen: dict[str, object] = {"_selected_action": [charlie.pk], "action": "delete_selected", "post": "yes"}
    texts(client, USERS, chosen)
    assert User.objects.filter(pk=charlie.pk).exists()


def test_times_tell_their_zone(as_root: Client, make_job: MakeJob) -> None:
    job = make_job()
    shown_time = f">{job.created_at:%-d %b %Y, %H:%M}</time>"
    assert shown_time in texts(as_root, "/admin/jobs/job/")
    assert shown_time in texts(as_root, f"/admin/jobs/job/{job.pk}/change/")
