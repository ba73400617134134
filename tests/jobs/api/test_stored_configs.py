"""Stored configs over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from jobs.configs.store import store_config
from jobs.models import Membership, Organization
from jobs.roles import Role

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
ClientOf = Callable[[User | None], APIClient]


@pytest.fixture
def as_alice(alice: User, client_of: ClientOf) -> APIClient:
    return client_of(alice)


def test_configs_are_stored_listed_and_removed(as_alice: APIClient) -> None:
    body = {"config": {"max_train_steps": 5, "hf_token": "not-a-real-one"}}
    assert as_alice.put("/api/configs/night run", body).status_code == 201
    assert as_alice.put("/api/configs/night run", body).status_code == 200
    (shown,) = as_alice.get("/api/configs").json()["configs"]
    assert (shown["name"], shown["config"]) == ("night run", {"max_train_steps": 5, "hf_token": "***"})
    assert as_alice.delete("/api/configs/night run").status_code == 200
    assert as_alice.get("/api/configs/night run").status_code == 404


def test_a_strangers_config_is_not_there(charlie: User, alice: User, acme: Organization, client_of: ClientOf) -> None:
    store_config(alice, acme, "secret plan", {"a": 1}, [])
    assert client_of(charlie).get("/api/configs/secret plan").status_code == 404
    assert client_of(charlie).get("/api/configs").json() == {"configs": []}
    for ask in (client_of(charlie).get, client_of(charlie).delete):
        assert ask("/api/configs/secret plan?organization=acme").status_code == 404


def test_of_two_configs_of_a_name_the_organization_says_which(
    as_alice: APIClient, alice: User, acme: Organization
) -> None:
    labs = Organization.objects.create(name="labs")
    Membership.objects.create(user=alice, organization=labs, role=Role.RESEARCHER)
    for number, organization in enumerate((acme, labs), 1):
        store_config(alice, organization, "x", {"max_train_steps": number}, [])
    assert as_alice.get("/api/configs/x").json()["organization"] == "acme"
    assert as_alice.get("/api/configs/x?organization=labs").json()["config"] == {"max_train_steps": 2}
    (listed,) = as_alice.get("/api/configs?organization=labs").json()["configs"]
    assert listed["organization"] == "labs"
    refused = as_alice.delete("/api/configs/x")
    assert (refused.status_code, "acme, labs" in refused.json()["detail"]) == (409, True)
    assert as_alice.get("/api/configs/x?organisation=labs").status_code == 400
    assert as_alice.delete("/api/configs/x?organization=labs").status_code == 200
    assert [row["organization"] for row in as_alice.get("/api/configs").json()["configs"]] == ["acme"]


@pytest.mark.parametrize("body", [{}, {"config": 3}, {"config": {"a": "\x00"}}, {"config": {}, "extra": 1}])
def test_a_bad_config_is_not_stored(as_alice: APIClient, body: dict[str, Any]) -> None:
    assert as_alice.put("/api/configs/x", body).status_code == 400
    assert as_alice.get("/api/configs").json() == {"configs": []}
