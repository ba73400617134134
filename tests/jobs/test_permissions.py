"""Who may see and do what, and who hears of what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.test import Client, RequestFactory
from django.utils import timezone
from django_eventstream.models import Event

from cloudtrain_site.models import ApiKey
from jobs import permissions
from jobs.channels import UNASSIGNED, ChannelManager, organization_channel
from jobs.models import Job, Membership, Organization
from jobs.roles import Role
from tests.factories import make_job as make_any_job
from tests.factories import make_user

pytestmark = pytest.mark.django_db


def channels_of(user: Any) -> set[str]:
    request = RequestFactory().get("/api/events")
    request.user = user
    return ChannelManager().get_channels_for_request(request, {})


def told_about_rights() -> int:
    return int(Event.objects.filter(data__contains="rights_changed").count())


def test_a_member_sees_the_organizations_jobs_and_no_others(
    alice: User, bob: User, charlie: User, root: User, make_job: Callable[..., Job]
) -> None:
    mine, nobodys = make_job(), make_any_job(organization=None)
    assert list(permissions.visible_jobs(alice)) == list(permissions.visible_jobs(bob)) == [mine]
    assert not permissions.visible_jobs(charlie).exists()
    assert not permissions.visible_jobs(AnonymousUser()).exists()
    assert set(permissions.visible_jobs(root)) == {mine, nobodys}


def test_a_deleted_job_is_seen_by_nobody(root: User, make_job: Callable[..., Job]) -> None:
    make_job(status="failed", deleted_at=timezone.now())
    assert not permissions.visible_jobs(root).exists()


@pytest.mark.parametrize(
    ("role", "submits", "manages"),
    [(Role.VIEWER, False, False), (Role.RESEARCHER, True, False), (Role.LEAD, True, True), (Role.ADMIN, True, True)],
)
def test_what_a_role_may_do(acme: Organization, role: Role, submits: bool, manages: bool) -> None:
    user = make_user("mia", acme, role)
    assert permissions.can_submit(user, acme) is submits
    assert permissions.can_manage(user, acme) is manages
    assert permissions.manages_anything(user) is manages


def test_a_deactivated_superuser_is_none(root: User, make_job: Callable[..., Job]) -> None:
    make_job()
    root.is_active = False
    assert not permissions.visible_jobs(root).exists()


def test_a_member_hears_of_the_organization_and_a_superuser_of_everything(
    alice: User, root: User, acme: Organization
) -> None:
    assert channels_of(alice) == {"everyone", organization_channel(acme.pk)}
    assert channels_of(root) == {"*"}
    assert channels_of(AnonymousUser()) == set()


def test_who_may_read_a_channel(alice: User, charlie: User, root: User, acme: Organization) -> None:
    manager, channel = ChannelManager(), organization_channel(acme.pk)
    assert manager.can_read_channel(alice, channel)
    assert manager.can_read_channel(root, UNASSIGNED)
    assert not manager.can_read_channel(charlie, channel)
    assert not manager.can_read_channel(alice, UNASSIGNED)
    assert not manager.can_read_channel(None, "everyone")


def test_who_joins_or_leaves_gets_new_rights_at_once(alice: User) -> None:
    before = told_about_rights()
    Membership.objects.get(user=alice).delete()
    assert told_about_rights() == before + 1


def test_who_is_deactivated_gets_new_rights_at_once_and_who_logs_in_does_not(alice: User) -> None:
    before = told_about_rights()
    alice.last_login = timezone.now()
    alice.save(update_fields=["last_login"])
    assert told_about_rights() == before
    alice.is_active = False
    alice.save()
    assert told_about_rights() == before + 1


def test_who_signs_out_or_loses_a_key_loses_the_stream_at_once(alice: User, client: Client) -> None:
    made, _ = ApiKey.objects.create(user=alice, name="laptop")
    client.force_login(alice)
    before = told_about_rights()
    client.logout()
    made.delete()
    assert told_about_rights() == before + 2
