"""The embedded default as its users meet it: `manage.py up`, spoken to over HTTP, with real trainings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from django.contrib.auth.models import User
from django.db import transaction

from approvals.models import ApprovalRule
from cloudtrain_site.models import ApiKey
from jobs.models import Membership, Organization
from jobs.roles import Role
from jobs.statuses import TERMINAL
from queueing.models import QueueState
from tests.cloudtrain_site.process_stacks import START_SECONDS, Stack, running_stack, wait_until
from tests.jobs.providers.local.trainings import processes_of
from tests.servers import free_port
from tests.web import EventStream

PEOPLE = {
    "alice": ("acme", Role.RESEARCHER),
    "bob": ("acme", Role.LEAD),
    "vera": ("acme", Role.VIEWER),
    "charlie": ("other", Role.ADMIN),
}
TRAINING_SECONDS = 40.0
FIRST_CHECKPOINT = 30
#: A few seconds of training on an idle core, and enough of a network to learn something.
QUICK = {
    "max_train_steps": 4 * FIRST_CHECKPOINT,
    "checkpoint_step_interval": FIRST_CHECKPOINT,
    "sample_trainer_width": 8,
    "seed": 7,
}


def make_people() -> None:
    """Make the people and print their API keys: to be run by a process of the site."""
    with transaction.atomic():
        keys = {name: _make_person(name, *place) for name, place in PEOPLE.items()}
    sys.stdout.write(json.dumps(keys))


def _make_person(name: str, organization: str, role: Role) -> str:
    team, _ = Organization.objects.get_or_create(name=organization)
    user = User.objects.create_user(name)
    Membership.objects.create(user=user, organization=team, role=role)
    return str(ApiKey.objects.create(user=user, name="test")[1])


def let_all_run(count: int) -> None:
    """Disable the rules, and let `count` jobs run at once, whoever's they are: for a process of the site."""
    limits = dict.fromkeys(("max_running", "max_running_per_user", "max_running_per_organization"), count)
    with transaction.atomic():
        ApprovalRule.objects.update(enabled=False)
        QueueState.objects.update_or_create(pk=1, defaults=limits)


