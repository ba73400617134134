"""The banner of a budget that is nearly spent, on the pages of those whom it concerns."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User

from jobs.models import Job, Organization
from jobs.roles import Role
from queueing.budgets import watch
from queueing.budgets.banners import banners_for
from queueing.models import Budget
from tests.factories import make_user
from tests.providers import ScriptedProvider
from tests.queueing.budgets.spending import budget_of, spend
from tests.settings_pages import browser_of, text_of

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]


@pytest.fixture(autouse=True)
def provider(scripted: ScriptedProvider) -> None:
    """The jobs are there."""


def test_members_see_it_from_80_percent_on(make_job: MakeJob, acme: Organization, alice: User, charlie: User) -> None:
    budget = budget_of(acme, "100")
    spend(make_job, "79")
    watch.watch()
    assert banners_for(alice) == []
    spend(make_job, "6")
    watch.watch()
    for page in ("/", "/queue", "/jobs/new"):
        assert "$85 of $100 spent (85 %)." in text_of(browser_of(alice).get(page)), page
    assert [banner.address for banner in banners_for(alice)] == [f"/budgets/{budget.pk}"]
    assert banners_for(charlie) == []


def test_it_goes_when_the_budget_is_raised(make_job: MakeJob, acme: Organization, alice: User) -> None:
    budget_of(acme, "100")
    spend(make_job, "100")
    watch.watch()
    (banner,) = banners_for(alice)
    assert banner.text.endswith("$100 of $100 spent (100 %). No more jobs start. Running jobs continue.")
    Budget.objects.update(amount=1000)
    assert banners_for(alice) == []


def test_a_persons_budget_concerns_the_person_and_admins(
    make_job: MakeJob, acme: Organization, alice: User, bob: User, root: User
) -> None:
    maria = make_user("maria", acme, Role.ADMIN)
    budget_of(acme, "100", user=alice)
    budget_of(None, "110")
    spend(make_job, "90")
    watch.watch()
    assert [len(banners_for(user)) for user in (alice, bob, maria, root)] == [1, 0, 1, 2]
