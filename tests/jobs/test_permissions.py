"""Who may see and do what, and who hears of what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.test import Client, RequestFactory
from django.utils import timezone
from django_eventstream.models import Event
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.test import APIClient

from cloudtrain_site.models import ApiKey
from jobs import permissions
from jobs.api.event_channels import ChannelManager
from jobs.channels import UNASSIGNED, organization_channel
from jobs.models import Job, Membership, Organization
from jobs.roles import Role
from tests.factories import make_job as make_any_job
from tests.factories import make_user
from tests.web import read_page

pytestmark = pytest.mark.django_db


def channels_of(user: Any) -> set[str]:
    request = RequestFactory().get("/api/events")
    request.user = user
    return ChannelManager().get_channels_for_request(request, {})


def rights_events() -> int:
    return int(Event.objects.filter(data__contains="rights_changed").count())


def test_a_member_sees_the_organizations_jobs_and_no_others(
    alice: User, bob: User, charlie: User, root: User, make_job: Callable[..., Job]
) -> None:
    mine, nobodys = make_job(), make_any_job(organization=None)
    assert list(permissions.visible_jobs(alice)) == list(permissions.visible_jobs(bob)) == [mine]
    assert not permissions.visible_jobs(charlie).exists()
    assert not permissions.visible_jobs(AnonymousUser()).exists()
    assert set(permissions.visible_jobs(root)) == {mine, nobodys}


def test_a_deleted_job_is_seen_by_nobody(
    alice: User, root: User, make_job: Callable[..., Job], client_of: Callable[[User], APIClient]
) -> None:
    kept = make_job(config_name="kept-job")
    make_job(status="failed", config_name="gone-job", deleted_at=timezone.now())
    for user in (alice, root):
        assert list(permissions.visible_jobs(user)) == list(permissions.listed_jobs_of(user)) == [kept]
        listed = client_of(user).get("/api/cloud/jobs").json()
        assert (listed["total"], [job["job_id"] for job in listed["jobs"]]) == (1, [kept.pk])
        page = read_page(user, "/")
        assert ("kept-job" in page, "gone-job" in page) == (True, False)


def test_a_list_has_the_jobs_of_the_readers_organizations_alone(
    alice: User, charlie: User, root: User, make_job: Callable[..., Job]
) -> None:
    mine, nobodys = make_job(), make_any_job(organization=None)
    assert list(permissions.listed_jobs_of(alice)) == [mine]
    assert set(permissions.listed_jobs_of(root)) == {mine, nobodys}
    assert not permissions.listed_jobs_of(charlie).exists()
    assert not permissions.listed_jobs_of(AnonymousUser()).exists()
    assert not permissions.listed_jobs_of(alice, []).exists()


@pytest.fixture
def mia(acme: Organization) -> User:
    """A viewer in acme, and an admin elsewhere."""
    user = make_user("mia", acme, Role.VIEWER)
    Membership.objects.create(user=user, organization=Organization.objects.create(name="hers"), role=Role.ADMIN)
    return user


def test_a_role_counts_in_its_own_organization_alone(
    mia: User, acme: Organization, make_job: Callable[..., Job], client_of: Callable[[User], APIClient]
) -> None:
    hers = Organization.objects.get(name="hers")
    assert (permissions.role_in(mia, acme), permissions.role_in(mia, hers)) == (Role.VIEWER, Role.ADMIN)
    assert (permissions.can_submit(mia, acme), permissions.can_submit(mia, hers)) == (False, True)
    assert (permissions.can_manage(mia, acme), permissions.can_manage(mia, hers)) == (False, True)
    theirs, own = make_job(), make_any_job(organization=hers)
    assert (permissions.can_change(mia, theirs), permissions.can_change(mia, own)) == (False, True)
    answers = [client_of(mia).post(f"/api/cloud/jobs/{job.pk}/cancel").status_code for job in (theirs, own)]
    assert answers == [403, 200]
    assert list(Job.objects.order_by("id").values_list("status", flat=True)) == ["pending", "cancelled"]


def test_who_is_no_member_has_no_role(charlie: User, root: User, acme: Organization) -> None:
    assert permissions.role_in(charlie, acme) is None
    assert permissions.role_in(AnonymousUser(), acme) is None
    assert permissions.role_in(root, acme) == Role.ADMIN
    assert (permissions.can_manage(charlie, None), permissions.can_manage(root, None)) == (False, True)


def test_nobody_passes_for_the_first_user(acme: Organization) -> None:
    """An anonymous user has no id; a member with the id 1 is somebody else."""
    first = User.objects.create(pk=1, username="first")
    Membership.objects.create(user=first, organization=acme, role=Role.ADMIN)
    nobody = AnonymousUser()
    assert permissions.role_in(first, acme) == Role.ADMIN
    assert permissions.role_in(nobody, acme) is None
    assert permissions.teams_of(nobody) == []
    assert not permissions.organizations_of(nobody).exists()
    assert not permissions.manages_anything(nobody)
    with pytest.raises(PermissionDenied):
        permissions.choose_organization(nobody)


def test_a_superuser_is_an_admin_of_every_team_and_a_member_has_their_own_role(mia: User, root: User) -> None:
    assert [(team.name, team.role) for team in permissions.teams_of(root)] == [("acme", "admin"), ("hers", "admin")]
    assert [(team.name, team.role) for team in permissions.teams_of(mia)] == [("acme", "viewer"), ("hers", "admin")]


def test_teams_are_in_the_order_of_their_names(acme: Organization) -> None:
    user = make_user("noa", Organization.objects.create(name="zeta"))
    Membership.objects.create(user=user, organization=acme, role=Role.VIEWER)
    assert [team.name for team in permissions.teams_of(user)] == ["acme", "zeta"]


def test_a_submitter_changes_their_own_job_and_a_lead_everybodys(
    alice: User, bob: User, charlie: User, acme: Organization, make_job: Callable[..., Job]
) -> None:
    job, viewer = make_job(), make_user("viktor", acme, Role.VIEWER)
    own_of_viewer = make_job(submitted_by=viewer)
    changes = {user.username: permissions.can_change(user, job) for user in (alice, bob, charlie, viewer)}
    assert changes == {"alice": True, "bob": True, "charlie": False, "viktor": False}
    assert not permissions.can_change(alice, own_of_viewer)
    assert not permissions.can_change(viewer, own_of_viewer), "a viewer who was a researcher once"


def test_without_a_name_a_job_goes_to_the_organization_that_was_joined_first_as_a_submitter(
    mia: User, root: User, acme: Organization
) -> None:
    last = Organization.objects.create(name="another")
    Membership.objects.create(user=mia, organization=last, role=Role.LEAD)
    assert permissions.choose_organization(mia).name == "hers"
    assert permissions.choose_organization(mia, "another") == last
    assert permissions.choose_organization(root) == acme
    assert permissions.choose_organization(root, "another") == last


def test_an_organization_in_which_one_may_not_submit_is_refused(mia: User, charlie: User, acme: Organization) -> None:
    with pytest.raises(PermissionDenied, match="viewer in acme"):
        permissions.choose_organization(mia, "acme")
    with pytest.raises(ValidationError, match="aren't a member of an organization called “acme”"):
        permissions.choose_organization(charlie, "acme")
    with pytest.raises(PermissionDenied, match="submit jobs for any organization"):
        permissions.choose_organization(make_user("viktor", acme, Role.VIEWER))


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
    assert channels_of(alice) == {"everyone", f"person-{alice.pk}", organization_channel(acme.pk)}
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
    before = rights_events()
    Membership.objects.get(user=alice).delete()
    assert rights_events() == before + 1


def test_who_is_deactivated_gets_new_rights_at_once_and_who_logs_in_does_not(alice: User) -> None:
    before = rights_events()
    alice.last_login = timezone.now()
    alice.save(update_fields=["last_login"])
    assert rights_events() == before
    alice.is_active = False
    alice.save()
    assert rights_events() == before + 1


def test_who_signs_out_or_loses_a_key_loses_the_stream_at_once(alice: User, client: Client) -> None:
    made, _ = ApiKey.objects.create(user=alice, name="laptop")
    client.force_login(alice)
    before = rights_events()
    client.logout()
    made.delete()
    assert rights_events() == before + 2


def test_with_a_key_for_one_organization_nobody_has_more(alice: User, root: User, acme: Organization) -> None:
    other = Organization.objects.create(name="other")
    Membership.objects.create(user=alice, organization=other, role=Role.ADMIN)
    for user, role in ((alice, Role.RESEARCHER), (root, Role.ADMIN)):
        user.key_organization_id = acme.pk  # type: ignore[attr-defined]
        assert not permissions.is_superuser(user)
        assert list(permissions.organizations_of(user)) == [acme]
        assert [team.role for team in permissions.teams_of(user)] == [role]
        assert (permissions.role_in(user, acme), permissions.role_in(user, other)) == (role, None)
        assert permissions.choose_organization(user) == acme
        with pytest.raises(ValidationError):
            permissions.choose_organization(user, "other")
        assert channels_of(user) == {"everyone", organization_channel(acme.pk)}
