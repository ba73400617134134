"""A storm of notices, while senders are killed: each arrives at each receiver, once by its id.

CLOUDTRAIN_NOTICE_STORM=2000 makes it that many notices, with a kill for each hundred.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection

from cloudtrain_site.notices.channels import Owner, add_channel
from cloudtrain_site.notices.models import Delivery
from cloudtrain_site.notices.outbox import Audience, store
from tests.cloudtrain_site.notices.receivers import MailReceiver, WebhookReceiver, answer_with
from tests.wait import wait_until

NOTICES = int(os.environ.get("CLOUDTRAIN_NOTICE_STORM", "60"))
SECONDS = 120 + NOTICES // 10
pytestmark = [
    *(pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(160 + SECONDS)),
    pytest.mark.django_db(transaction=True),
]

ROOT = Path(__file__).resolve().parents[3]
#: More notices, more kills.
ROUNDS = max(3, NOTICES // 100)
NOTICES_A_ROUND = NOTICES // ROUNDS


@contextmanager
def senders(mail_port: int, count: int = 2) -> Iterator[None]:
    """Senders at work; they are killed at the end of the block."""
    name = str(connection.settings_dict["NAME"])
    command = [sys.executable, "-m", "tests.cloudtrain_site.notices.sender", name, str(mail_port)]
    with ExitStack() as stack:
        begun = [
            stack.enter_context(
                subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            )
            for _ in range(count)
        ]
        try:
            for process in begun:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            yield
        finally:
            for process in begun:
                process.kill()


def arrived(receiver: WebhookReceiver, count: int) -> bool:
    return len(receiver.requests) > count


def keys_of(mail_server: MailReceiver) -> list[str]:
    """The keys of the notices in the mails, each mail counted once by its id."""
    by_id = {str(mail["message-id"]): str(mail["x-cloudtrain-notices"]) for mail in mail_server.mails}
    return sorted(key.strip() for keys in by_id.values() for key in keys.split(","))


def test_each_notice_arrives_once_though_senders_are_killed(
    alice: User, mail_server: MailReceiver, webhook_receiver: WebhookReceiver
) -> None:
    chance = random.Random(19)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(chance.random() / 10)  # so that some are killed between the call and its record
        answer_with(handler, 204)

    webhook_receiver.answer = answer
    add_channel(Owner(alice), "webhook", addresses=[webhook_receiver.url])
    expected = sorted(f"{turn}-{number}" for turn in range(ROUNDS) for number in range(NOTICES_A_ROUND))
    for turn in range(ROUNDS):
        enough = len(webhook_receiver.requests) + 3
        with senders(mail_server.port):
            for key in (key for key in expected if key.startswith(f"{turn}-")):
                store("invitation", key=key, subject=key, audience=Audience(users=[alice.pk]))
            wait_until(partial(arrived, webhook_receiver, enough))
    with senders(mail_server.port, 1):
        wait_until(lambda: Delivery.objects.filter(is_sent=True).count() == 2 * len(expected), SECONDS)
    ids = {json.loads(item.body)["data"]["subject"]: item.headers["webhook-id"] for item in webhook_receiver.requests}
    assert sorted(ids) == expected
    # Whatever came twice came under the id that it had the first time.
    assert {item.headers["webhook-id"] for item in webhook_receiver.requests} == set(ids.values())
    assert keys_of(mail_server) == expected
    assert Delivery.objects.count() == 2 * len(expected)
