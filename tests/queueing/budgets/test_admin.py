"""The budgets in the admin, which shows them and changes none."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.test import Client

from jobs.models import Organization
from queueing.models import Budget
from tests.spending import run
from tests.web import read_page

pytestmark = pytest.mark.django_db
LIST = "/admin/queueing/budget/"


@pytest.fixture
def budgets(acme: Organization, alice: User) -> list[Budget]:
    """One of the site, one of acme, and alice's own in it."""
    make = Budget.objects.create
    return [
        make(scope="site", amount=Decimal(1000)),
        make(scope="organization", organization=acme, amount=Decimal(100)),
        make(scope="user", organization=acme, user=alice, amount=Decimal(10)),
    ]


def shown(user: User, query: str = "") -> int:
    return read_page(user, LIST + query).count('class="field-scope"')


def test_they_are_listed_with_what_is_committed(
    budgets: list[Budget], acme: Organization, alice: User, root: User
) -> None:
    run("7.5", organization=acme, submitted_by=alice)
    page = read_page(root, LIST)
    assert page.count("$7.50") == 3
    assert (shown(root, "?scope__exact=site"), shown(root, "?q=alice"), shown(root, "?q=ACME")) == (1, 1, 2)


def test_everybody_sees_those_that_the_pages_of_budgets_show(budgets: list[Budget], bob: User, charlie: User) -> None:
    # A lead is no admin: alice's own budget is hers and the admins'.
    assert (shown(bob), shown(charlie)) == (1, 0)


def test_nobody_changes_one_here(budgets: list[Budget], root: User, client: Client) -> None:
    client.force_login(root)
    for budget in budgets:
        assert client.get(f"{LIST}{budget.pk}/change/").status_code == 200
        for address in (f"{LIST}{budget.pk}/change/", f"{LIST}{budget.pk}/delete/", f"{LIST}add/"):
            assert client.post(address, {"amount": "1", "post": "yes"}).status_code == 403
    assert sorted(Budget.objects.values_list("amount", flat=True)) == [10, 100, 1000]
