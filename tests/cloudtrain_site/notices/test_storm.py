"""A storm of notices, half of them of jobs' ends, while senders are killed and one receiver never answers: each arrives
at each other receiver, once by its id.

CLOUDTRAIN_NOTICE_STORM=2000 makes it that many notices, with a kill for each hundred.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from cloudtrain_site.notices.channels import Owner, add_channel
from cloudtrain_site.notices.models import Delivery, Notice
from cloudtrain_site.notices.outbox import Audience, store
from cloudtrain_site.states import Actor, Source, change_state
from jobs.models import Job, Membership
from jobs.snapshot_fields import end_fields
from jobs.statuses import JobStatus
from tests.cloudtrain_site.notices.receivers import MailReceiver, WebhookReceiver, answer_with
from tests.wait import PATIENCE_SECONDS, wait_until

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


class Answers:
    """Answers each call, but for those of the dead receiver and one in each round, whose sender is killed first."""

    def __init__(self) -> None:
        self.is_over = threading.Event()
        #: The addresses and message ids of the calls whose senders were killed.
        self.unanswered: list[tuple[str, str]] = []
        self.begin_round(0)

    def begin_round(self, last: int) -> None:
        """Leave the call with the number `last` unanswered; 0: none."""
        self.last, self.calls = last, count(1)
        self.is_last_there, self.are_senders_killed = threading.Event(), threading.Event()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.path.endswith("/dead"):
            self.is_over.wait(SECONDS)
        elif next(self.calls) == self.last:
            killed = self.are_senders_killed
            self.unanswered.append((handler.path, handler.headers["webhook-id"]))
            self.is_last_there.set()
            killed.wait(SECONDS)
        else:
            answer_with(handler, 204)


def keys_of(mail_server: MailReceiver) -> list[str]:
    """The keys of the notices in the mails, each mail counted once by its id."""
    by_id = {str(mail["message-id"]): str(mail["x-cloudtrain-notices"]) for mail in mail_server.mails}
    return sorted(key.strip() for keys in by_id.values() for key in keys.split(","))


def ids_by_subject(receiver: WebhookReceiver, path: str) -> dict[str, set[str]]:
    """The message ids under which each notice arrived at one address."""
    found: dict[str, set[str]] = {}
    for item in receiver.requests:
        if item.path.startswith(path):
            found.setdefault(json.loads(item.body)["data"]["subject"], set()).add(item.headers["webhook-id"])
    return found


def make_change(name: str, number: int, alice: User, make_job: Callable[..., Job], url: str) -> None:
    """An invitation, or a job's end of each kind, whose own webhook is called too."""
    if not number % 2:
        store("invitation", key=name, subject=name, audience=Audience(users=[alice.pk]))
        return
    job = make_job(config_name=name, status=JobStatus.RUNNING, webhook_url=f"{url}/job")
    status = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)[number // 2 % 3]
    fields = {"error_message": "CUDA out of memory"} if status == JobStatus.FAILED else {}
    ended = {**end_fields(job.started_at, timezone.now()), **fields}
    assert change_state(job, status, actor=Actor("bob"), source=Source.POLL, **ended)


def test_each_notice_arrives_once_though_senders_are_killed(
    alice: User, make_job: Callable[..., Job], mail_server: MailReceiver, webhook_receiver: WebhookReceiver
) -> None:
    chance, answers = random.Random(19), Answers()
    webhook_receiver.answer = answers.answer
    url = webhook_receiver.url
    add_channel(Owner(alice), "webhook", addresses=[f"{url}/alice"])
    dead = add_channel(Owner(alice), "webhook", addresses=[f"{url}/dead"]).channel
    organization = Membership.objects.get(user=alice).organization
    add_channel(Owner(organization=organization, by=alice), "webhook", addresses=[f"{url}/acme"])
    for turn in range(ROUNDS):
        answers.begin_round(chance.randint(4, NOTICES_A_ROUND))
        with senders(mail_server.port):
            for number in range(NOTICES_A_ROUND):
                make_change(f"{turn}-{number}", number, alice, make_job, url)
            assert answers.is_last_there.wait(PATIENCE_SECONDS)
        answers.are_senders_killed.set()
    answers.begin_round(0)
    alive = Delivery.objects.exclude(channel=dead)
    ends = ROUNDS * (NOTICES_A_ROUND // 2)
    with senders(mail_server.port, 1):
        # Mail and alice's webhook for each; of an end the organization's and the job's own besides.
        expected = 2 * ROUNDS * NOTICES_A_ROUND + 2 * ends
        wait_until(lambda: alive.filter(is_sent=True).count() == expected, SECONDS)
    answers.is_over.set()
    assert alive.count() == expected
    assert not Delivery.objects.filter(channel=dead, is_sent=True).exists()
    notices = Notice.objects.all()
    assert keys_of(mail_server) == sorted(notices.values_list("key", flat=True))
    subjects = set(notices.values_list("subject", flat=True))
    of_ends = set(notices.exclude(kind="invitation").values_list("subject", flat=True))
    assert (len(subjects), len(of_ends)) == (ROUNDS * NOTICES_A_ROUND, ends)
    for path, whole in (("alice", subjects), ("acme", of_ends), ("job", of_ends)):
        ids = ids_by_subject(webhook_receiver, f"/hook/{path}")
        assert set(ids) == whole
        # Whatever came twice came under the id that it had the first time.
        assert {len(found) for found in ids.values()} == {1}
    # Who was killed between a call and its record left it to another.
    calls = Counter((item.path, item.headers["webhook-id"]) for item in webhook_receiver.requests)
    assert len(answers.unanswered) == ROUNDS
    assert all(calls[call] > 1 for call in answers.unanswered)
