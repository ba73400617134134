"""Somebody who may see nothing of alice's tries every address there is, with the ids of her things."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client

from approvals.models import ApprovalRequest
from cloudtrain_site.models import ApiKey
from jobs.models import Membership, Organization
from jobs.roles import Role
from tests.every_address import (
    OPEN,
    REFUSALS,
    STREAM,
    ClientOf,
    addresses,
    everything,
    first_of_its_kind,
    goes_to_login,
    is_well,
    shows_hers,
    walk,
)

pytestmark = [pytest.mark.slow, pytest.mark.sqlite, pytest.mark.django_db]


@pytest.fixture
def loner(db: None) -> User:
    """A user of no organization."""
    return User.objects.create_user("dave")


def test_nobody_gets_in_anywhere(held: ApprovalRequest) -> None:
    before = everything()
    paths = [path for path in addresses(held) if path not in OPEN]
    for request_line, response in walk(Client(), paths):
        assert response.status_code in REFUSALS or goes_to_login(response), (request_line, response.status_code)
        assert not shows_hers(response), request_line
    assert everything() == before


def test_her_lead_does_learn_of_it_that_way(held: ApprovalRequest, bob: User) -> None:
    browser = Client()
    browser.force_login(bob)
    showing = [path for path in addresses(held) if path not in (*OPEN, STREAM) and shows_hers(browser.get(path))]
    assert len(showing) >= 15  # the walk finds something where there is something to be found


@pytest.mark.parametrize("who", ["charlie", "loner"])
def test_a_stranger_learns_nothing_and_changes_nothing(
    request: pytest.FixtureRequest, held: ApprovalRequest, who: str
) -> None:
    stranger = request.getfixturevalue(who)
    browser = Client()
    browser.force_login(stranger)
    before = everything()
    for request_line, response in walk(browser, [path for path in addresses(held) if path not in (*OPEN, STREAM)]):
        assert is_well(response), request_line
        assert not shows_hers(response), request_line
        if (
            held.job_id in request_line
            or str(held.job.dataset_id) in request_line
            or request_line.endswith("alices-config")
        ):
            assert response.status_code in REFUSALS or response.status_code == 302, (request_line, response.status_code)
    assert everything() == before


def with_key(owner: User, **fields: Any) -> Client:
    return Client(headers={"X-API-Key": ApiKey.objects.create(user=owner, **fields)[1]})


#: They compute an answer and change nothing, so that a key may ask for it that may read.
ANSWERING = (
    *("/api/approvals/rules/preview", "/api/configs/local/validate", "/api/configs/alices-config/validate"),
    "/api/cloud/config-conversion",
    *("/api/cloud/data-consent/preview", "/api/cloud/notifications/skip"),
)


@pytest.mark.parametrize("who", ["bob", "root"])
def test_a_key_that_may_read_changes_nothing(request: pytest.FixtureRequest, held: ApprovalRequest, who: str) -> None:
    owner: User = request.getfixturevalue(who)
    reader = with_key(owner, may_submit=False, may_decide=False, may_administer=False)
    before = everything()
    for path in [path for path in addresses(held) if path not in (*OPEN, STREAM)]:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            response = reader.generic(method, path, "{}", content_type="application/json")
            # A page knows no key and sends to the login.
            is_refused = response.status_code in REFUSALS or goes_to_login(response)
            assert is_refused or path in ANSWERING, (method, path, response.status_code)
    assert everything() == before
    assert reader.get(f"/api/cloud/jobs/{held.job_id}").status_code == 200


@pytest.mark.parametrize("who", ["bob", "root"])
def test_a_key_for_another_organization_learns_and_changes_nothing(
    request: pytest.FixtureRequest, held: ApprovalRequest, who: str
) -> None:
    owner: User = request.getfixturevalue(who)
    elsewhere = Organization.objects.create(name="elsewhere")
    Membership.objects.create(user=owner, organization=elsewhere, role=Role.ADMIN)
    holder = with_key(owner, organization=elsewhere)
    before = everything()
    for request_line, response in walk(holder, [path for path in addresses(held) if path not in (*OPEN, STREAM)]):
        assert is_well(response), request_line
        assert not shows_hers(response), request_line
        if held.job_id in request_line or request_line.endswith("alices-config"):
            assert response.status_code in REFUSALS or goes_to_login(response), (request_line, response.status_code)
    for search in SEARCHES:
        path = search.format(job=held.job_id, organization=held.organization_id)
        assert not shows_hers(holder.get(path)), search
    assert everything() == before


SEARCHES = (
    "/?search=lices",
    "/jobs/rows?id={job}",
    "/jobs/{job}/parts/history",
    "/api/cloud/jobs?search=lices&limit=500",
    "/api/cloud/jobs?status=pending&organization=lices-team",
    "/api/approvals?status=pending&limit=500",
    "/api/queue?status=blocked",
    "/admin/jobs/job/?q=lices",
    "/admin/jobs/job/?q={job}",
    "/admin/jobs/job/?organization__id__exact={organization}",
    "/admin/jobs/job/?submitted_by__username__startswith=lice",
    "/admin/approvals/approvalrequest/?organization__id__exact={organization}",
    "/admin/queueing/queueentry/?q={job}&o=-1",
    "/admin/autocomplete/?term=lice&app_label=jobs&model_name=membership&field_name=user",
)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_stranger_who_searches_finds_nothing(held: ApprovalRequest, charlie: User, search: str) -> None:
    browser = Client()
    browser.force_login(charlie)
    path = search.format(job=held.job_id, organization=held.organization_id)
    response = browser.get(path, follow=True)
    assert response.status_code < 500
    assert not shows_hers(response)


def scoped_admin_actions() -> list[tuple[str, str]]:
    """Every action of every page that a lead may see, by the page's address."""
    return [
        (f"/admin/{model._meta.app_label}/{model._meta.model_name}/", name)
        for model, page in admin.site._registry.items()
        for name in page.actions or ()
        if isinstance(name, str)
    ]


def test_a_strangers_admin_actions_reach_nothing(held: ApprovalRequest, charlie: User) -> None:
    browser = Client()
    browser.force_login(charlie)
    before = everything()
    actions = scoped_admin_actions()
    assert len(actions) >= 4
    for page, action in actions:
        chosen = first_of_its_kind(page, held)
        body = {"action": action, "_selected_action": [chosen], "decision": "approve", "reason": "for fun"}
        for response in (browser.post(page, body), browser.get(page)):
            assert response.status_code < 500
            assert not shows_hers(response), (page, action)
    decide = f"/admin/approvals/approvalrequest/{held.pk}/decide"
    assert not shows_hers(browser.post(decide, {"decision": "approve", "reason": "for fun"}, follow=True))
    assert everything() == before


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_a_strangers_bulk_decision_reaches_nothing(
    held: ApprovalRequest, charlie: User, client_of: ClientOf, verb: str
) -> None:
    before = everything()
    response = client_of(charlie).post(f"/api/approvals/bulk-{verb}", {"ids": [held.pk], "reason": "for fun"})
    assert not shows_hers(response)
    assert everything() == before
