"""The rules over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from rest_framework.test import APIClient

from approvals.models import ApprovalRule
from jobs.models import Organization
from jobs.roles import Role
from tests.factories import make_user

pytestmark = pytest.mark.django_db
ClientOf = Callable[[User | None], APIClient]
URL = "/api/approvals/rules"
DEAR = {"type": "dear", "condition": {"cost_exceeds": 5}}


@pytest.fixture
def ada(acme: Organization) -> User:
    """An admin of acme."""
    return make_user("ada", acme, Role.ADMIN)


@pytest.fixture
def as_ada(ada: User, client_of: ClientOf) -> APIClient:
    return client_of(ada)


@pytest.fixture
def as_root(root: User, client_of: ClientOf) -> APIClient:
    return client_of(root)


def test_a_superuser_makes_a_rule_for_everybody(as_root: APIClient, bob: User) -> None:
    Group.objects.create(name="budget")
    body = {
        "type": "dear nights",
        "condition": {"cost_exceeds": 2.5, "hardware": "gpu-*", "role_at_most": "researcher"},
        "priority": 3,
        "exempt_roles": ["admin"],
        "reviewer_group": "budget",
        "approvals_needed": 2,
        "expires_after_hours": 8,
        "max_cost_usd": 30,
        "fuse_action": "ask",
        "fuse_grace_percent": 0,
    }
    response = as_root.post(URL, body)
    assert response.status_code == 201
    rule = ApprovalRule.objects.get()
    assert response.json()["rule"] == {
        "id": rule.pk,
        "name": "dear nights",
        "enabled": True,
        "organization": None,
        "reviewer_role": "lead",
        "self_approval": False,
        **body,
    }
    assert "0 of the 2 reviewers" in response.json()["warnings"][0]


def test_an_admin_makes_rules_for_their_own_organization_alone(as_ada: APIClient, charlie: User) -> None:
    assert as_ada.post(URL, {**DEAR, "organization": "acme"}).status_code == 201
    refused = as_ada.post(URL, DEAR)
    assert (refused.status_code, refused.json()["detail"]) == (
        403,
        "Rules that hold everybody's jobs are edited by superusers.",
    )
    stranger = as_ada.post(URL, {**DEAR, "organization": "other"})
    assert (stranger.status_code, "belong to no organization" in stranger.json()["detail"]) == (400, True)
    assert ApprovalRule.objects.count() == 1


def test_a_lead_sees_rules_and_edits_none(bob: User, client_of: ClientOf, first_job_rule: ApprovalRule) -> None:
    client = client_of(bob)
    assert client.get(f"{URL}/{first_job_rule.pk}").json()["rule"]["type"] == "first_job"
    assert client.post(URL, {**DEAR, "organization": "acme"}).status_code == 403
    assert client.patch(f"{URL}/{first_job_rule.pk}", {"enabled": False}).status_code == 403
    assert client.delete(f"{URL}/{first_job_rule.pk}").status_code == 403
    assert ApprovalRule.objects.get().enabled


def test_a_change_leaves_alone_what_it_does_not_name(as_root: APIClient, bob: User) -> None:
    rule = ApprovalRule.objects.create(name="dear", cost_exceeds=5, first_job=True)
    assert as_root.patch(f"{URL}/{rule.pk}", {"enabled": False}).json()["rule"]["condition"] == {
        "cost_exceeds": 5.0,
        "first_job": True,
    }
    changed = as_root.patch(f"{URL}/{rule.pk}", {"condition": {"provider": "local"}}).json()
    assert (changed["rule"]["condition"], changed["rule"]["enabled"]) == ({"provider": "local"}, False)
    assert changed["warnings"] == []


def test_a_rule_is_removed(as_root: APIClient, first_job_rule: ApprovalRule) -> None:
    assert as_root.delete(f"{URL}/{first_job_rule.pk}").status_code == 204
    assert as_root.get(f"{URL}/{first_job_rule.pk}").status_code == 404


@pytest.mark.parametrize("verb", ["get", "patch", "delete"])
def test_a_rule_of_another_organization_is_not_there(
    charlie: User, acme: Organization, client_of: ClientOf, verb: str
) -> None:
    rule = ApprovalRule.objects.create(name="dear", cost_exceeds=5, organization=acme)
    assert getattr(client_of(charlie), verb)(f"{URL}/{rule.pk}").status_code == 404
    assert client_of(charlie).get(URL).json()["rules"] == []
    assert client_of(None).get(URL).status_code == 401


def test_an_admin_does_not_give_a_rule_away(as_ada: APIClient, acme: Organization, charlie: User) -> None:
    rule = ApprovalRule.objects.create(name="dear", cost_exceeds=5, organization=acme)
    assert as_ada.patch(f"{URL}/{rule.pk}", {"organization": "other"}).status_code == 400
    assert as_ada.patch(f"{URL}/{rule.pk}", {"organization": None}).status_code == 403
    assert ApprovalRule.objects.get().organization == acme


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "type: Give the rule a name."),
    ({"type": "empty"}, "at least one criterion"),
    ({"type": "empty", "condition": {"first_job": False, "provider": ""}}, "at least one criterion"),
    ({"type": "r", "condition": {"cost_exceeds": -1}}, "greater than or equal to 0"),
    ({"type": "r", "condition": {"jobs_in_day_exceed": -1}}, "greater than or equal to 0"),
    ({"type": "r", "condition": {"hardware": "*" * 10_000}}, "no more than 200"),
    ({"type": "r", "condition": {"colour": "red"}}, "Unknown field"),
    ({"type": "r", "condition": {"role_at_most": "boss"}}, "not a valid choice"),
    ({**DEAR, "when": "always"}, "Unknown field"),
    ({**DEAR, "exempt_roles": ["boss"]}, "not a valid choice"),
    ({**DEAR, "approvals_needed": 0}, "greater than or equal to 1"),
    ({**DEAR, "expires_after_hours": 10**9}, "less than or equal to 8760"),
    ({**DEAR, "max_cost_usd": "NaN"}, "valid number"),
    ({**DEAR, "max_cost_usd": -1}, "greater than or equal to 0.01"),
    ({**DEAR, "max_cost_usd": 1e12}, "no more than 12 digits"),
    ({**DEAR, "fuse_action": "wait"}, "not a valid choice"),
    ({**DEAR, "fuse_grace_percent": 101}, "less than or equal to 100"),
    ({**DEAR, "reviewer_group": "nobody"}, "Group not found."),
    ({**DEAR, "type": "taken"}, "There is a rule of this name."),
]


@pytest.mark.parametrize(("body", "text"), BAD)
def test_a_rule_that_makes_no_sense_is_refused(as_root: APIClient, body: dict[str, Any], text: str) -> None:
    ApprovalRule.objects.create(name="taken", first_job=True)
    response = as_root.post(URL, body)
    assert response.status_code == 400
    assert text in response.json()["detail"]
    assert ApprovalRule.objects.count() == 1


@pytest.fixture
def groups(acme: Organization, ada: User, charlie: User) -> dict[str, Group]:
    """One of acme's, one of the other team's, one of both, and one that is empty."""
    made = {name: Group.objects.create(name=name) for name in ("acmes", "theirs", "mixed", "empty")}
    made["acmes"].user_set.add(ada)
    made["theirs"].user_set.add(charlie)
    made["mixed"].user_set.add(ada, charlie)
    return made


def rule_with(group: str | None, **more: Any) -> dict[str, Any]:
    return {**DEAR, "organization": "acme", "reviewer_group": group, **more}


def test_an_admin_chooses_a_group_whose_members_are_all_in_the_organization(
    as_ada: APIClient, groups: dict[str, Group]
) -> None:
    answer = as_ada.post(URL, rule_with("acmes"))
    assert (answer.status_code, answer.json()["rule"]["reviewer_group"]) == (201, "acmes")
    address = f"{URL}/{answer.json()['rule']['id']}"
    assert as_ada.patch(address, {"reviewer_group": ""}).json()["rule"]["reviewer_group"] is None
    assert as_ada.patch(address, {"reviewer_group": "acmes"}).json()["rule"]["reviewer_group"] == "acmes"


@pytest.mark.parametrize("verb", ["post", "patch", "preview"])
@pytest.mark.parametrize("group", ["theirs", "mixed", "empty", "no-such-group"])
def test_no_admin_learns_of_or_chooses_another_group(
    as_ada: APIClient, acme: Organization, groups: dict[str, Group], group: str, verb: str
) -> None:
    own = ApprovalRule.objects.create(name="own", organization=acme)
    answers = {
        "post": lambda: as_ada.post(URL, rule_with(group)),
        "patch": lambda: as_ada.patch(f"{URL}/{own.pk}", {"reviewer_group": group}),
        "preview": lambda: as_ada.post(f"{URL}/preview", {"rule": rule_with(group)}),
    }
    answer = answers[verb]()
    assert answer.status_code == 400
    assert answer.json()["errors"] == (
        {"reviewer_group": ["Choose a group that has members, all of them in the organization."]}
    )
    assert ApprovalRule.objects.get().reviewer_group is None


def test_a_rule_for_a_provider_that_is_none_would_hold_nothing_and_is_refused(as_root: APIClient) -> None:
    for name in ("Replicate", "This machine"):  # as pages name them
        answer = as_root.post(URL, {"type": "far", "condition": {"provider": name}})
        assert (answer.status_code, ApprovalRule.objects.count()) == (400, 0)
        assert f"There is no provider “{name}”. There are: local" in str(answer.json()["errors"])
    assert as_root.post(URL, {"type": "far", "condition": {"provider": "replicate"}}).status_code == 201


@pytest.mark.parametrize("group", ["theirs", "no-such-group"])
def test_who_writes_no_rules_learns_of_no_group_either(
    bob: User, client_of: ClientOf, groups: dict[str, Group], group: str
) -> None:
    assert client_of(bob).post(URL, rule_with(group)).status_code == 403
    assert client_of(bob).post(URL, rule_with(group, organization=None)).status_code == 403


def test_a_rule_keeps_the_group_that_a_superuser_gave_it(
    as_ada: APIClient, as_root: APIClient, groups: dict[str, Group]
) -> None:
    number = as_root.post(URL, rule_with("mixed")).json()["rule"]["id"]
    for body in ({"priority": 3}, {"reviewer_group": "mixed"}):
        assert as_ada.patch(f"{URL}/{number}", body).json()["rule"]["reviewer_group"] == "mixed"
    assert as_ada.patch(f"{URL}/{number}", {"reviewer_group": "theirs"}).status_code == 400
