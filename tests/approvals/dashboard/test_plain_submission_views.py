"""The form of a new job, sent by a browser without scripts."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from jobs.configs.store import store_config
from jobs.models import Job, Organization
from tests import factories

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

CONFIG = '{"max_train_steps": 10, "rate": 1e-4, "seed": 12345678901234567890}'


def send(user: User, **fields: Any) -> Any:
    client = Client()
    client.force_login(user)
    return client.post("/jobs/new/submit", {"organization": "acme", "config": CONFIG, **fields})


def test_the_form_submits_a_job(alice: User) -> None:
    answer = send(alice, config_name="by hand", place="local cpu", dataloader_config='[{"id": "cats"}]')
    job = Job.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, f"/jobs/{job.pk}")
    assert (job.config_name, job.provider, job.hardware_profile) == ("by hand", "local", "cpu")
    assert job.config == {"max_train_steps": 10, "rate": 0.0001, "seed": 12345678901234567890}
    assert job.dataloader_config == [{"id": "cats"}]


def test_a_page_submits_once(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    page = client.get("/jobs/new").content.decode()
    assert '<form id="new-job"' in re.sub(r"\s+", " ", page)
    key = re.search(r'name="idempotency_key" value="(\w{32})"', page)
    assert key
    addresses = {send(alice, idempotency_key=key[1])["Location"] for _ in range(2)}
    assert len(addresses) == Job.objects.count() == 1


def test_a_stored_config_and_an_example_are_submitted(alice: User, acme: Organization) -> None:
    store_config(alice, acme, "night run", {"max_train_steps": 7}, [])
    assert send(alice, start="stored:night run", config="").status_code == 302
    assert send(alice, start="example:first-job", config="").status_code == 302
    assert {job.config["max_train_steps"] for job in Job.objects.all()} == {7, 40}


def test_toml_is_taken(alice: User) -> None:
    send(alice, config="max_train_steps = 9")
    assert Job.objects.get().config == {"max_train_steps": 9}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"config": "{"}, "config: This is not valid JSON"),
        ({"config": ""}, "config: Add a config."),
        ({"config": "[1]"}, "config: A config is a JSON object."),
        ({"config": '{"a":' + "[" * 200 + "]" * 200 + "}"}, "config: The JSON is nested too deeply."),
        ({"place": "nobody cpu"}, "nobody"),
        ({"place": "local h100"}, "hardware_profile: local has no"),
        ({"max_cost_usd": "much"}, "max_cost_usd:"),
        ({"organization": "other"}, "other"),
    ],
)
def test_what_is_wrong_is_said_and_what_was_written_stays(alice: User, fields: dict[str, str], sentence: str) -> None:
    answer = send(alice, config_name="kept name", **fields)
    page = answer.content.decode()
    assert answer.status_code in (400, 403)
    assert sentence in page
    assert answer.status_code == 403 or 'value="kept name"' in page
    assert not Job.objects.exists()


def test_who_may_not_submit_is_refused(acme: Organization, charlie: User) -> None:
    assert send(factories.make_user("vera", acme, "viewer")).status_code == 403
    assert send(charlie).status_code in (400, 403)
    assert not Job.objects.exists()


def test_nobody_is_sent_to_the_login(client: Client) -> None:
    assert client.post("/jobs/new/submit", {"config": CONFIG})["Location"].startswith("/login")
    assert Client(enforce_csrf_checks=True).post("/jobs/new/submit").status_code == 403
