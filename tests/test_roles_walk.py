"""Everybody walks along every address: each gets what `least_roles.toml` says, and what they don't get changes nothing.

An address that the file doesn't know fails the first test: its line says who is meant to get an answer there.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import get_resolver
from django.utils.http import urlencode

from approvals.models import ApprovalRequest
from jobs.dashboard.form_pages import stamp_of
from jobs.models import Organization
from jobs.roles import Role
from queueing.models import Budget
from tests.every_address import REFUSALS, STREAM, everything, goes_to_login, patterns, routes, shows_hers, text_of
from tests.factories import make_user

pytestmark = [pytest.mark.slow, pytest.mark.sqlite, pytest.mark.django_db]

TABLE: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_name("least_roles.toml").read_text())
ELSEWHERE = TABLE.pop("elsewhere")
ADMIN_PAGES = TABLE.pop("admin-pages")
#: From nobody to a superuser: each may what those before may.
ROLES = list(TABLE)
#: One has no end, two sign out, the admin's way in leads to ours, and each wrong delivery of a provider is kept.
LEFT_OUT = (STREAM, "/logout", "/admin/logout/", "/admin/login/", "/api/webhooks/{provider}")
#: The admin finds nothing by these, whoever asks.
ADMIN_WAYS = ("/admin/autocomplete/", "/admin/r/{content_type_id}/{object_id}/", "/admin/{url}")


def plain(route: str) -> str:
    return route.replace("%(", "{").replace(")s", "}")


def admin_page_of(route: str) -> str:
    """Return the beginning that `admin-pages` names, for an address of the admin."""
    return max((begin for begin in ADMIN_PAGES if route.startswith(begin)), key=len)


def test_each_address_says_who_gets_an_answer_there(db: None) -> None:
    routes_now = {plain(route) for route, _ in patterns(get_resolver())} - {*LEFT_OUT, *ADMIN_WAYS}
    ours = {route for route in routes_now if not route.startswith("/admin/")}
    assert ours == {route for role in TABLE.values() for route in role} | set(ELSEWHERE)
    pages = {"/".join(route.split("/")[:4]) + "/" for route in routes_now - ours if route.count("/") > 3}
    assert pages - {"/admin/{app_label}/"} <= set(ADMIN_PAGES) <= {*pages, *routes_now}


@pytest.fixture
def people(held: ApprovalRequest, acme: Organization, bob: User, charlie: User, root: User) -> dict[str, User | None]:
    """One of each role in alice's organization, none of whom is alice. There is another one, charlie's."""
    return {
        "nobody": None,
        "signed in": make_user("dave"),
        "viewer": make_user("victor", acme, Role.VIEWER),
        "researcher": make_user("rita", acme, Role.RESEARCHER),
        "lead": bob,
        "admin": make_user("adam", acme, Role.ADMIN),
        "superuser": root,
    }


def bodies(held: ApprovalRequest) -> dict[str, dict[str, Any]]:
    """What is sent where nothing at all would be refused to everybody for being nothing."""
    job = {"config": {"max_train_steps": 1}, "organization": "alices-team"}
    budget = Budget.objects.get()
    return {
        "/api/approvals/{request_id}/reject": {"reason": "for fun"},
        "/api/approvals/{request_id}/comment": {"text": "for fun"},
        "/api/queue/{job_id}/reject": {"reason": "for fun"},
        "/api/approvals/bulk-approve": {"ids": [held.pk], "reason": "for fun"},
        "/api/approvals/bulk-reject": {"ids": [held.pk], "reason": "for fun"},
        "/api/approvals/rules": {"name": "r", "condition": {"cost_exceeds": 1}, "organization": "alices-team"},
        "/api/cloud/budgets": {"scope": "organization", "organization": "alices-team", "amount_usd": 5},
        "/api/cloud/jobs/submit": job,
        "/api/quotas": {"quota_type": "cost_daily", "limit_value": 5, "org_id": held.organization_id},
        "/api/orgs/{organization_id}/quotas": {"quota_type": "concurrent_jobs", "limit_value": 5},
        "/api/users/{user_id}/levels": {"level_name": "viewer"},
        "/api/queue/submit": {"config_name": "alices-config"},
        "/api/queue/concurrency": {"max_concurrent": 3},
        "/api/configs/{name}": {"config": {"max_train_steps": 2}, "organization": "alices-team"},
        "/jobs/new/stored": {"name": "alices-config", "organization": "alices-team"},
        "/budgets/{budget_id}": {
            "stamp": stamp_of(budget.version),
            "amount": "7",
            "action": "hold",
            "version": budget.version,
        },
        "/budgets/{budget_id}/remove": {"stamp": stamp_of(budget.version)},
    }


def is_refused(response: Any) -> bool:
    """Whether nothing is answered; the admin sends home who asks for a row that is not there."""
    is_sent_home = response.status_code == 302 and response["Location"].startswith("/admin/")
    return response.status_code in REFUSALS or goes_to_login(response) or is_sent_home


def ask(session: dict[str, str], method: str, address: str, body: dict[str, Any]) -> Any:
    """Ask with a session; what an answer changes is taken back, what a refusal changes stays."""
    browser = Client()
    browser.cookies = SimpleCookie(session)
    is_api = address.startswith("/api/")
    kind = "application/json" if is_api else "application/x-www-form-urlencoded"
    if method == "GET" and address.startswith("/jobs/") and body:
        address = f"{address}?{urlencode(body)}"
    data = "" if method == "GET" else json.dumps(body) if is_api else urlencode(body)
    with transaction.atomic():
        response: Any = browser.generic(method, address, data, content_type=kind)
        if not is_refused(response):
            response.shown = text_of(response)
            transaction.set_rollback(True)
    return response


def session_of(person: User | None) -> dict[str, str]:
    browser = Client()
    if person is not None:
        browser.force_login(person)
    return {name: cookie.value for name, cookie in browser.cookies.items()}


def ways(held: ApprovalRequest) -> Iterator[tuple[str, str, str, str | None]]:
    """Every method of every address but the admin's, with its least role; None: nobody gets an answer here."""
    for route, address in routes(held):
        if route.startswith("/admin/") or plain(route) in LEFT_OUT:
            continue
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE") if route.startswith("/api/") else ("GET", "POST"):
            least = [role for role, table in TABLE.items() if method in table.get(plain(route), "").split()]
            yield plain(route), method, address, least[0] if least else None


