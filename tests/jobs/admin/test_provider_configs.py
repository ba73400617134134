"""The settings of providers in the admin: one row for each name that there is."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from jobs.models import ProviderConfig
from jobs.providers import names
from tests.accounts import Accounts

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
FIELDS = {"enabled": "on", "cost_per_second": "{}", "seconds_per_step": "1", "silence_minutes": "15"}


@pytest.fixture
def as_root(root: User, client: Client) -> Client:
    client.force_login(root)
    return client


def test_a_declared_provider_can_be_chosen_and_set(accounts: Accounts, as_root: Client) -> None:
    page = as_root.get("/admin/jobs/providerconfig/add/").content.decode()
    assert '<option value="studio">The studio&#x27;s account</option>' in page
    answer = as_root.post("/admin/jobs/providerconfig/add/", {**FIELDS, "name": "studio", "default_hardware": "h100"})
    assert answer.status_code == 302, answer.content.decode()
    assert ProviderConfig.objects.get().pk == "studio"


def test_a_name_that_there_is_not_can_not(as_root: Client) -> None:
    answer = as_root.post("/admin/jobs/providerconfig/add/", {**FIELDS, "name": "moon"})
    assert "moon is not one of the available choices" in answer.content.decode()
    assert not ProviderConfig.objects.exists()


def test_a_stored_ones_name_stays(as_root: Client) -> None:
    ProviderConfig.objects.create(name="replicate")
    address = "/admin/jobs/providerconfig/replicate/change/"
    assert as_root.post(address, {**FIELDS, "name": "local", "default_hardware": "h100"}).status_code == 302
    assert list(ProviderConfig.objects.values_list("name", "default_hardware")) == [("replicate", "h100")]


@pytest.mark.parametrize(
    "url", ["https://train.example.org/api/webhooks/replicate", "https://train.example.org/api/webhooks/"]
)
def test_another_providers_address_for_webhooks_is_refused(accounts: Accounts, as_root: Client, url: str) -> None:
    sentence = "Its deliveries arrive at /api/webhooks/studio. Enter that address, or only the host."
    form = {**FIELDS, "name": "studio", "default_hardware": "h100", "webhook_url": url}
    assert sentence in as_root.post("/admin/jobs/providerconfig/add/", form).content.decode()
    answer = as_root.put("/api/cloud/providers/studio", {"webhook_url": url}, content_type="application/json")
    assert (answer.status_code, sentence in answer.content.decode()) == (400, True)
    assert not ProviderConfig.objects.exists()


@pytest.mark.parametrize(
    "url",
    [
        "https://train.example.org",
        "https://train.example.org/api/webhooks/studio",
        "https://train.example.org/own/way?to=it",
        "",
    ],
)
def test_its_own_address_for_webhooks_is_taken(accounts: Accounts, as_root: Client, url: str) -> None:
    answer = as_root.put("/api/cloud/providers/studio", {"webhook_url": url}, content_type="application/json")
    assert (answer.status_code, ProviderConfig.objects.get().webhook_url) == (200, url)


def test_an_address_that_is_none_is_a_message(as_root: Client) -> None:
    form = {**FIELDS, "name": "replicate", "webhook_url": "http://["}
    assert "Enter a valid URL" in as_root.post("/admin/jobs/providerconfig/add/", form).content.decode()


@pytest.mark.parametrize(
    "prices", ["5", "[]", '"x"', '{"h100": "much"}', '{"h100": NaN}', '{"h100": 1e300}', "{", "true"]
)
def test_prices_that_are_none_are_a_message(as_root: Client, prices: str) -> None:
    form = {**FIELDS, "name": "replicate", "cost_per_second": prices}
    assert 'class="errorlist"' in as_root.post("/admin/jobs/providerconfig/add/", form).content.decode()
    assert not ProviderConfig.objects.exists()


def test_nothing_is_no_price_and_a_network_is_one(as_root: Client) -> None:
    form = {**FIELDS, "name": "replicate", "cost_per_second": "", "webhook_networks": "10.0.0.0/8\nnowhere"}
    assert "is not a network" in as_root.post("/admin/jobs/providerconfig/add/", form).content.decode()
    form["webhook_networks"] = "10.0.0.0/8"
    assert as_root.post("/admin/jobs/providerconfig/add/", form).status_code == 302
    assert ProviderConfig.objects.get().cost_per_second == {}


def test_a_page_names_the_provider_and_a_new_config_is_of_another(as_root: Client) -> None:
    ProviderConfig.objects.create(name="replicate")
    shown = as_root.get("/admin/jobs/providerconfig/replicate/change/").content.decode()
    assert "&rsaquo; Replicate" in shown and "Webhook URL" in shown and '{"h100": 0.0012' in shown
    assert 'value="replicate"' not in as_root.get("/admin/jobs/providerconfig/add/").content.decode()
    ProviderConfig.objects.bulk_create([ProviderConfig(name=name) for name in names()], ignore_conflicts=True)
    assert as_root.get("/admin/jobs/providerconfig/add/").status_code == 403
    page = as_root.get("/admin/jobs/providerconfig/").content.decode()
    assert "Every provider has one." in page and "/admin/jobs/providerconfig/add/" not in page
