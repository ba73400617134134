"""What the admin changes goes on record, and one admin and one superuser stay."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.models import ApiKey
from jobs.models import Membership, Organization, ProviderConfig, TrainingConfig
from jobs.organizations.service_accounts import make_service_account
from jobs.roles import Role
from tests.factories import make_user

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
USERS, ORGANIZATIONS = "/admin/auth/user/", "/admin/jobs/organization/"


@pytest.fixture
def as_root(client: Client, root: User) -> Client:
    client.force_login(root)
    return client


def user_form(user: User, **fields: Any) -> dict[str, Any]:
    shown = {name: getattr(user, name) for name in ("username", "email", "first_name", "last_name")}
    flags = {name: "on" for name in ("is_active", "is_staff", "is_superuser") if getattr(user, name)}
    dates = {"date_joined_0": f"{user.date_joined:%Y-%m-%d}", "date_joined_1": f"{user.date_joined:%H:%M:%S}"}
    changed = {**shown, **flags, **dates, **fields}
    return {name: value for name, value in changed.items() if value is not None}


def last() -> AuditRecord:
    found = AuditRecord.objects.first()
    assert found is not None
    return found


def test_a_user_is_made_changed_and_given_a_password(as_root: Client, alice: User) -> None:
    password = "three unlikely words"
    new = {"username": "new", "usable_password": "true", "password1": password, "password2": password}
    assert as_root.post(f"{USERS}add/", new).status_code == 302
    assert (last().action, last().subject, last().after) == ("user_made", "new", {"username": "new"})
    group = Group.objects.create(name="reviewers")
    assert ">Approvals: Can view approval rule</option>" in as_root.get("/admin/auth/group/add/").content.decode()
    changed = user_form(alice, first_name="Al", groups=[group.pk])
    assert as_root.post(f"{USERS}{alice.pk}/change/", changed).status_code == 302
    assert (last().actor, last().subject, last().source) == ("root", "alice", "admin")
    assert last().before == {"first_name": "", "groups": []}
    assert last().after == {"first_name": "Al", "groups": ["reviewers"]}
    answer = as_root.post(f"{USERS}{alice.pk}/password/", {**new, "set-password": ""})
    assert (answer.status_code, last().action, last().subject) == (302, "password_set", "alice")
    assert password not in str(list(AuditRecord.objects.values()))


def test_a_service_account_is_deactivated_under_its_own_name(
    as_root: Client, root: User, acme: Organization, alice: User
) -> None:
    user = make_service_account(acme, "nightly", Role.RESEARCHER, by=root).user
    page = f"{USERS}{user.pk}/"
    shown = as_root.get(f"{page}change/").content.decode()
    assert shown.count("<time data-exact") == 1
    assert "A service account: it acts by API keys alone" in shown
    assert (
        "Required. 150" not in shown
        and "Set password" not in shown
        and 'name="username"' not in shown
        and "/delete/" not in shown
        and "_addanother" not in shown
        and 'name="is_superuser"' not in shown
    )
    assert as_root.post(f"{page}change/", {"is_superuser": "on"}).status_code == 302
    user.refresh_from_db()
    assert (user.username, user.is_active, user.is_superuser) == ("acme:nightly", False, False)
    assert (last().action, last().subject, last().after) == ("user_deactivated", "acme:nightly", {"is_active": False})
    assert as_root.post(f"{page}delete/", {"post": "yes"}).status_code == 403
    refused = as_root.post(f"{page}change/", {"is_active": "on"})
    assert refused.context["adminform"].form.non_field_errors() == ["acme:nightly is a service account."]
    assert as_root.post(f"{page}password/", {"usable_password": "true"}).status_code == 403
    refused = as_root.post(f"{USERS}{alice.pk}/change/", user_form(alice, username="acme:alice"))
    assert list(refused.context["adminform"].form.errors) == ["username"]


def form_errors(client: Client, user: User, **fields: Any) -> list[str]:
    answer = client.post(f"{USERS}{user.pk}/change/", user_form(user, **fields))
    return [] if answer.status_code == 302 else answer.context["adminform"].form.non_field_errors()


def test_a_user_is_deactivated_and_reactivated_as_by_the_action(as_root: Client, alice: User) -> None:
    key = str(ApiKey.objects.create(user=alice)[1])
    hers = Client()
    hers.force_login(alice)
    assert hers.get("/").status_code == 200
    assert form_errors(as_root, alice, is_active=None) == []
    assert hers.get("/").status_code == 302
    actions = AuditRecord.objects.order_by("id").values_list("action", "actor", "source")
    assert list(actions) == [("key_revoked", "root", "admin"), ("user_deactivated", "root", "admin")]
    alice.refresh_from_db()
    assert form_errors(as_root, alice, is_active="on", is_superuser="on") == []
    assert list(actions.all()[2:]) == [("user_reactivated", "root", "admin"), ("superuser_made", "root", "admin")]
    alice.refresh_from_db()
    assert alice.is_active and alice.is_superuser
    assert Client().get("/api/cloud/jobs", headers={"X-API-Key": key}).status_code == 401
    assert hers.get("/").status_code == 302
    assert form_errors(as_root, alice) == [] and actions.all().count() == 4


def test_a_form_that_is_refused_changes_no_right(as_root: Client, root: User, alice: User) -> None:
    ApiKey.objects.create(user=alice)
    assert form_errors(as_root, root, is_superuser=None) == [
        "root is the last superuser. Make somebody else a superuser first."
    ]
    assert form_errors(as_root, root, is_active=None) == ["You can't deactivate yourself."]
    assert form_errors(as_root, alice, is_active=None, is_superuser="on") == ["alice is deactivated."]
    as_root.post(f"{USERS}{alice.pk}/change/", user_form(alice, is_active=None, username="root"))
    hers = Client()
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    alice.user_permissions.set(Permission.objects.filter(content_type__model="user"))
    hers.force_login(alice)
    assert form_errors(hers, alice, is_superuser="on") == ["Only superusers can do this."]
    assert form_errors(hers, root, is_active=None) == ["Only superusers can do this."]
    hers.post(f"{USERS}{root.pk}/delete/", {"deactivate": "1"})
    for user in (root, alice):
        user.refresh_from_db()
    assert (root.is_superuser, root.is_active, alice.is_superuser, alice.is_active) == (True, True, False, True)
    assert ApiKey.objects.exists() and not AuditRecord.objects.exists()


def members_form(organization: Organization, *rows: dict[str, Any]) -> dict[str, Any]:
    count = organization.memberships.count()
    body: dict[str, Any] = {
        "name": organization.name,
        "time_zone": organization.time_zone,
        "memberships-TOTAL_FORMS": len(rows),
        "memberships-INITIAL_FORMS": count,
    }
    for index, row in enumerate(rows):
        body |= {f"memberships-{index}-{name}": value for name, value in row.items()}
    return body


def test_members_are_changed_by_the_verbs(
    as_root: Client, acme: Organization, alice: User, bob: User, charlie: User
) -> None:
    hers, his = (Membership.objects.get(user=user) for user in (alice, bob))
    rows = (
        {"id": hers.pk, "user": alice.pk, "role": "lead"},
        {"id": his.pk, "user": bob.pk, "role": "lead", "DELETE": "on"},
        {"user": charlie.pk, "role": "admin"},
    )
    answer = as_root.post(f"{ORGANIZATIONS}{acme.pk}/change/", members_form(acme, *rows))
    assert answer.status_code == 302, answer.content
    roles = dict(acme.memberships.values_list("user__username", "role"))
    assert roles == {"alice": "lead", "charlie": "admin"}
    actions = set(AuditRecord.objects.values_list("action", "subject"))
    assert {("role_changed", "alice"), ("member_removed", "bob"), ("member_added", "charlie")} <= actions


def test_a_membership_stays_its_users(as_root: Client, acme: Organization, alice: User, charlie: User) -> None:
    hers = Membership.objects.get(user=alice)
    as_root.post(
        f"{ORGANIZATIONS}{acme.pk}/change/",
        members_form(acme, {"id": hers.pk, "user": charlie.pk, "role": "researcher"}),
    )
    assert acme.memberships.get().user == alice


@pytest.mark.parametrize("row", [{"role": "lead"}, {"role": "admin", "DELETE": "on"}])
def test_the_last_admin_stays(as_root: Client, acme: Organization, row: dict[str, str]) -> None:
    adam = make_user("adam", acme, Role.ADMIN)
    form = members_form(acme, {"id": adam.memberships.get().pk, "user": adam.pk, **row})
    answer = as_root.post(f"{ORGANIZATIONS}{acme.pk}/change/", form)
    assert "An admin stays in the organization" in answer.content.decode()
    assert adam.memberships.get().role == Role.ADMIN
    assert not AuditRecord.objects.exists()


def test_nobody_joins_a_closed_organization(as_root: Client, acme: Organization, charlie: User) -> None:
    Organization.objects.filter(pk=acme.pk).update(closed_at="2026-01-01T00:00Z")
    form = members_form(acme, {"user": charlie.pk, "role": "viewer"})
    assert "acme is closed" in as_root.post(f"{ORGANIZATIONS}{acme.pk}/change/", form).content.decode()
    assert not acme.memberships.exists()


def test_an_organization_a_config_and_a_provider(as_root: Client, acme: Organization) -> None:
    body = {**members_form(acme), "name": "acme-2", "max_running": 3}
    assert as_root.post(f"{ORGANIZATIONS}{acme.pk}/change/", body).status_code == 302
    assert (last().action, last().organization) == ("organization_changed", "acme-2")
    assert last().after == {"name": "acme-2", "max_running": 3}
    config = {"name": "c", "organization": acme.pk, "config": '{"api_key": "x"}', "dataloader_config": "[]"}
    as_root.post("/admin/jobs/trainingconfig/add/", config)
    stored = TrainingConfig.objects.get()
    assert (last().action, last().subject_id, last().organization_id) == (
        *("training_config_made", str(stored.pk)),
        acme.pk,
    )
    assert "new, not recorded" in str(last().after) and "api_key" not in str(last().after)
    as_root.post(f"/admin/jobs/trainingconfig/{stored.pk}/delete/", {"post": "yes"})
    assert last().action == "training_config_removed"
    provider = {"name": "local", "cost_per_second": "{}", "seconds_per_step": 2, "silence_minutes": 15}
    as_root.post("/admin/jobs/providerconfig/add/", provider)
    assert ProviderConfig.objects.filter(seconds_per_step=2).exists()
    assert (last().action, last().subject) == ("provider_config_made", "local")


def test_several_at_once(as_root: Client, acme: Organization) -> None:
    for name in ("a", "b"):
        Group.objects.create(name=name)
    chosen = list(Group.objects.values_list("pk", flat=True))
    as_root.post("/admin/auth/group/", {"_selected_action": chosen, "action": "delete_selected", "post": "yes"})
    assert not Group.objects.exists()
    assert sorted(AuditRecord.objects.values_list("action", "subject")) == [
        ("group_removed", "a"),
        ("group_removed", "b"),
    ]
