"""How many notices a minute one sender delivers beside a receiver that never answers.

    python -m bench.bench_notices [--notices 1000]

Half of the notices go by mail, each to an address of its own, half to webhooks of ten people; a tenth more goes to a
webhook that takes each call and never answers. On SQLite, with a mail server and a web server of this process, which
take their share of the machine. The baseline is the same without that receiver.
To reach: 1,000 a minute, with the dead receiver delaying none of them.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from http.server import BaseHTTPRequestHandler

FOLDER = tempfile.mkdtemp(prefix="cloudtrain-bench-")
os.environ.update(SIMPLETUNER_DATA_DIR=FOLDER, SIMPLETUNER_LOG_LEVEL="ERROR", SECRET_KEY="only-for-the-bench")
os.environ["CLOUDTRAIN_NOTICE_NETWORKS"] = "127.0.0.0/8"
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cloudtrain_site.settings")

import django  # noqa: E402

django.setup()

from django.conf import settings  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.utils import timezone  # noqa: E402

from bench.stack import Figure, print_table  # noqa: E402
from cloudtrain_site.notices.channels import Owner, add_channel  # noqa: E402
from cloudtrain_site.notices.models import Delivery  # noqa: E402
from cloudtrain_site.notices.outbox import Audience, store  # noqa: E402
from cloudtrain_site.notices.sending import send_due  # noqa: E402
from tests.cloudtrain_site.notices.receivers import MailReceiver, WebhookReceiver, answer_with  # noqa: E402

PEOPLE = 10


def answer(handler: BaseHTTPRequestHandler) -> None:
    if handler.path.endswith("/dead"):
        handler.rfile.read(1)  # until the caller hangs up
        handler.close_connection = True
    else:
        answer_with(handler, 204)


def make_people(url: str) -> tuple[list[User], User]:
    """Ten people with a webhook each, and one whose webhook never answers."""
    people = [User.objects.create_user(f"user{number}") for number in range(PEOPLE)]
    dead = User.objects.create_user("dead")
    for person in people:
        add_channel(Owner(person), "webhook", addresses=[f"{url}/{person.pk}"])
    add_channel(Owner(dead), "webhook", addresses=[f"{url}/dead"])
    return people, dead


def fill(notices: int, name: str, people: list[User], dead: User | None) -> None:
    for number in range(notices // 2):
        audience = Audience(emails=[f"{name}{number}@example.org"])
        store("invitation", key=f"{name} m{number}", subject="s", audience=audience)
        audience = Audience(users=[people[number % PEOPLE].pk])
        store("invitation", key=f"{name} w{number}", subject="s", audience=audience)
    for number in range(notices // 10 if dead else 0):
        assert dead is not None
        store("invitation", key=f"{name} d{number}", subject="s", audience=Audience(users=[dead.pk]))


def deliver(notices: int) -> tuple[float, float, float]:
    """Send what is stored.

    Returns the seconds until the last was delivered, and until the sender ended, and those of a processor that all of
    it took: sender, database, mail and web server.
    """
    began, first, sent, used = time.monotonic(), timezone.now(), 0, time.process_time()
    while sent < notices:
        sent += send_due()
    took, used = time.monotonic() - began, time.process_time() - used
    last = Delivery.objects.filter(is_sent=True).order_by("-done_at").values_list("done_at", flat=True)[0]
    assert last is not None
    return (last - first).total_seconds(), took, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notices", type=int, default=1000)
    notices = parser.parse_args().notices
    call_command("migrate", verbosity=0)
    with MailReceiver() as mail_server, WebhookReceiver(answer) as receiver:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = mail_server.host, mail_server.port
        people, dead = make_people(receiver.url)
        fill(notices, "alive", people, None)
        alone, ended_alone, used_alone = deliver(notices)
        began = time.monotonic()
        fill(notices, "beside", people, dead)
        stored = time.monotonic() - began
        seconds, took, used = deliver(notices)
        assert len(mail_server.mails) == notices // 2 * 2
    figures = [
        Figure("stored a second", notices * 1.1 / stored, "/s"),
        Figure("delivered a minute", 60 * notices / seconds, "/min", 60 * notices / alone, 1000, at_least=True),
        Figure("until the last of them was delivered", seconds, "s", alone),
        Figure("processor time, with both servers", used, "s", used_alone),
        Figure("until the sender ended", took, "s", ended_alone),
    ]
    raise SystemExit(
        print_table(f"{notices} notices beside a receiver that never answers; baseline: without it", figures)
    )


if __name__ == "__main__":
    main()
