"""How strictly a request's JSON is read."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from cloudtrain_site.api import MAX_JSON_DEPTH, TOO_DEEP, is_deeper_than
from jobs.configs.store import store_config
from jobs.models import Job, Organization, TrainingConfig

pytestmark = pytest.mark.slow

SUBMIT = "/api/cloud/jobs/submit?provider=local"
CONFIG = "/api/configs/deep"


@pytest.fixture
def as_alice(alice: User) -> APIClient:
    client = APIClient()
    client.force_login(alice)
    return client


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def send(client: APIClient, address: str, body: str | bytes) -> Any:
    method = client.put if address == CONFIG else client.post
    return method(address, body, content_type="application/json")


@pytest.mark.parametrize(
    ("value", "deeper"), [(1, False), ([], False), ({"a": 1}, False), ([[]], True), ({"a": {}}, True), ([1, {}], True)]
)
def test_depth_counts_lists_and_objects(value: Any, deeper: bool) -> None:
    assert is_deeper_than(1, value) is deeper


@pytest.mark.parametrize("levels", [MAX_JSON_DEPTH, 481, 900, 1500, 100_000])
@pytest.mark.parametrize("body", ['{"config": {"a": %s}}', '{"config": {}, "dataloader_config": [{"a": %s}]}', "%s"])
@pytest.mark.parametrize("address", [SUBMIT, CONFIG])
def test_json_that_is_nested_too_deeply_is_refused(as_alice: APIClient, address: str, body: str, levels: int) -> None:
    answer = send(as_alice, address, body % nested(levels + 1))
    assert (answer.status_code, answer.json()["detail"]) == (400, TOO_DEEP)
    assert not Job.objects.exists()
    assert not TrainingConfig.objects.exists()


@pytest.mark.parametrize("levels", [1, 39, 41, MAX_JSON_DEPTH - 3])
@pytest.mark.parametrize("part", ["config", "dataloader_config"])
def test_json_up_to_the_limit_is_taken(as_alice: APIClient, part: str, levels: int) -> None:
    parts = {"config": "{}", part: '{"a": %s}' if part == "config" else "[%s]"}
    body = ", ".join(f'"{name}": {value}' for name, value in parts.items()) % nested(levels)
    assert send(as_alice, CONFIG, f"{{{body}}}").status_code == 201
    assert send(as_alice, SUBMIT, f'{{{body}, "dry_run": true}}').status_code == 200


def test_a_config_that_was_stored_deeper_still_opens(as_alice: APIClient, alice: User, acme: Organization) -> None:
    value: list[Any] = []
    for _ in range(440):
        value = [value]
    store_config(alice, acme, "deep", {"max_train_steps": 5, "a": value}, [])
    assert as_alice.get(CONFIG).status_code == 200
    assert as_alice.get("/api/configs").status_code == 200
    answer = as_alice.post(SUBMIT, {"config_name_to_load": "deep", "dry_run": True}, format="json")
    assert answer.status_code == 200


BODY = '{"config": {"max_train_steps": 10}, "dry_run": true}'


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
def test_a_byte_order_mark_before_the_body_is_passed_over(as_alice: APIClient, content_type: str) -> None:
    with_mark = as_alice.post(SUBMIT, BODY.encode("utf-8-sig"), content_type=content_type)
    assert with_mark.status_code == 200
    assert with_mark.json() == as_alice.post(SUBMIT, BODY.encode(), content_type=content_type).json()


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf" * 2 + BODY.encode(), b"\xef\xbb", b" \xef\xbb\xbf{}"])
def test_a_byte_order_mark_elsewhere_is_no_json(as_alice: APIClient, body: bytes) -> None:
    answer = send(as_alice, SUBMIT, body)
    assert (answer.status_code, answer.json()["code"]) == (400, "parse_error")


@pytest.mark.parametrize(
    ("address", "fields", "place"),
    [
        (SUBMIT, '"config": {}, "fuse_action": "\\ud800"', "fuse_action"),
        ("/api/account", '"mail": {"\\ud800": 1}', "mail"),
        ("/api/account", '"\\udfff\\ud800": 1', "??"),
    ],
)
def test_half_a_surrogate_pair_is_refused_with_its_place(
    as_alice: APIClient, address: str, fields: str, place: str
) -> None:
    method = as_alice.post if address == SUBMIT else as_alice.patch
    answer = method(address, f"{{{fields}}}", content_type="application/json")
    assert (answer.status_code, list(answer.json()["errors"])) == (400, [place])


def test_a_long_list_is_refused_before_its_items_are_looked_at(as_alice: APIClient) -> None:
    items = [1] * 300_000
    for address, body in (("bulk-approve", {"ids": items}), ("rules/preview", {"rule": {"exempt_roles": items}})):
        answer = as_alice.post(f"/api/approvals/{address}", body, format="json")
        assert (answer.status_code, len(answer.content) < 1000) == (400, True)


def test_a_refusal_names_some_of_many_unknown_fields(as_alice: APIClient) -> None:
    answer = as_alice.patch("/api/account", {f"k{number}": 1 for number in range(1000)}, format="json")
    assert (answer.status_code, len(answer.json()["errors"])) == (400, 20)
