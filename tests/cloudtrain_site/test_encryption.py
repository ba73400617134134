"""Secrets in configs: taken out, kept, put back, and told apart from masks that stand for nothing."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from approvals.approved_terms import digest_of_terms, stored_terms
from approvals.models import ApprovalRequest
from cloudtrain_site.encryption import (
    SecretsLostError,
    extract_secrets,
    fingerprints,
    masked_places,
    open_sealed,
    restore_secrets,
    scrub,
    seal,
)
from cloudtrain_site.redaction import mask_secrets
from jobs.configs.secrets import unsealed_columns
from jobs.models import Job, Organization, TrainingConfig

TOKEN = "hf_abcdefghijklmnopqrst1"
DEEP: dict[str, Any] = {"a": 1}
for _ in range(60):
    DEEP = {"a": DEEP}

VALUES: list[Any] = [
    {"hf_token": TOKEN, "steps": 5},
    {"data": [{"id": "a", "aws_secret_access_key": "x" * 20}, {"url": "https://me:word@host/x"}]},
    {"token": {"nested": ["a", 1, None]}},
    {"args": ["--hub_token", "abc", "--steps", "5"], "header": ["X-API-Key", "abc"]},
    {"by_token": {TOKEN: "a key that is one"}},
    {"text": f"curl -H 'Authorization: Bearer abc.def' && x={TOKEN}"},
    DEEP,
]


@pytest.mark.parametrize("value", VALUES)
def test_what_is_taken_out_can_be_put_back(value: Any) -> None:
    masked, secrets = extract_secrets(value)
    sealed = seal(secrets)
    assert masked == mask_secrets(value) == mask_secrets(masked) != value
    assert TOKEN not in sealed
    assert restore_secrets(masked, open_sealed(sealed)) == value


def test_without_secrets_nothing_is_sealed() -> None:
    assert extract_secrets({"steps": 5, "max_tokens": 77}) == ({"steps": 5, "max_tokens": 77}, [])
    assert (seal([]), open_sealed("")) == ("", [])


def test_what_is_damaged_or_has_lost_its_place_is_told() -> None:
    _, secrets = extract_secrets({"a": {"key": "secret words"}})
    with pytest.raises(SecretsLostError):
        open_sealed(seal(secrets)[:-4] + "AAAA")
    with pytest.raises(SecretsLostError):
        restore_secrets({"a": 1}, secrets)


def test_a_print_tells_secrets_apart_and_needs_the_key(settings: Any) -> None:
    one, same, other = ([(("a",), value)] for value in ("1", "1", "2"))
    assert fingerprints(one) == fingerprints(same) != fingerprints(other)
    before, settings.SECRET_KEY = settings.SECRET_KEY, "another"
    assert fingerprints(one) != fingerprints(one, before)


@pytest.mark.parametrize(
    ("value", "places"),
    [
        ({"hf_token": "***", "data": [{"url": "https://me:***@host"}]}, ["hf_token", "data[0].url"]),
        ({"cmd": "export X=1; use hf_***"}, ["cmd"]),
        ({"prompt": "a *** b, **bold**, ***", "token": "real"}, []),
    ],
)
def test_masks_are_told_from_stars(value: Any, places: list[str]) -> None:
    assert masked_places(value) == places


def test_words_are_blotted_out_at_their_length() -> None:
    secrets = [(("a",), "κλειδί-of-mine")]
    text = "with κλειδί-of-mine and κλειδί-of"
    blotted = scrub(text, secrets)
    assert blotted == f"with {'*' * 20} and {'*' * 15}"
    assert len(blotted.encode()) == len(text.encode())


@pytest.mark.parametrize(
    ("text", "blotted"),
    [
        ("the end of one: secret-of-mine\n", "the end of one: **************\n"),
        ("et-of-mine at its beginning", "********** at its beginning"),
        ("cut after secret-of...", "cut after *********..."),
        ("secret-of-mine...", "**************..."),
        ("secret- and -of-mine", "secret- and -of-mine"),
        ("lone \ud83d secret-of-mine", "lone \ud83d **************"),
    ],
)
def test_what_was_cut_off_of_a_secret_is_blotted_out_too(text: str, blotted: str) -> None:
    assert scrub(text, [(("a",), "secret-of-mine")]) == blotted


@pytest.mark.parametrize("write", [str, repr, json.dumps, lambda value: json.dumps(value, ensure_ascii=False)])
def test_a_secret_is_known_as_programs_write_it(write: Callable[[str], str]) -> None:
    secret = "κλειδί \"of'\\mine\n"
    assert "mine" not in scrub(f"with {write(secret)} in it", [(("a",), secret)])


@pytest.fixture
def as_alice(client_of: Callable[[User | None], APIClient], alice: User) -> APIClient:
    return client_of(alice)


def stored() -> dict[str, Any]:
    return unsealed_columns(TrainingConfig.objects.get())


CONFIG = {"hf_token": TOKEN, "steps": 5}
DATA = [{"id": "a", "secret_key": "first of them"}, {"id": "b", "secret_key": "second of them"}]


@pytest.mark.django_db
def test_a_config_that_is_put_back_as_it_was_read_keeps_its_secrets(as_alice: APIClient) -> None:
    as_alice.put("/api/configs/x", {"config": CONFIG, "dataloader_config": DATA})
    shown = as_alice.get("/api/configs/x").json()
    edited = {**shown["config"], "steps": 6}
    body = {"config": edited, "dataloader_config": shown["dataloader_config"]}
    assert as_alice.put("/api/configs/x", body).status_code == 200
    assert stored() == {"config": {**CONFIG, "steps": 6}, "dataloader_config": DATA}
    as_alice.put("/api/configs/x", {**body, "config": {**edited, "hf_token": "hf_zyxwvutsrqponmlkjihg1"}})
    assert stored()["config"]["hf_token"] == "hf_zyxwvutsrqponmlkjihg1"


@pytest.mark.django_db
def test_a_mask_that_stands_for_nothing_is_refused(as_alice: APIClient) -> None:
    as_alice.put("/api/configs/x", {"config": CONFIG, "dataloader_config": DATA})
    shown = as_alice.get("/api/configs/x").json()
    moved = shown["dataloader_config"][1:]
    for name, body in [
        ("y", {"config": shown["config"]}),
        ("x", {"config": {"other_token": "***"}}),
        ("x", {"config": {}, "dataloader_config": moved}),
        ("x", {"config": {}, "dataloader_config": [*moved, *moved]}),
    ]:
        answer = as_alice.put(f"/api/configs/{name}", body)
        assert answer.status_code == 400
        assert "is a masked secret that is not stored here" in answer.json()["errors"]["config"][0]
    assert stored() == {"config": CONFIG, "dataloader_config": DATA}
    answer = as_alice.post("/api/cloud/jobs/submit", {"config": shown["config"]})
    assert answer.status_code == 400
    assert answer.json()["errors"]["config"][0].startswith('config.hf_token: "***" is a masked secret')
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_the_admin_shows_masks_and_seals_what_it_is_given(
    client: Any, root: User, as_alice: APIClient, acme: Organization
) -> None:
    as_alice.put("/api/configs/x", {"config": CONFIG})
    client.force_login(root)
    page = f"/admin/jobs/trainingconfig/{TrainingConfig.objects.get().pk}/change/"
    assert TOKEN not in client.get(page).content.decode()
    body = {"organization": acme.pk, "name": "x", "dataloader_config": "[]"}
    client.post(page, {**body, "config": '{"hf_token": "***", "api_key": "a new secret"}'})
    assert stored()["config"] == {"hf_token": TOKEN, "api_key": "a new secret"}
    assert TrainingConfig.objects.get().config == {"hf_token": "***", "api_key": "***"}
    assert b"is a masked secret" in client.post(page, {**body, "config": '{"password": "***"}'}).content


@pytest.mark.django_db
def test_the_migrations_seal_what_was_stored_in_clear_and_open_it_again(
    make_job: Callable[..., Job], acme: Organization, alice: User
) -> None:
    jobs = importlib.import_module("jobs.migrations.0010_seal_secrets")
    approvals = importlib.import_module("approvals.migrations.0008_seal_terms")
    plain, job = make_job(), make_job(config=CONFIG, dataloader_config=DATA, webhook_url="https://h/?token=abcdefghij")
    TrainingConfig.objects.create(organization=acme, name="x", config=CONFIG)
    terms = stored_terms(job)
    columns = {"job": job, "organization": acme, "requested_by": alice, "expires_at": job.created_at}
    ApprovalRequest.objects.create(terms=terms, config_digest=digest_of_terms(terms), **columns)
    for _ in range(2):
        jobs.seal_all(apps, None)
        approvals.seal_all(apps, None)
        request, job = ApprovalRequest.objects.get(), Job.objects.get(pk=job.pk)
        assert job.config == {"hf_token": "***", "steps": 5}
        assert (job.webhook_url, Job.objects.get(pk=plain.pk).sealed) == ("https://h/?token=***", "")
        assert unsealed_columns(job) == {"config": CONFIG, "dataloader_config": DATA}
        assert stored()["config"] == CONFIG
        assert request.terms == stored_terms(job)
        assert request.config_digest == digest_of_terms(stored_terms(job))
    approvals.open_all(apps, None)
    jobs.open_all(apps, None)
    job.refresh_from_db()
    assert (job.config, job.dataloader_config, job.sealed) == (CONFIG, DATA, "")
    assert job.webhook_url == "https://h/?token=abcdefghij"
    assert ApprovalRequest.objects.get().config_digest == digest_of_terms(terms)
