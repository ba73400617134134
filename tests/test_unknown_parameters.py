"""A query parameter that an address of the API doesn't know is refused by name, as an unknown field is."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from approvals.models import ApprovalRequest
from tests.every_address import routes

pytestmark = [pytest.mark.sqlite, pytest.mark.django_db]


def test_of_accounts_and_organizations(held: ApprovalRequest, root: User) -> None:
    browser = Client()
    browser.force_login(root)
    tried = 0
    for route, address in routes(held):
        if route.startswith(("/api/organizations", "/api/account")):
            answer = browser.get(address, {"misspelt": "1"})
            assert answer.status_code in (404, 405) or list(answer.json()["errors"]) == ["misspelt"], route
            tried += answer.status_code == 400
    assert tried == 13
