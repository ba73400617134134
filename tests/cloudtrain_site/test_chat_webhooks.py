"""The address of a chat's webhook is a secret itself."""

from __future__ import annotations

import json
import time

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from cloudtrain_site.encryption import masked_places
from cloudtrain_site.redaction import mask_secrets, mask_text
from jobs.configs.secrets import unsealed_columns
from jobs.models import Job, TrainingConfig

LAST = "EXAMPLE-not-a-real-one-0123456789"
STARTS = [
    "https://discord.com/api/webhooks/100000000000000001/",
    "https://canary.discordapp.com/api/v10/webhooks/100000000000000001/",
    "https://hooks.slack.com/services/T00000000/B00000000/",
    "https://hooks.slack.com/workflows/T00000000/A00000000/123456/",
    "https://hooks.slack.com/triggers/T00000000/123456/",
    "https://api.telegram.org/bot123456789:",
    "https://acme.webhook.office.com/webhookb2/11111111-2222@33333333-4444/IncomingWebhook/",
    "https://outlook.office.com/webhook/11111111-2222@33333333-4444/IncomingWebhook/",
]


@pytest.mark.parametrize("start", STARTS)
def test_what_lets_one_write_is_masked_wherever_it_stands(start: str) -> None:
    assert mask_text(f"{start}{LAST}") == f"{start}***"
    assert mask_text(f"{start.upper()}{LAST}") == f"{start.upper()}***"
    assert mask_text(f"POST {start}{LAST}/more?wait=1 failed") == f"POST {start}***?wait=1 failed"
    assert json.loads(mask_text(json.dumps([f"{start}{LAST}", 3]))) == [f"{start}***", 3]
    assert masked_places(mask_secrets({"a": [f"{start}{LAST}"]})) == ["a[0]"]


@pytest.mark.parametrize(
    "address",
    [
        "https://discord.com/channels/1/2",
        "https://discord.com/api/webhooks/",
        "https://slack.com/services/T0/B0/x",
        "https://hooks.slack.com/services/",
        "https://api.telegram.org/",
        "https://www.office.com/webhooks",
        "https://example.org/webhooks/1/x",
    ],
)
def test_other_addresses_stay(address: str) -> None:
    assert mask_text(address) == address


@pytest.mark.parametrize("piece", ["hooks.slack.com/triggers/", "a/", "office.com/webhook", "discord.com/api/webhooks"])
def test_long_texts_cost_no_more_than_their_length(piece: str) -> None:
    began = time.process_time()
    mask_text("hooks.slack.com/services/" + piece * 20_000)
    assert time.process_time() - began < 2


@pytest.mark.django_db
def test_it_is_masked_in_a_stored_config_and_in_a_job_made_of_it(alice: User) -> None:
    client = APIClient()
    client.force_login(alice)
    address = STARTS[0] + LAST
    config = {"max_train_steps": 10, "webhook_config": [{"webhook_type": "discord", "webhook_url": address}]}
    assert client.put("/api/configs/chat", {"config": config}).status_code == 201
    stored = client.get("/api/configs/chat")
    assert stored.json()["config"]["webhook_config"][0]["webhook_url"] == STARTS[0] + "***"
    assert client.put("/api/configs/chat", {"config": stored.json()["config"]}).status_code == 200
    made = client.post("/api/cloud/jobs/submit?provider=local", {"config_name_to_load": "chat"})
    assert made.status_code == 201
    job = Job.objects.get()
    for page in (f"/api/cloud/jobs/{job.pk}", f"/jobs/{job.pk}", f"/jobs/{job.pk}/config.json"):
        answer = client.get(page)
        assert (answer.status_code, LAST in answer.content.decode()) == (200, False)
    assert unsealed_columns(job)["config"] == unsealed_columns(TrainingConfig.objects.get())["config"] == config
