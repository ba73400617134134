"""What an editor of configs asks for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

pytestmark = pytest.mark.django_db

OPTIONS, CONVERSION = "/api/cloud/config-options", "/api/cloud/config-conversion"
ClientOf = Callable[[User | None], APIClient]


def test_the_options_are_those_of_the_trainer_and_are_kept_by_the_browser(client_of: ClientOf, alice: User) -> None:
    answer = client_of(alice).get(OPTIONS)
    assert answer.json()["trainer"] == "SimpleTuner"
    assert answer.json()["options"]["model_type"]["choices"] == ["full", "lora"]
    assert answer.json()["dataset_options"]["type"]["choices"][0] == "local"
    assert answer["Cache-Control"] == "private, max-age=600"
    again = client_of(alice).get(OPTIONS, headers={"If-None-Match": answer["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_options_of_no_provider_are_refused(client_of: ClientOf, alice: User) -> None:
    assert client_of(alice).get(f"{OPTIONS}?provider=nobody").status_code == 400


def test_another_notation_comes_as_json(client_of: ClientOf, alice: User) -> None:
    answer = client_of(alice).post(CONVERSION, {"text": "rate: 1e-4\n"})
    assert answer.json() == {"notation": "yaml", "text": '{\n  "rate": 1e-4\n}'}


def test_a_mistake_is_told_with_its_line(client_of: ClientOf, alice: User) -> None:
    answer = client_of(alice).post(CONVERSION, {"text": "a: 1\na: 2"})
    assert answer.status_code == 400
    assert answer.json()["errors"] == {"text": ["Line 2: a is already set above."]}


def test_secrets_are_masked_if_one_likes(client_of: ClientOf, alice: User) -> None:
    body = {"text": '{"config": {"hub_token": "hush", "rate": 1.0}}', "notation": "json", "masked": True}
    text = client_of(alice).post(CONVERSION, body).json()["text"]
    assert "hush" not in text
    assert '"rate": 1.0' in text


def test_nobody_is_answered(client_of: ClientOf) -> None:
    assert client_of(None).get(OPTIONS).status_code == 401
    assert client_of(None).post(CONVERSION, {"text": "a: 1"}).status_code == 401
