"""The saved views of the list of jobs over the API."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from cloudtrain_site.accounts.api_keys import issue_key
from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.audit.recording import OPERATOR
from cloudtrain_site.models import Scope
from jobs.models import Organization, SavedView
from jobs.roles import Role
from tests.factories import make_user

pytestmark = pytest.mark.django_db
ClientOf = Callable[[User | None], APIClient]
VIEWS = "/api/cloud/views"
FAILED = {"name": "failed", "query": "?status=failed&mine=true"}


def names(client: APIClient) -> list[str]:
    return [view["name"] for view in client.get(VIEWS).json()["views"]]


def test_ones_own_view_is_saved_listed_and_removed(client_of: ClientOf, alice: User, bob: User) -> None:
    client = client_of(alice)
    made = client.post(VIEWS, FAILED)
    assert made.status_code == 201, made.json()
    view = made.json()["view"]
    assert (view["name"], view["query"]) == ("failed", "status=failed&mine=true")
    assert (view["owner"], view["organization"]) == ("alice", None)
    assert client.get(VIEWS).json()["views"] == [view]
    assert names(client_of(bob)) == []
    one = f"{VIEWS}/{view['id']}"
    assert client_of(bob).delete(one).status_code == 404
    assert client.delete(one).json() == {"success": True, "name": "failed"}
    assert client.delete(one).status_code == 404
    assert not AuditRecord.objects.exists()


def test_an_organizations_view_is_its_members_and_on_record(
    client_of: ClientOf, acme: Organization, alice: User, bob: User, charlie: User
) -> None:
    shared = {**FAILED, "organization": "acme"}
    assert client_of(charlie).post(VIEWS, shared).status_code == 404
    one = f"{VIEWS}/{client_of(alice).post(VIEWS, shared).json()['view']['id']}"
    assert (names(client_of(bob)), names(client_of(charlie))) == (["failed"], [])
    assert client_of(charlie).delete(one).status_code == 404
    assert client_of(bob).delete(one).status_code == 403
    assert client_of(make_user("ada", acme, Role.ADMIN)).delete(one).status_code == 200
    assert list(AuditRecord.objects.order_by("pk").values_list("action", flat=True)) == ["view_shared", "view_removed"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"query": "status=failed"}, "name"),
        ({"name": "x" * 41}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "x", "query": "statuss=failed"}, "query"),
        ({"name": "x", "query": "search=" + "x" * 1000}, "query"),
        ({"name": "x", "filter": "y"}, "filter"),
    ],
)
def test_what_is_no_view_is_refused(client_of: ClientOf, alice: User, body: dict[str, Any], field: str) -> None:
    answer = client_of(alice).post(VIEWS, body)
    assert answer.status_code == 400
    assert field in answer.content.decode()
    assert not SavedView.objects.exists()


def test_a_name_that_is_taken_is_refused(client_of: ClientOf, alice: User) -> None:
    client = client_of(alice)
    client.post(VIEWS, FAILED)
    answer = client.post(VIEWS, FAILED)
    assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")
    assert SavedView.objects.count() == 1


def test_a_key_does_what_its_scopes_and_its_organization_allow(
    client_of: ClientOf, acme: Organization, alice: User
) -> None:
    client_of(alice).post(VIEWS, FAILED)

    def with_key(*scopes: Scope, organization: Organization | None = None) -> APIClient:
        organization_id = organization.pk if organization else None
        key = issue_key(alice, "k", timedelta(days=1), by=OPERATOR, scopes=scopes, organization_id=organization_id)[1]
        return APIClient(headers={"X-API-Key": key})

    reader = with_key(Scope.READ)
    assert (names(reader), reader.post(VIEWS, {"name": "x"}, format="json").status_code) == (["failed"], 403)
    bound = with_key(Scope.READ, Scope.SUBMIT, organization=acme)
    assert names(bound) == []
    assert bound.post(VIEWS, {"name": "x"}, format="json").status_code == 403
    assert bound.post(VIEWS, {"name": "x", "organization": "acme"}, format="json").status_code == 201
    assert names(bound) == ["x"]
