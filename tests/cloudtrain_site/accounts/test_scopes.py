"""What each operation of the API needs of a key."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import IntegrityError
from django.test import Client
from rest_framework.exceptions import PermissionDenied

from cloudtrain_site.accounts.scopes import ByHand, check_scope, needed_scope
from cloudtrain_site.api import handler_of
from cloudtrain_site.models import ApiKey, Scope
from tests.api_operations import Operation, operations
from tests.web import body_of

OPERATIONS = [operation for operation in operations() if operation.view.get_authenticators()]


def test_every_operation_that_changes_something_declares_its_scope() -> None:
    assert len(OPERATIONS) > 60
    undeclared = [
        f"{operation.method.upper()} {operation.path}"
        for operation in OPERATIONS
        if needed_scope(operation.view, operation.method.upper()) is None
        and ByHand not in operation.view.permission_classes
    ]
    assert undeclared == [], "Add @needs(Scope...) from cloudtrain_site.accounts.scopes, or the permission ByHand."


class TestUndeclared:
    """A view that its author forgot."""

    def post(self) -> None: ...

    def get(self) -> None: ...

    def test_no_key_changes_anything_there(self) -> None:
        with pytest.raises(PermissionDenied, match="can't be done with a key"):
            check_scope(ApiKey(), self, "POST")

    def test_a_key_may_look(self) -> None:
        check_scope(ApiKey(may_submit=False, may_decide=False, may_administer=False), self, "GET")
        with pytest.raises(PermissionDenied, match="needs a key with the scope read; this key has submit"):
            check_scope(ApiKey(may_read=False, may_decide=False, may_administer=False), self, "GET")

    def test_what_no_method_answers_is_left_to_the_view(self) -> None:
        assert handler_of(self, "DELETE") is None
        check_scope(ApiKey(), self, "DELETE")


@pytest.mark.django_db
def test_a_key_without_a_scope_can_not_be_stored(alice: User) -> None:
    with pytest.raises(IntegrityError):
        ApiKey.objects.create(user=alice, may_read=False, may_submit=False, may_decide=False, may_administer=False)


def filled(operation: Operation) -> str:
    """Its address, with ids of nothing."""

    class Anything(dict[str, str]):
        def __missing__(self, name: str) -> str:
            return "1" if name.endswith("_id") or name == "pk" else "nothing"

    return operation.path % Anything()


def test_outside_of_views_a_key_needs_its_scope_too() -> None:
    reads, submits = (ApiKey(may_read=scope == "read", may_submit=scope == "submit") for scope in ("read", "submit"))
    check_scope(reads, None, "GET")
    for key, method in ((submits, "GET"), (submits, "POST"), (reads, "POST")):
        with pytest.raises(PermissionDenied):
            check_scope(key, None, method)


def test_nobody_is_no_hand() -> None:
    request: Any = SimpleNamespace(user=AnonymousUser(), auth=None)
    assert not ByHand().has_permission(request, SimpleNamespace())  # type: ignore[arg-type]


@pytest.mark.django_db
@pytest.mark.slow
@pytest.mark.parametrize("scope", Scope)
def test_a_key_with_one_scope_passes_where_that_is_needed_and_nowhere_else(root: User, scope: Scope) -> None:
    others: dict[str, Any] = {f"may_{other}": other == scope for other in Scope}
    _, key = ApiKey.objects.create(user=root, **others)
    holder = Client(headers={"X-API-Key": key})
    passed = 0
    for operation in OPERATIONS:
        answer = holder.generic(operation.method.upper(), filled(operation), "[]", content_type="application/json")
        says_so = "needs a key with the scope" in body_of(answer).decode()
        is_refused = answer.status_code == 403 and says_so
        needed = needed_scope(operation.view, operation.method.upper())
        if ByHand in operation.view.permission_classes:
            assert answer.status_code == 403
        else:
            assert is_refused == (needed != scope), (operation.method, operation.path, answer.status_code)
            passed += not is_refused
    assert passed > 0
