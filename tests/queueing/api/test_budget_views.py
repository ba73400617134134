"""Budgets over HTTP: who may see, set and remove which."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.errors import Conflict
from jobs.costs import ledger
from jobs.models import Job, Membership, Organization
from jobs.roles import Role
from queueing.budgets import editing
from queueing.models import Budget
from tests import factories
from tests.queueing.budgets.spending import spend
from tests.races import at_once

pytestmark = pytest.mark.django_db
BUDGETS = "/api/cloud/budgets"
OF_ACME = {"scope": "organization", "organization": "acme", "amount_usd": 500}
Client = Callable[[User | None], APIClient]


@pytest.fixture
def ada(acme: Organization) -> User:
    """An admin of acme."""
    return factories.make_user("ada", acme, Role.ADMIN)


def made(client: APIClient, **body: Any) -> Any:
    answer = client.post(BUDGETS, {**OF_ACME, **body}, format="json")
    assert answer.status_code == 201, answer.json()
    return answer.json()["budget"]


def test_an_admin_sets_a_budget_and_its_members_see_it(client_of: Client, ada: User, alice: User) -> None:
    budget = made(client_of(ada))
    assert (budget["amount_usd"], budget["thresholds"], budget["action"]) == (500, [50, 80, 100], "hold")
    assert (budget["period"], budget["time_zone"], budget["spent_usd"]) == ("month", "UTC", 0)
    assert budget["resets_at"].endswith("T00:00:00.000Z")
    assert [one["id"] for one in client_of(alice).get(BUDGETS).json()["budgets"]] == [budget["id"]]
    record = AuditRecord.objects.get()
    assert (record.action, record.actor, record.organization) == ("budget_made", "ada", "acme")


def test_strangers_find_nothing(client_of: Client, ada: User, charlie: User) -> None:
    address = f"{BUDGETS}/{made(client_of(ada))['id']}"
    stranger = client_of(charlie)
    assert stranger.get(BUDGETS).json() == {"budgets": []}
    assert stranger.patch(address, {"amount_usd": 1}, format="json").status_code == 404
    assert stranger.delete(address).status_code == 404
    assert stranger.post(BUDGETS, OF_ACME, format="json").status_code == 404
    assert Budget.objects.get().amount == 500


def test_members_who_are_no_admins_change_nothing(client_of: Client, ada: User, alice: User, bob: User) -> None:
    address = f"{BUDGETS}/{made(client_of(ada))['id']}"
    for member in (alice, bob):
        assert client_of(member).patch(address, {"amount_usd": 1}, format="json").status_code == 403
        assert client_of(member).delete(address).status_code == 403
        assert client_of(member).post(BUDGETS, {**OF_ACME, "period": "day"}, format="json").status_code == 403
    assert Budget.objects.get().amount == 500


def test_a_persons_budget_is_seen_by_the_person_and_admins(
    client_of: Client, ada: User, alice: User, bob: User
) -> None:
    made(client_of(ada), scope="user", user="alice")
    seen = [len(client_of(user).get(BUDGETS).json()["budgets"]) for user in (ada, alice, bob)]
    assert seen == [1, 1, 0]


def test_the_sites_budget_is_for_superusers(client_of: Client, ada: User, root: User) -> None:
    body = {"scope": "site", "amount_usd": 9000, "time_zone": "Europe/Berlin"}
    assert client_of(ada).post(BUDGETS, body, format="json").status_code == 403
    answer = client_of(root).post(BUDGETS, body, format="json")
    assert (answer.status_code, answer.json()["budget"]["time_zone"]) == (201, "Europe/Berlin")
    assert client_of(ada).get(BUDGETS).json() == {"budgets": []}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"amount_usd": -1}, "amount_usd"),
        ({"amount_usd": "NaN"}, "amount_usd"),
        ({"amount_usd": "Infinity"}, "amount_usd"),
        ({"amount_usd": 1e12}, "amount_usd"),
        ({"amount_usd": None}, "amount_usd"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "Europe/Berlin"}, "time_zone"),
        ({"thresholds": [0]}, "thresholds"),
        ({"thresholds": ["half"]}, "thresholds"),
        ({"period": "week"}, "period"),
        ({"action": "explode"}, "action"),
        ({"scope": "user"}, "user"),
        ({"scope": "site"}, "organization"),
        ({"scope": "user", "user": "charlie"}, "user"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(
    client_of: Client, ada: User, charlie: User, body: dict[str, Any], field: str
) -> None:
    answer = client_of(ada).post(BUDGETS, {**OF_ACME, **body}, format="json")
    assert (answer.status_code, list(answer.json()["errors"])) == (400, [field])
    assert not Budget.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"amount_usd": -0.01}, "amount_usd"),
        ({"amount_usd": "NaN"}, "amount_usd"),
        ({"amount_usd": "-Infinity"}, "amount_usd"),
        ({"amount_usd": 1e300}, "amount_usd"),
        ({"amount_usd": 0.001}, "amount_usd"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"thresholds": [50, -1]}, "thresholds"),
        ({"thresholds": list(range(1, 12))}, "thresholds"),
        ({"action": "explode"}, "action"),
        ({"version": 0}, "version"),
        ({"scope": "site"}, "scope"),
        ({"period": "day"}, "period"),
    ],
)
def test_a_change_to_bad_input_changes_nothing(client_of: Client, ada: User, body: dict[str, Any], field: str) -> None:
    client = client_of(ada)
    address = f"{BUDGETS}/{made(client)['id']}"
    answer = client.patch(address, body, format="json")
    assert (answer.status_code, list(answer.json()["errors"])) == (400, [field])
    budget = Budget.objects.get()
    assert (int(budget.amount), budget.action, budget.version) == (500, "hold", 1)


def test_a_second_budget_of_the_same_period_is_refused(client_of: Client, ada: User) -> None:
    made(client_of(ada))
    answer = client_of(ada).post(BUDGETS, OF_ACME, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "budget_exists")
    made(client_of(ada), period="day")


def test_lowering_below_what_is_committed_says_first_what_happens(
    client_of: Client, ada: User, make_job: Callable[..., Job]
) -> None:
    client = client_of(ada)
    address = f"{BUDGETS}/{made(client, action='cancel')['id']}"
    ledger.reserve([make_job(estimated_cost_usd=Decimal(300))])
    answer = client.patch(address, {"amount_usd": 200}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "confirm_needed")
    assert "$300 are already committed, more than $200: no more jobs start." in answer.json()["detail"]
    assert Budget.objects.get().amount == 500
    assert client.patch(address, {"amount_usd": 200, "confirm": True}, format="json").status_code == 200
    assert Budget.objects.get().amount == 200
    assert client.patch(address, {"amount_usd": 250}, format="json").status_code == 200, "raising asks nothing"


def test_cancelling_what_runs_at_once_says_so_first(client_of: Client, ada: User, make_job: Callable[..., Job]) -> None:
    client = client_of(ada)
    address = f"{BUDGETS}/{made(client, amount_usd=50)['id']}"
    spend(make_job, "50")
    answer = client.patch(address, {"action": "cancel"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "confirm_needed")
    assert "All of $50 is spent: no more jobs start. Running jobs are cancelled." in answer.json()["detail"]
    assert client.patch(address, {"action": "finish"}, format="json").status_code == 200, "that ends nothing"
    assert client.patch(address, {"action": "cancel", "amount_usd": 51}, format="json").status_code == 200
    answer = client.patch(address, {"amount_usd": 50}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "confirm_needed"), (
        "though no more is committed than that"
    )
    assert client.patch(address, {"action": "hold", "amount_usd": 50}, format="json").status_code == 200
    assert client.patch(address, {"action": "cancel", "confirm": True}, format="json").status_code == 200
    assert Budget.objects.get().action == "cancel"


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_of_many_who_change_it_at_once_one_does(client_of: Client, ada: User) -> None:
    budget = Budget.objects.get(pk=made(client_of(ada))["id"])

    def change(amount: int) -> bool:
        try:
            return editing.change(budget, {"amount": Decimal(amount)}, by=ada, version=1)
        except Conflict as error:
            assert error.get_codes() == "changed_meanwhile"
            return False

    outcomes = at_once(*[lambda amount=amount: change(amount) for amount in range(501, 507)])
    assert outcomes.count(True) == 1
    assert Budget.objects.get().amount == 501 + outcomes.index(True)
    assert AuditRecord.objects.filter(action="budget_changed").count() == 1


def test_of_two_who_change_it_the_second_is_told(client_of: Client, ada: User) -> None:
    client = client_of(ada)
    budget = made(client)
    address, seen = f"{BUDGETS}/{budget['id']}", budget["version"]
    assert client.patch(address, {"amount_usd": 600, "version": seen}, format="json").status_code == 200
    answer = client.patch(address, {"amount_usd": 700, "version": seen}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "changed_meanwhile")
    assert Budget.objects.get().amount == 600


def test_a_budget_that_is_removed_limits_nothing(client_of: Client, ada: User) -> None:
    address = f"{BUDGETS}/{made(client_of(ada))['id']}"
    assert client_of(ada).delete(address).json()["success"]
    assert client_of(ada).delete(address).status_code == 404
    assert not Budget.objects.exists()
    assert list(AuditRecord.objects.order_by("pk").values_list("action", flat=True)) == [
        "budget_made",
        "budget_removed",
    ]


def test_a_former_admin_changes_nothing(client_of: Client, ada: User) -> None:
    address = f"{BUDGETS}/{made(client_of(ada))['id']}"
    Membership.objects.filter(user=ada).update(role=Role.LEAD)
    assert client_of(ada).patch(address, {"amount_usd": 1}, format="json").status_code == 403
