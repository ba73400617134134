"""Prices of declared providers: from the file, unless an operator has set one, and never another provider's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from cloudtrain_site.states import Source
from jobs.checks import check_prices
from jobs.costs.estimates import Range, estimate
from jobs.costs.prices import price_of, rate_of, rates_of, setter_of
from jobs.models import Job, ProviderConfig
from jobs.statuses import JobStatus
from jobs.sync import refresh
from tests.accounts import Accounts, declared
from tests.configuration import WriteConfig

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]
ClientOf = Callable[[User], APIClient]
PRICES = "    cost_per_second: {h100: 0.002, l40s: 0}\n"


@pytest.fixture(autouse=True)
def prices(accounts: Accounts, write_config: WriteConfig) -> None:
    """The file's for `studio`, and an operator's for `replicate`."""
    write_config(declared(accounts["studio"], PRICES))
    ProviderConfig.objects.create(name="replicate", cost_per_second={"h100": 0.01})


def profiles_of(name: str, client: APIClient) -> dict[str, Any]:
    providers = {one["name"]: one for one in client.get("/api/cloud/providers").json()["providers"]}
    return {profile["name"]: profile for profile in providers[name]["profiles"]}


def test_the_files_counts_while_an_operator_has_set_none() -> None:
    studio = ProviderConfig.of("studio")
    assert [rate_of(studio, hardware) for hardware in ("h100", "l40s", "h100-x2")] == [
        Decimal("0.002"),
        Decimal(0),
        None,
    ]
    assert [setter_of(studio, hardware) for hardware in ("h100", "l40s", "h100-x2")] == ["file", "file", None]
    price = price_of(studio, "h100")
    assert price is not None
    assert price.as_of is None


def test_an_operators_counts_before_the_files_for_its_own_profile(client_of: ClientOf, root: User) -> None:
    body = {"cost_per_second": {"h100": 0.5}}
    answer = client_of(root).put("/api/cloud/providers/studio", body, format="json").json()
    assert answer["cost_per_second"] == {"h100": 0.5, "l40s": 0.0}
    shown = profiles_of("studio", client_of(root))
    assert (shown["h100"]["cost_per_second"], shown["h100"]["price_set_by"]) == (0.5, "operator")
    assert (shown["l40s"]["cost_per_second"], shown["l40s"]["price_set_by"]) == (0.0, "file")
    assert (shown["h100-x2"]["cost_per_second"], shown["h100-x2"]["price_set_by"]) == (None, None)


def test_when_the_operators_is_taken_back_the_files_counts_again(client_of: ClientOf, root: User) -> None:
    for prices, counts in (({"h100": 0.5}, 0.5), ({}, 0.002)):
        client_of(root).put("/api/cloud/providers/studio", {"cost_per_second": prices}, format="json")
        assert profiles_of("studio", client_of(root))["h100"]["cost_per_second"] == counts


def test_an_operators_price_that_is_none_is_not_known_whatever_the_file_says() -> None:
    ProviderConfig.objects.create(name="studio", cost_per_second={"h100": "a lot"})
    studio = ProviderConfig.of("studio")
    assert (rate_of(studio, "h100"), setter_of(studio, "h100")) == (None, None)
    assert rates_of(studio) == {"l40s": Decimal(0)}


def test_the_command_lines_prices_are_those_in_force(client_of: ClientOf, alice: User) -> None:
    hardware = client_of(alice).get("/api/cloud/providers/studio/config").json()["config"]["hardware_info"]
    assert {name: one["cost_per_second"] for name, one in hardware.items()} == {"h100": 0.002, "l40s": 0.0}


def test_an_estimate_goes_by_its_own_providers_price() -> None:
    costs = {
        name: estimate(ProviderConfig.of(name), {"max_train_steps": 100}, "h100").cost
        for name in ("replicate", "studio")
    }
    assert costs == {"replicate": Range(Decimal(1), Decimal(1)), "studio": Range(Decimal("0.2"), Decimal("0.2"))}


def test_a_job_costs_its_own_providers_price(accounts: Accounts, make_job: MakeJob) -> None:
    for name, server in accounts.items():
        (prediction,) = server.fill(1)
        server.update(prediction.id, "succeeded")
        prediction.created_ns = prediction.started_ns = 1_700_000_000 * 10**9
        prediction.completed_ns = prediction.started_ns + 100 * 10**9
        job = make_job(provider=name, external_id=prediction.id, status=JobStatus.RUNNING, hardware_profile="h100")
        Job.objects.filter(pk=job.pk).update(started_at=datetime.fromtimestamp(1_700_000_000, UTC))
    refresh.refresh(refresh.active_jobs(), source=Source.POLL)
    costs = dict(Job.objects.values_list("provider", "cost_usd"))
    assert costs["replicate"] == 5 * costs["studio"] > 0


def test_the_file_may_change_while_the_site_runs(accounts: Accounts, write_config: WriteConfig) -> None:
    write_config(declared(accounts["studio"], PRICES.replace("0.002", "0.003")))
    assert rate_of(ProviderConfig.of("studio"), "h100") == Decimal("0.003")
    assert rate_of(ProviderConfig.of("gone"), "h100") is None


def test_a_price_for_hardware_that_there_is_not_is_warned_of(accounts: Accounts, write_config: WriteConfig) -> None:
    assert check_prices() == []
    write_config(declared(accounts["studio"], "    cost_per_second: {h1000: 0.003}\n"))
    (message,) = check_prices()
    assert message.msg == "Provider studio has a price for h1000, but no such hardware."
    assert str(message.hint).startswith("It has: h100, h100-x2")
    write_config("providers:\n  lab: {}\n")
    assert check_prices() == []