@dataclass
class Site(Stack):
    """A stack with people who use it."""

    port: int = field(default_factory=free_port)
    up: subprocess.Popen[bytes] | None = None
    clients: dict[str, httpx.Client] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        own = {"SIMPLETUNER_LOG_FILE": str(self.log), "SIMPLETUNER_ENTERPRISE_CONFIG": str(self.config)}
        return {**super().environment, **own}

    @property
    def log(self) -> Path:
        return self.folder / "cloud.log"

    @property
    def config(self) -> Path:
        """The operator's configuration file."""
        return self.folder / "simpletuner-enterprise.yaml"

    @property
    def jobs(self) -> Path:
        return self.folder / "data" / "jobs"

    # Its processes.

    def ensure_up(self) -> None:
        """Start it unless it runs, and return when web and workers are ready."""
        if self.up is None or self.up.poll() is not None:
            self.up = self.start("up", "--port", str(self.port))
        wait_until(lambda: self.is_ready() and len(self.living_workers()) == 2, START_SECONDS)

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/api/cloud/health/ready", timeout=5).is_success
        except httpx.TransportError:
            return False

    def living_workers(self) -> set[int]:
        """The task workers that wait for work.

        Those of earlier clusters, killed, left their signs behind: their numbers may be somebody else's by now.
        """
        return self.workers("idle") & self.own_pids()

    def trainings(self) -> set[int]:
        """Runners and trainers: what a stop leaves alone."""
        return set(processes_of(self.jobs))

    def own_pids(self) -> set[int]:
        """Everything else of this stack."""
        return self.pids() - self.trainings()

    def background(self) -> int:
        """The process of `manage.py background`, once it is there."""
        found: list[int] = []

        def look() -> bool:
            found[:] = self.own_pids() & self.named("background")
            return len(found) == 1

        wait_until(look, START_SECONDS)
        return found[0]

    # What people do.

    def make_people(self, prepare: Callable[[], None] = make_people) -> None:
        """Have a process of the site run `prepare`, which ends with `make_people`."""
        self.open_clients(json.loads(self.call(prepare).splitlines()[-1]))

    def call(self, function: Callable[[], None]) -> str:
        """Run a module's function in a process of the site. Returns what it prints."""
        code = f"from {function.__module__} import {function.__name__} as function; function()"
        done = self.run("shell", "--no-imports", "-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def open_clients(self, keys: dict[str, str]) -> None:
        """Have everybody speak to the site with a key of their own."""
        for name, key in keys.items():
            self.clients[name] = httpx.Client(
                base_url=f"http://127.0.0.1:{self.port}", headers={"X-API-Key": key}, timeout=30
            )

    def get(self, name: str, path: str) -> dict[str, Any]:
        """What `name` reads there; it must be readable."""
        return _body(self.clients[name].get(path))

    def post(self, name: str, path: str, body: object = None, **headers: str) -> dict[str, Any]:
        """What `name` is answered there; it must be well."""
        return _body(self.clients[name].post(path, json=body or {}, headers=headers))

    def submit(self, name: str, **config: object) -> str:
        """Submit a quick training, but for what `config` says, that no rule holds. Returns the job's id."""
        answer = self.post(name, "/api/cloud/jobs/submit", {"config": {**QUICK, **config}})
        assert answer["requires_approval"] is False, answer
        return str(answer["job_id"])

    def job(self, job_id: str, reader: str = "bob") -> dict[str, Any]:
        """The job as somebody sees it."""
        job: dict[str, Any] = self.get(reader, f"/api/cloud/jobs/{job_id}")["job"]
        return job

    def until(self, job_id: str, status: str, reader: str = "bob") -> dict[str, Any]:
        """The job, as soon as it has the status."""
        wait_until(lambda: self.job(job_id, reader)["status"] in (status, *TERMINAL), TRAINING_SECONDS)
        job = self.job(job_id, reader)
        assert job["status"] == status, job
        return job

    def until_slot_is_free(self, job_id: str) -> None:
        """Return when the ended job's queue entry has ended too."""
        wait_until(lambda: self.job(job_id)["queue_status"] in TERMINAL, TRAINING_SECONDS)

    def moves(self, job_id: str) -> list[tuple[str, str | None, str]]:
        """The job's history in short: what moved, from where, to where."""
        events = self.get("bob", f"/api/cloud/jobs/{job_id}/events")["events"]
        return [(event["subject"], event["old"], event["new"]) for event in events]

    @contextmanager
    def stream(self, name: str) -> Iterator[EventStream]:
        """The event stream of `name`, open."""
        with self.clients[name].stream("GET", "/api/events") as response:
            assert response.status_code == 200, response.read()
            stream = EventStream(response)
            stream.next("stream-open")
            yield stream

    # Its trainings.

    def trainer(self, job_id: str) -> int:
        """The trainer's process."""
        pid: int = json.loads((self.jobs / job_id / "process.json").read_text())["trainer"]["pid"]
        return pid

    def trained(self, job_id: str) -> str:
        """The trainer's own log, empty while there is none."""
        log = self.jobs / job_id / "train.log"
        return log.read_bytes().decode(errors="replace") if log.exists() else ""

    @contextmanager
    def half_way(self, job_id: str) -> Iterator[None]:
        """Hold the trainer in the middle of its training, for the block."""
        # Told by the trainer itself: by the time that we hear of it from the site, it may be over.
        wait_until(lambda: f"Saved checkpoint-{FIRST_CHECKPOINT}" in self.trained(job_id), TRAINING_SECONDS)
        trainer = self.trainer(job_id)
        os.kill(trainer, signal.SIGSTOP)
        try:
            wait_until(lambda: self.job(job_id)["progress"], TRAINING_SECONDS)
            assert self.job(job_id)["status"] == "running"
            yield
        finally:
            os.kill(trainer, signal.SIGCONT)

    def end(self) -> None:
        for client in self.clients.values():
            client.close()
        super().end()


def _body(response: httpx.Response) -> dict[str, Any]:
    assert response.is_success, response.text
    body: dict[str, Any] = response.json()
    return body


@contextmanager
def running_site(
    folder: Path, template: Stack | None = None, *, config: str = "", prepare: Callable[[], None] = make_people
) -> Iterator[Site]:
    """A site that is up, with the configuration file and the people that `prepare` makes; afterwards nothing of it is
    left."""
    with running_stack(folder, template) as stack:
        site = Site(stack.folder, stack.database_url, stack.mark, stack.started)
        site.config.write_text(config)
        try:
            site.ensure_up()
            site.make_people(prepare)
            yield site
        finally:
            site.end()
