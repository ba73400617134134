"""The settings of providers in the admin: one row for each name that there is."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from jobs.models import ProviderConfig
from tests.accounts import Accounts

pytestmark = pytest.mark.django_db
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
