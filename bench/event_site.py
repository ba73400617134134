"""A web process for the bench of the events, with a database of its own, and what else runs in its site.

    python -m bench.event_site prepare|web|announce|burst|write

are the other processes of that site, started by the bench.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import uvicorn

from bench.ending import end, end_as_by_ctrl_c
from bench.limits import NONE_REACHED
from tests.servers import PostgresServer, free_port, wait_for_port

ROOT = Path(__file__).resolve().parent.parent
OURS, STOCK = "ours", "the library's"
WRITES_A_SECOND = 50
ORGANIZATIONS, PEOPLE = 100, 1000
FAN_OUT_ROUNDS = 20
BURST_EVENTS = 100
#: What the bench's own surroundings must not decide.
FOREIGN = ("DATABASE_URL", "REDIS_URL", "CLOUDTRAIN_WORKERS", "CLOUDTRAIN_ROLE", "SIMPLETUNER_LOG_FILE")


# --- What runs in the processes that are started below -------------------------------------------------------


def web(port: int) -> None:
    """The site with the library's view, table and limit in place of ours."""
    from asgiref.sync import sync_to_async
    from django.conf import settings
    from django.core.handlers.asgi import ASGIHandler
    from django.urls import path
    from django.views.decorators.csrf import csrf_exempt
    from django_eventstream import views

    from cloudtrain_site.urls import urlpatterns

    settings.EVENTSTREAM_STORAGE_CLASS = "django_eventstream.storage.DjangoModelStorage"
    # What our addresses have replaced.
    views.MAX_PENDING, views.sync_to_async = 10, sync_to_async
    urls = ModuleType("bench_urls")
    vars(urls)["urlpatterns"] = [path("api/events", views.events), path("bench/send", csrf_exempt(_send)), *urlpatterns]
    settings.ROOT_URLCONF = urls
    uvicorn.run(
        ASGIHandler(),
        port=port,
        lifespan="off",
        log_config=None,
        access_log=False,
        backlog=2048,
        timeout_graceful_shutdown=1,
    )


def _send(request: Any) -> Any:
    from django.db import transaction
    from django.http import HttpResponse
    from django_eventstream import send_event

    with transaction.atomic():
        for data in json.loads(request.body):
            send_event("everyone", "message", data)
    return HttpResponse(status=204)


def _set_up_django() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cloudtrain_site.settings")
    import django

    django.setup()


def _sender() -> Callable[..., bool]:
    """Stores its arguments in one transaction, our way or the library's, and says whether that was possible."""
    from cloudtrain_site.database.unit_of_work import unit_of_work
    from cloudtrain_site.events.publish import EVERYONE, Event, publish

    if "BENCH_STOCK_URL" in os.environ:
        client = httpx.Client(base_url=os.environ["BENCH_STOCK_URL"], timeout=25)
        return lambda *events: client.post("/bench/send", json=events).is_success

    def send(*events: dict[str, Any]) -> bool:
        with unit_of_work():
            for data in events:
                publish(Event("bench", EVERYONE, data))
        return True

    return send


def prepare() -> None:
    """Make the tables and a user; print the key of a session."""
    from django.contrib.auth.models import User
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    print(*_sessions_of([User.objects.create_user("bench")]))


def _sessions_of(users: Sequence[Any]) -> list[str]:
    """Sign each of them in with a browser, which has opened a page: so its session is listed. Returns their keys."""
    from allauth.usersessions.models import UserSession
    from django.test import Client

    keys = []
    for user in users:
        browser = Client()
        browser.force_login(user)
        keys.append(str(browser.session.session_key))
    pairs = zip(keys, users, strict=True)
    UserSession.objects.bulk_create(UserSession(session_key=key, user=user, ip="127.0.0.1") for key, user in pairs)
    return keys


def announce() -> None:
    """A few single events, each naming the moment before it was stored."""
    send = _sender()
    send({"token": "warm-up"})
    for number in range(FAN_OUT_ROUNDS):
        # At no fixed pace: in step with our polling, all rounds would find it in the same phase.
        time.sleep(random.uniform(1.0, 1.5))
        send({"token": f"round-{number}", "at": time.monotonic()})


def burst() -> None:
    """Many events in one commit, each naming the moment before they were stored."""
    at = time.monotonic()
    _sender()(*({"token": f"burst-{number}", "at": at} for number in range(BURST_EVENTS)))


def write(writer: int, seconds: float) -> None:
    """Events at a steady pace; print how many there were."""
    send = _sender()
    started, number = time.monotonic(), 0
    while time.monotonic() < started + seconds:
        number += send({"token": f"{writer}-{number}"})
        time.sleep(max(0.0, started + number / WRITES_A_SECOND - time.monotonic()))
    print(number)


def people() -> None:
    """Make users in organizations; print the organization and the session of each."""
    from django.contrib.auth.models import User

    from jobs.models import Membership, Organization
    from jobs.roles import Role

    organizations = Organization.objects.bulk_create([Organization(name=f"org-{n}") for n in range(ORGANIZATIONS)])
    users = User.objects.bulk_create(User(username=f"user-{n}") for n in range(PEOPLE))
    places = [(user, organizations[n % len(organizations)]) for n, user in enumerate(users)]
    Membership.objects.bulk_create(Membership(user=u, organization=o, role=Role.VIEWER) for u, o in places)
    print(json.dumps([(place[1].pk, key) for place, key in zip(places, _sessions_of(users), strict=True)]))


