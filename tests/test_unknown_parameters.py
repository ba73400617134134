"""A query parameter that an address of the API doesn't know is refused by name, as an unknown field is."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import resolve

from approvals.models import ApprovalRequest
from cloudtrain_site.compatibility.elsewhere import Elsewhere
from tests.every_address import routes

pytestmark = [pytest.mark.sqlite, pytest.mark.django_db]
#: A page, and the address of providers' calls.
OTHERS = ("/api/docs", "/api/webhooks/%(provider)s")
METHODS = ("get", "post", "put", "patch", "delete")


def test_at_every_address_and_by_every_method(held: ApprovalRequest, root: User) -> None:
    browser = Client()
    browser.force_login(root)
    refused = 0
    for route, address in routes(held):
        if not route.startswith("/api/") or route in OTHERS:
            continue
        is_elsewhere = getattr(resolve(address).func, "cls", None) is Elsewhere
        for method in METHODS:
            answer = getattr(browser, method)(f"{address}?misspelt=1", content_type="application/json")
            if is_elsewhere:  # it answers with its sentence, whatever SimpleTuner asks for
                assert answer.status_code in (404, 501), (method, route)
            elif answer.status_code != 405:
                assert (answer.status_code, list(answer.json()["errors"])) == (400, ["misspelt"]), (method, route)
                refused += 1
    assert refused > 150
