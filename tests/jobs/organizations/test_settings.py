"""An organization's settings, and where its jobs go by default."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from rest_framework.exceptions import PermissionDenied
from rest_framework.test import APIClient

from cloudtrain_site.audit.models import AuditRecord
from jobs.models import Job, Membership, Organization
from jobs.organizations.settings import change_organization, hardware_for, provider_for
from jobs.providers import get_provider
from jobs.roles import Role
from tests.factories import make_user
from tests.providers import ClusterProvider

pytestmark = pytest.mark.django_db


@pytest.fixture
def adam(acme: Organization) -> User:
    return make_user("adam", acme, Role.ADMIN)


def test_an_admin_changes_them(acme: Organization, adam: User) -> None:
    values = {"time_zone": "Europe/Berlin", "default_provider": "replicate", "second_factor_required": True}
    assert change_organization(acme, values, by=adam)
    assert not change_organization(acme, values, by=adam)
    stored = Organization.objects.get()
    assert (stored.time_zone, stored.default_provider, stored.second_factor_required) == (
        *("Europe/Berlin", "replicate"),
        True,
    )
    assert acme.time_zone == "Europe/Berlin"
    change = AuditRecord.objects.get()
    assert (change.action, change.actor, change.organization) == ("settings_changed", "adam", "acme")
    assert change.before == {"time_zone": "UTC", "default_provider": "", "second_factor_required": False}
    assert change.after == values


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": ""}, "time_zone"),
        ({"default_provider": "nowhere"}, "default_provider"),
        ({"default_hardware": "h900"}, "default_hardware"),
        ({"default_provider": "replicate", "default_hardware": "h900"}, "default_hardware"),
        ({"default_provider": "replicate", "time_zone": "Mars/Olympus"}, "time_zone"),
    ],
)
def test_a_value_that_can_not_be_changes_nothing(
    acme: Organization, adam: User, values: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        change_organization(acme, values, by=adam)
    assert set(refused.value.message_dict) == {field}
    assert Organization.objects.values_list("time_zone", "default_provider", "default_hardware").get() == (
        "UTC",
        "",
        "",
    )
    assert not AuditRecord.objects.exists()


def test_nobody_else_does(acme: Organization, bob: User, charlie: User) -> None:
    for person in (bob, charlie):
        with pytest.raises(PermissionDenied, match="Only the admins of acme"):
            change_organization(acme, {"time_zone": "Europe/Berlin"}, by=person)
    acme.refresh_from_db()
    assert acme.time_zone == "UTC"


def test_other_fields_are_none_of_its_business(acme: Organization, adam: User) -> None:
    assert not change_organization(acme, {"name": "renamed", "max_running": 500}, by=adam)


def test_hardware_belongs_to_the_default_provider(acme: Organization) -> None:
    assert provider_for(acme, "") == "local"
    assert provider_for(acme, "replicate") == "replicate"
    acme.default_provider, acme.default_hardware = "replicate", "gpu-h100"
    assert provider_for(acme, "") == "replicate"
    assert hardware_for(acme, "replicate", "") == "gpu-h100"
    assert hardware_for(acme, "replicate", "gpu-a100") == "gpu-a100"
    assert hardware_for(acme, "local", "") == ""
    acme.default_provider = "gone"
    with pytest.raises(ValidationError, match="gone"):
        provider_for(acme, "")


def test_a_job_that_names_no_provider_goes_to_the_default(
    acme: Organization, adam: User, lab: ClusterProvider, client_of: Callable[[User | None], APIClient]
) -> None:
    profile = lab.hardware()[-1]
    change_organization(acme, {"default_provider": "lab", "default_hardware": profile}, by=adam)
    body = {"config": {"max_train_steps": 1}}
    for query in ("", "?provider=local"):
        assert client_of(adam).post(f"/api/cloud/jobs/submit{query}", body).status_code == 201
    jobs = Job.objects.order_by("pk").values_list("provider", "hardware_profile")
    assert list(jobs) == [("lab", profile), ("local", get_provider("local").hardware()[0])]


def test_a_default_that_is_gone_is_named(
    acme: Organization, alice: User, client_of: Callable[[User | None], APIClient]
) -> None:
    Organization.objects.update(default_provider="gone")
    answer = client_of(alice).post("/api/cloud/jobs/submit", {"config": {"max_train_steps": 1}})
    assert (answer.status_code, answer.json()["errors"]) == (
        400,
        {"provider": ["There is no provider “gone” any more."]},
    )
    assert not Job.objects.exists()
    assert Membership.objects.count() == 1