def rows() -> None:
    """Give the user of `prepare` two hundred jobs."""
    from django.contrib.auth.models import User

    from jobs.models import Job, Membership, Organization
    from jobs.roles import Role

    user, team = User.objects.get(username="bench"), Organization.objects.create(name="acme")
    Membership.objects.create(user=user, organization=team, role=Role.RESEARCHER)
    common = {"provider": "local", "correlation_id": "bench", "organization": team, "submitted_by": user}
    Job.objects.bulk_create([Job(config_name=f"job-{n}", status="completed", **common) for n in range(200)])


def tell(seconds: float) -> None:
    """Events at a steady pace, each to one organization, with its turn there; print the last turns."""
    from cloudtrain_site.events.publish import Event, publish
    from jobs.channels import organization_channel
    from jobs.models import Organization

    turns = dict.fromkeys(Organization.objects.filter(name__startswith="org-").values_list("pk", flat=True), 0)
    started, number, ids = time.monotonic(), 0, list(turns)
    while time.monotonic() < started + seconds:
        organization = random.choice(ids)
        turns[organization] += 1
        data = {"turn": turns[organization], "at": round(time.monotonic(), 6)}
        publish(Event("bench", organization_channel(organization), data))
        number += 1
        time.sleep(max(0.0, started + number / WRITES_A_SECOND - time.monotonic()))
    print(json.dumps(turns))


# --- The web process, and what it costs ----------------------------------------------------------------------


@dataclass
class Site:
    """A running web process, with its database."""

    process: subprocess.Popen[bytes]
    port: int
    environment: dict[str, str]
    session: str
    #: PostgreSQL's own process.
    database_pid: int | None = None

    def run(self, *arguments: str) -> subprocess.Popen[str]:
        """Start another process of the site: one of the functions above."""
        return subprocess.Popen(
            [sys.executable, "-m", "bench.event_site", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def finish(self, *arguments: str, seconds: float = 150) -> str:
        """What one of those processes printed. None of them outlives its time."""
        process = self.run(*arguments)
        try:
            return (await asyncio.to_thread(process.communicate, timeout=seconds))[0]
        finally:
            process.kill()

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def megabytes(self) -> float:
        """Its proportional share of memory."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def connections(self) -> int:
        """Its connections to PostgreSQL or SQLite, each of which has the file of the log ahead open once."""
        if "DATABASE_URL" in self.environment:
            import psycopg

            with psycopg.connect(self.environment["DATABASE_URL"]) as link:
                query = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'postgres' AND pid <> pg_backend_pid()"
                row = link.execute(query).fetchone()
                return int(row[0]) if row else 0
        links = (os.path.realpath(link) for link in Path(f"/proc/{self.process.pid}/fd").iterdir())
        return sum(1 for link in links if link.endswith(".sqlite3-wal"))


@contextmanager
def running_site(kind: str, *, postgresql: bool, processes: int = 1) -> Iterator[Site]:
    """A site of its own, from an empty database, gone when the block ends."""
    end_as_by_ctrl_c()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="cloudtrain-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        environment = {**_environment(folder), "CLOUDTRAIN_WEB_PROCESSES": str(processes)}
        database_pid = None
        if postgresql:
            postgres = PostgresServer.start()
            stack.callback(postgres.stop)
            environment["DATABASE_URL"] = postgres.url
            database_pid = postgres.process.pid
        port = free_port()
        if kind == STOCK:
            environment["BENCH_STOCK_URL"] = f"http://127.0.0.1:{port}"
        site = Site(process=None, port=port, environment=environment, session="", database_pid=database_pid)  # type: ignore[arg-type]
        site.session = site.run("prepare").communicate(timeout=120)[0].strip()
        site.process = _start_web(kind, site)
        stack.callback(end, site.process)
        wait_for_port(site.port, site.process)
        yield site


def _environment(folder: Path) -> dict[str, str]:
    config = folder / "simpletuner-enterprise.yaml"
    config.touch()
    own = {"SIMPLETUNER_DATA_DIR": str(folder), "SIMPLETUNER_ENTERPRISE_CONFIG": str(config)}
    own |= {"SIMPLETUNER_LOG_LEVEL": "CRITICAL", "SECRET_KEY": "only-for-the-bench", "CLOUDTRAIN_DEBUGGABLE": "true"}
    return {**{name: value for name, value in os.environ.items() if name not in FOREIGN}, **own, **NONE_REACHED}


def _start_web(kind: str, site: Site) -> subprocess.Popen[bytes]:
    """As the site is run in earnest; the library's view only takes the place of ours."""
    module = ["cloudtrain_site.web"] if kind == OURS else ["bench.event_site", "web"]
    command = [sys.executable, "-m", *module, "--port", str(site.port)]
    return subprocess.Popen(command, cwd=ROOT, env={**site.environment, "CLOUDTRAIN_ROLE": "web"})


def main() -> None:
    """Be one of the site's other processes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["prepare", "web", "announce", "burst", "write", "people", "tell", "rows"])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--writer", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    _set_up_django()
    tasks: dict[str, Callable[[], None]] = {
        "prepare": prepare,
        "web": lambda: web(options.port),
        "announce": announce,
        "burst": burst,
        "write": lambda: write(options.writer, options.seconds),
        "people": people,
        "rows": rows,
        "tell": lambda: tell(options.seconds),
    }
    tasks[options.task]()


if __name__ == "__main__":
    main()