#: Only its admins see mail addresses, and to whom invitations went.
FOR_ADMINS = ("alices-mail@example.org", "alices-friend@example.org")
#: A superuser belongs to no organization, and so leaves none.
MEMBERS_OWN = ("/organizations/{organization}/settings/members/leave", "/api/organizations/{organization}/leave")


@pytest.mark.parametrize("who", ROLES)
def test_each_role_gets_what_it_may_and_changes_nothing_else(
    held: ApprovalRequest, people: dict[str, User | None], who: str
) -> None:
    session, before, wrong = session_of(people[who]), everything(), []
    body_of = bodies(held)
    for route, method, address, least in ways(held):
        may = least is not None and ROLES.index(who) >= ROLES.index(least)
        if (least is None and who != "superuser" and route not in ELSEWHERE) or (
            route in MEMBERS_OWN and who == "superuser"
        ):
            continue  # what nobody answers is asked by a superuser alone
        body = body_of.get(route, {})
        response = ask(session, method, address, body)
        if response.status_code == 400 and "alices-team" in body.values() and who == "signed in":
            continue  # for whom there is no such organization
        if may == is_refused(response):
            wrong.append(f"{method} {route}: {response.status_code}, though {who} {'may' if may else 'may not'}")
        elif may and who in ROLES[:-2] and any(text in response.shown for text in FOR_ADMINS):
            wrong.append(f"{method} {route} shows a mail address")
    assert not wrong, "\n".join(wrong)
    assert everything() == before


def test_an_admin_of_another_organization_gets_nothing_of_hers(
    held: ApprovalRequest, people: dict[str, User | None], charlie: User
) -> None:
    session, before, body_of = session_of(charlie), everything(), bodies(held)
    hers = [way for way in ways(held) if "{" in way[0] and way[3] not in (None, "nobody", "signed in")]
    assert len(hers) > 130
    for route, method, address, _ in hers:
        body = body_of.get(route, {})
        response = ask(session, method, address, body)
        # The name of her organization that he sends is that of none, and stands in the answer.
        is_unknown = response.status_code == 400 and "alices-team" in body.values()
        assert is_unknown or is_refused(response), (method, route, response.status_code)
        assert is_unknown or not shows_hers(response), (method, route)
    assert everything() == before


@pytest.mark.parametrize("who", ["researcher", "lead", "admin", "superuser"])
def test_each_role_has_its_pages_of_the_admin(held: ApprovalRequest, people: dict[str, User | None], who: str) -> None:
    session, before, wrong = session_of(people[who]), everything(), []
    for route, address in routes(held):
        if not route.startswith("/admin/") or plain(route) in (*LEFT_OUT, *ADMIN_WAYS):
            continue
        page = admin_page_of(plain(route))
        may = ROLES.index(who) >= ROLES.index(ADMIN_PAGES[page])
        for method in ("GET", "POST"):
            response = ask(session, method, address, {})
            # Of a page that one has, not all that is below it: a row that nobody edits has no form.
            lacks_page = plain(route) == page and method == "GET" and is_refused(response)
            # A list of one row leads to the row.
            leads_below = response.get("Location", "").startswith(address)
            if (may and lacks_page and not leads_below) or (not may and not is_refused(response)):
                wrong.append(f"{method} {route}: {response.status_code}, though {who} {'may' if may else 'may not'}")
    assert not wrong, "\n".join(wrong)
    assert everything() == before
