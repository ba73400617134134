"""Comments on a request, which decide nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from approvals import decisions
from approvals.comments import comment, comments_of
from approvals.models import ApprovalRequest
from cloudtrain_site.states import Source
from jobs.dashboard.history import history_for_page
from jobs.models import Organization
from jobs.roles import Role
from tests.events import published_events
from tests.factories import make_user

pytestmark = pytest.mark.django_db


def texts(request: ApprovalRequest) -> list[str]:
    return [one.reason for one in comments_of([request])[request.pk]]


def test_a_comment_is_in_the_history_and_leaves_the_request_as_it_is(request_: ApprovalRequest, bob: User) -> None:
    assert comment(request_, "why so many steps?", user=bob, source=Source.API)
    request_.refresh_from_db()
    assert (request_.status, request_.decisions.count(), texts(request_)) == ("pending", 0, ["why so many steps?"])
    shown = history_for_page(request_.job)
    newest = shown["moments"][0]
    assert (newest.title, newest.person, newest.reason) == ("Comment", "bob", "why so many steps?")
    assert next(step for step in shown["steps"] if step.label == "Needs approval").state == "now"
    event = published_events().order_by("-pk")[0]
    assert "bob commented on flux: why so many steps?" in str(event.data)


def test_a_decided_request_takes_none(request_: ApprovalRequest, bob: User) -> None:
    decisions.reject(request_, user=bob, source=Source.API, notes="no")
    assert not comment(request_, "too late", user=bob, source=Source.API)
    assert texts(request_) == []


def test_over_the_api_by_those_whom_the_request_concerns(
    request_: ApprovalRequest,
    alice: User,
    bob: User,
    charlie: User,
    acme: Organization,
    client_of: Callable[[User | None], APIClient],
) -> None:
    def post(user: User, text: Any) -> int:
        return client_of(user).post(f"/api/approvals/{request_.pk}/comment", {"text": text}).status_code

    viewer = make_user("vera", acme, Role.VIEWER)
    assert [post(user, "hello") for user in (alice, bob, viewer, charlie)] == [200, 200, 403, 404]
    assert [post(bob, text) for text in ("", " ", "x" * 2001)] == [400, 400, 400]
    shown = client_of(viewer).get(f"/api/approvals/{request_.pk}").json()["approval"]["comments"]
    assert [(one["by"], one["text"], one["via"]) for one in shown] == [
        ("alice", "hello", "api"),
        ("bob", "hello", "api"),
    ]
    decisions.reject(request_, user=bob, source=Source.API, notes="no")
    assert post(alice, "too late") == 409
