"""A site that is up, and a life in it whose log is worth reading: of the web process, of two workers, of a command."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
from django.contrib.auth.models import User
from django.utils import timezone
from django_q.models import Schedule
from django_q.tasks import async_task

from cloudtrain_site.correlation_ids import correlation
from cloudtrain_site.structured_logging import LogContext, get_logger
from tests.cloudtrain_site.process_stacks import running_stack
from tests.site import QUICK, Site, make_people
from tests.web import session_cookies

MANY = 50
ADDRESS = "https://example.org/api/webhooks/replicate"
SESSION_VARIABLE = "LIVE_SESSION"

logger = get_logger("simpletuner.cloud.jobs")


def work(number: int) -> None:
    """A task of a worker: it logs in nested contexts, in two coroutines and a thread."""
    with LogContext(number=number):
        logger.info("Outside", own=number)
        asyncio.run(_work_inside(number))


async def _work_inside(number: int) -> None:
    async with LogContext(inner=number):
        await asyncio.gather(*(asyncio.to_thread(logger.info, "Inside", own=number, part=part) for part in range(2)))


def prepare() -> None:
    """People, many tasks, and a schedule row that nobody can read: to be run by a process of the site."""
    root = User.objects.create_superuser("root", "root@example.org", "unused-password")
    Path(os.environ[SESSION_VARIABLE]).write_text(json.dumps(session_cookies(root)))
    Schedule.objects.bulk_create([Schedule(name="broken", func="os.getpid", args="(", next_run=timezone.now())])
    for number in range(MANY):
        with correlation(f"task-{number}"):
            async_task("tests.cloudtrain_site.running_site.work", number, save=False)
    make_people()
    sys.stdout.flush()


@dataclass
class Life:
    """What was done at the site, and what its log says of it."""

    site: Site
    #: The jobs that were submitted at the same time, by their requests' correlation ids.
    jobs: dict[str, str] = field(default_factory=dict)
    #: The one that was submitted as in the document, and then forgotten by everybody.
    job_id: str = ""

    def lines(self) -> list[dict[str, Any]]:
        """The log file so far."""
        return [json.loads(line) for line in self.site.log.read_text().splitlines()]

    def messages(self) -> list[str]:
        """The messages of the log file so far."""
        return [line["message"] for line in self.lines()]

    def browser(self) -> httpx.Client:
        """The superuser's."""
        cookies = json.loads((self.site.folder / "session").read_text())
        return httpx.Client(base_url=f"http://127.0.0.1:{self.site.port}", cookies=cookies, timeout=30)

    def submit(self, correlation_id: str) -> str:
        """Submit a job of alice's, which waits for an approval; returns its id."""
        body = {"config": QUICK}
        answer = self.site.post("alice", "/api/cloud/jobs/submit", body, **{"X-Correlation-ID": correlation_id})
        assert answer["requires_approval"] is True
        return str(answer["job_id"])

    def submit_many(self) -> None:
        """All at the same time."""
        names = [f"request-{number}" for number in range(MANY)]
        with ThreadPoolExecutor(MANY) as pool:
            self.jobs = dict(zip(names, pool.map(self.submit, names), strict=True))

    def let_expire(self) -> None:
        """Submit as the document has it, and have the time of the approval pass."""
        self.job_id = self.submit("abc123")
        code = (
            "from approvals.models import ApprovalRequest; from django.utils import timezone;"
            f"ApprovalRequest.objects.filter(job_id={self.job_id!r}).update(expires_at=timezone.now());"
            "from django.core.management import call_command; call_command('expire_approvals')"
        )
        done = self.site.run("shell", "--no-imports", "-c", code)
        assert done.returncode == 0, done.stderr

    def settled_log(self) -> Path:
        """A copy of the log that nobody adds to, with the document's job in place of ours."""
        copy = self.site.folder / "settled.log"
        copy.write_text(self.site.log.read_text().replace(self.job_id, "xyz789"))
        return copy

    def set_webhook_address(self, address: str) -> None:
        """In the admin, by its form."""
        with self.browser() as browser:
            path = "/admin/jobs/providerconfig/replicate/change/"
            form = Form()
            form.feed(browser.get(path).raise_for_status().text)
            answer = browser.post(path, data={**form.fields, "webhook_url": address})
            assert answer.status_code == 302, answer.text


class Form(HTMLParser):
    """The fields of a page's forms, and what is in them: as much of a browser as the admin needs."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._select = self._textarea = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        name = attributes.get("name") or ""
        if tag == "input" and name and (attributes.get("type") != "checkbox" or "checked" in attributes):
            self.fields[name] = attributes.get("value") or ("on" if attributes.get("type") == "checkbox" else "")
        elif tag == "select":
            self._select = name
        elif tag == "option" and "selected" in attributes:
            self.fields[self._select] = attributes.get("value") or ""
        elif tag == "textarea":
            self._textarea = name

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._textarea = ""

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.fields[self._textarea] = self.fields.get(self._textarea, "") + data


@contextmanager
def running_life(folder: Path) -> Iterator[Life]:
    """The site, up; afterwards nothing of it is left."""
    with running_stack(folder) as stack:
        site = Site(stack.folder, stack.database_url, stack.mark, stack.started)
        try:
            site.ensure_up()
            code = "from tests.cloudtrain_site.running_site import prepare; prepare()"
            done = site.run("shell", "--no-imports", "-c", code, **{SESSION_VARIABLE: str(folder / "session")})
            assert done.returncode == 0, done.stderr
            site.open_clients(json.loads(done.stdout.splitlines()[-1]))
            yield Life(site)
        finally:
            site.end()
