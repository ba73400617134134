"""A config with a secret in it: told at the submission what becomes of it, and refused where others would read it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from cloudtrain_site.encryption import extract_secrets, seal
from jobs.configs.secrets import unsealed_columns
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


def test_the_path_of_an_old_jobs_address_is_sealed_once_and_its_secrets_stay(make_job: Callable[..., Job]) -> None:
    seal_addresses: Any = import_module("jobs.migrations.0059_seal_webhook_addresses").seal_addresses
    address, token = "https://example.org/hooks/T0SECRET", "https://example.org/a?token=abcdefghij"
    config, secrets = extract_secrets({"config": {"hf_token": "hf_abcdefghijklmnopqrst1"}, "webhook_url": token})
    plain = make_job(status="completed", webhook_url=address)
    mixed = make_job(status="failed", **config, sealed=seal(secrets))
    runs = make_job(status="running", webhook_url=address)
    bare = make_job(status="completed", webhook_url="https://example.org")
    for _ in range(2):
        seal_addresses(apps, None)
        jobs = Job.objects.in_bulk([plain.pk, mixed.pk])
        assert {job.webhook_url for job in jobs.values()} == {"https://example.org/***"}
        assert unsealed_columns(jobs[plain.pk], ("webhook_url",)) == {"webhook_url": address}
        assert unsealed_columns(jobs[mixed.pk], ("webhook_url",)) == {"webhook_url": token}
        assert unsealed_columns(jobs[mixed.pk], ("config",))["config"] == {"hf_token": "hf_abcdefghijklmnopqrst1"}
    assert Job.objects.get(pk=runs.pk).webhook_url == address
    assert Job.objects.get(pk=bare.pk).sealed == ""
