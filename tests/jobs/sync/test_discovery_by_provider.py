"""Looking for jobs made elsewhere when there are several accounts: at one that is named, or at all of them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from rest_framework.test import APIClient

from jobs.models import Job
from jobs.sync.discovery import joined, where_to_discover
from tests.accounts import Accounts

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
ClientOf = Callable[[User], APIClient]
BOTH = "Replicate and The studio's account"


def made_elsewhere(accounts: Accounts, **counts: int) -> None:
    for name, count in counts.items():
        accounts[name].fill(count)


def found() -> dict[str, int]:
    names = list(Job.objects.values_list("provider", flat=True))
    return {name: names.count(name) for name in set(names)}


def test_a_sync_that_names_none_looks_everywhere(accounts: Accounts, client_of: ClientOf, alice: User) -> None:
    made_elsewhere(accounts, replicate=2, studio=3)
    answer = client_of(alice).post("/api/cloud/jobs/sync")
    assert answer.json() == {"synced": 5, "updated": 0, "message": f"Discovered 5 new jobs from {BOTH}"}
    assert found() == {"replicate": 2, "studio": 3}
    assert client_of(alice).post("/api/cloud/jobs/sync").json()["synced"] == 0


@pytest.mark.parametrize(("name", "label"), [("studio", "The studio's account"), ("replicate", "Replicate")])
def test_a_sync_that_names_one_looks_there_alone(
    accounts: Accounts, client_of: ClientOf, alice: User, name: str, label: str
) -> None:
    made_elsewhere(accounts, replicate=1, studio=1)
    answer = client_of(alice).post(f"/api/cloud/jobs/sync?provider={name}")
    assert answer.json()["message"] == f"Discovered 1 new job from {label}"
    assert found() == {name: 1}


def test_the_same_id_at_both_is_two_jobs(accounts: Accounts, client_of: ClientOf, alice: User) -> None:
    for server in accounts.values():
        server.fill(1, id="same0000000000000000000000")
    assert client_of(alice).post("/api/cloud/jobs/sync").json()["synced"] == 2
    assert found() == {"replicate": 1, "studio": 1}


def test_one_that_is_away_is_told_and_what_the_other_has_is_kept(
    accounts: Accounts, client_of: ClientOf, alice: User
) -> None:
    made_elsewhere(accounts, replicate=2)
    accounts["studio"].stop()
    answer = client_of(alice).post("/api/cloud/jobs/sync")
    assert answer.status_code == 502
    problem = answer.json()["detail"] if "detail" in answer.json() else answer.content.decode()
    assert "The studio's account could not be checked: Replicate could not be reached" in problem
    assert "Discovered 2 new jobs from Replicate." in problem
    assert found() == {"replicate": 2}


def test_a_site_without_the_first_account_looks_at_the_declared_one_alone(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert where_to_discover() == ["replicate", "studio"]
    monkeypatch.delenv("REPLICATE_API_TOKEN")
    assert where_to_discover() == ["studio"]


def test_a_site_without_any_is_told_what_is_missing(
    client_of: ClientOf, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REPLICATE_API_TOKEN", raising=False)
    answer = client_of(alice).post("/api/cloud/jobs/sync")
    assert answer.status_code == 502
    assert "REPLICATE_API_TOKEN is not set." in answer.content.decode()


def test_the_command_looks_everywhere_or_where_it_is_told_to(accounts: Accounts) -> None:
    made_elsewhere(accounts, replicate=1, studio=2)
    output = io.StringIO()
    call_command("sync_jobs", "--provider", "studio", stdout=output)
    assert output.getvalue().strip() == "Discovered 2 new jobs from The studio's account"
    output = io.StringIO()
    call_command("sync_jobs", "--json", stdout=output)
    assert json.loads(output.getvalue())["message"] == f"Discovered 1 new job from {BOTH}"


def test_the_command_fails_when_one_could_not_be_asked(accounts: Accounts) -> None:
    accounts["replicate"].stop()
    with pytest.raises(CommandError, match=r"Replicate could not be checked: .* Discovered 0 new jobs from The studio"):
        call_command("sync_jobs")


def test_the_button_says_where_it_looks(accounts: Accounts, alice: User, client: APIClient) -> None:
    client.force_login(alice)
    page = client.get("/").content.decode()
    assert 'data-from="Replicate and The studio&#x27;s account"' in page


@pytest.mark.parametrize(
    ("labels", "text"), [([], ""), (["A"], "A"), (["A", "B"], "A and B"), (["A", "B", "C"], "A, B and C")]
)
def test_labels_in_words(labels: list[str], text: str) -> None:
    assert joined(labels) == text
