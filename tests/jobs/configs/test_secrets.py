"""A config with a secret in it: told at the submission what becomes of it, and refused where others would read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from jobs.models import Job, ProviderConfig

pytestmark = pytest.mark.django_db
ClientOf = Callable[[User | None], APIClient]
SUBMIT = "/api/cloud/jobs/submit?provider=replicate"
CONFIG = {"max_train_steps": 10}


@pytest.fixture
def submit(client_of: ClientOf, alice: User, replicate_config: ProviderConfig) -> Callable[..., Any]:
    def post(**body: Any) -> Any:
        return client_of(alice).post(SUBMIT, body)

    return post


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"hub_token": "hf_abcdefghijklmnopqrst1"}, "config.hub_token: "),
        ({"wandb": {"api_key": "abcdef0123456789"}}, "config.wandb.api_key: "),
        ({"--aws_secret_access_key": "abcdef0123456789"}, "config.--aws_secret_access_key: "),
        ({"hf_token": ["hf_abcdefghijklmnopqrst1"]}, "hf_token must be text."),
    ],
)
def test_a_secret_that_others_would_read_is_refused_at_once(
    submit: Callable[..., Any], config: dict[str, Any], where: str
) -> None:
    for extra in ({}, {"dry_run": True}):
        answer = submit(config={**CONFIG, **config}, **extra)
        assert answer.status_code == 400
        assert answer.json()["errors"]["config"][0].startswith(where)
        assert "abcdef" not in answer.content.decode()
    assert not Job.objects.exists()


def test_a_secret_in_the_dataloader_is_refused_too(submit: Callable[..., Any]) -> None:
    answer = submit(config=CONFIG, dataloader_config=[{"id": "a", "aws_secret_access_key": "abcdef0123456789"}])
    assert "dataloader_config[0].aws_secret_access_key" in answer.json()["errors"]["config"][0]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"hf_token": "hf_abcdefghijklmnopqrst1", "hub_model_id": "a/b"}, "hf_token: sent to Replicate as a secret"),
        ({"hub_model_id": "a/b"}, "hub_model_id is set, but hf_token is not"),
    ],
)
def test_the_answer_says_what_becomes_of_a_secret(
    submit: Callable[..., Any], config: dict[str, Any], text: str
) -> None:
    answer = submit(config={**CONFIG, **config})
    assert answer.status_code == 201
    assert len([warning for warning in answer.json()["warnings"] if text in warning]) == 1


def test_on_this_machine_a_config_is_as_safe_as_the_machine(
    client_of: ClientOf, alice: User, replicate_config: ProviderConfig
) -> None:
    answer = client_of(alice).post("/api/cloud/jobs/submit", {"config": {**CONFIG, "wandb_key": "abcdef0123456789"}})
    assert answer.status_code == 201
