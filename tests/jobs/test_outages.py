"""What the health says of providers that can't be asked, each by its name."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from jobs import health
from jobs.models import ClusterLook, ProviderConfig
from tests.accounts import Accounts
from tests.configuration import WriteConfig
from tests.providers import ClusterProvider

pytestmark = pytest.mark.django_db


def put_out(name: str, **fields: object) -> None:
    until = timezone.now() + timedelta(minutes=5)
    ProviderConfig.objects.create(name=name, outage_failures=3, outage_until=until, **fields)


def test_each_outage_is_told_of_its_own_provider(accounts: Accounts) -> None:
    assert (health.replicate_outage(), health.declared_outages()) == ("", "")
    put_out("studio")
    assert health.replicate_outage() == ""
    assert health.declared_outages().startswith(
        "The studio's account could not be checked 3 times in a row. The next attempt"
    )
    put_out("replicate")
    assert health.replicate_outage().startswith(
        "Replicate could not be checked 3 times in a row. The next attempt is at"
    )


def test_one_that_is_switched_off_or_no_more_is_not_missed(accounts: Accounts, write_config: WriteConfig) -> None:
    put_out("studio", enabled=False)
    assert health.declared_outages() == ""
    ProviderConfig.objects.update(
        enabled=True, webhook_url="https://train.example.org", webhooks_missed_at=timezone.now()
    )
    assert health.declared_outages() != ""
    assert health.lost_webhooks() != ""
    write_config("background:\n")
    assert health.declared_outages() == ""
    assert health.lost_webhooks() == ""


def test_a_cluster_whose_look_failed_is_told_of_once(lab: ClusterProvider) -> None:
    put_out("lab")
    assert health.declared_outages().startswith(f"{lab.label} could not be checked 3 times in a row")
    ClusterLook.objects.create(provider="lab", error="It could not be reached.", error_at=timezone.now())
    assert health.clusters_away() == f"{lab.label} could not be checked: It could not be reached."
    assert health.declared_outages() == ""
