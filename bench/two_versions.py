"""A site of an older version and one of this on one PostgreSQL database, under load: is any request lost?

    python -m bench.two_versions [--since 6d320a2]

The older version is taken from the repository's history. It runs alone, while this version migrates the database,
beside this version, and is then ended; jobs are submitted, approved and read at every site that runs, and train at the
stand-in for Replicate. To reach: no answer of 500 or above, no connection refused, each job trained once, the ledger
agrees.
"""

from __future__ import annotations

import argparse
import collections
import io
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bench.ending import end_as_by_ctrl_c
from bench.stack import ROOT, is_ready
from examples.fake_replicate.process import FakeReplicateProcess
from tests.servers import PostgresServer, free_port
from tests.wait import wait_until

VERSION_0_1_0 = "6d320a2"
SECONDS_EACH = 15.0
PATIENCE_SECONDS = 300.0
ENDED = {"completed", "failed", "cancelled"}
NO_LIMITS = """
from queueing.models import QueueState
limits = ("max_running", "max_running_per_user", "max_running_per_organization")
QueueState.objects.update_or_create(pk=1, defaults=dict.fromkeys(limits, 500))
"""
#: 0.1.0 needs this package, and this version doesn't. With an empty one only the page of the API lacks its style.
STUB = "drf_spectacular_sidecar"


class TwoVersionsError(Exception):
    """The bench could not be run; the message says why."""


@dataclass
class Site:
    """One version's `manage.py up`."""

    folder: Path
    environment: dict[str, str] = field(repr=False)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def run(self, *command: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        if done.returncode:
            raise TwoVersionsError(f"{command[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")
        return done.stdout

    def start(self) -> None:
        with (Path(self.environment["SIMPLETUNER_DATA_DIR"]) / f"up-{self.port}").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up", "--port", str(self.port)],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=output,
            )
        wait_until(lambda: is_ready(f"http://127.0.0.1:{self.port}"), PATIENCE_SECONDS)

    def ledger_agrees(self) -> bool:
        try:
            return "agrees" in self.run("ledger", "--verify")
        except TwoVersionsError:
            return False

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)


@dataclass
class Load:
    """Requests to one site, as long as it runs."""

    port: int
    keys: dict[str, str]
    job_ids: list[str] = field(default_factory=list)
    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    lost: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> threading.Thread:
        thread = threading.Thread(target=self._go)
        thread.start()
        return thread

    def _go(self) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30) as client:
            number = 0
            while not self.stopping.wait(0.15):
                number += 1
                config = {"config": {"max_train_steps": 100 + number}, "hardware_profile": "h100"}
                made = self.ask(client, "alice", "POST", "/api/cloud/jobs/submit?provider=replicate", config)
                if made:
                    self.job_ids.append(made["job_id"])
                    self.ask(client, "alice", "GET", f"/api/cloud/jobs/{made['job_id']}")
                self.ask(client, "alice", "GET", "/api/cloud/jobs?limit=20")
                self.ask(client, "alice", "GET", "/api/queue")
                approve_all(client, self)

    def ask(self, client: httpx.Client, who: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Return the answer; empty for a refusal. A 409 is not counted as lost: the other site has decided first."""
        try:
            answer = client.request(method, path, json=body, headers={"X-API-Key": self.keys[who]})
        except httpx.HTTPError as error:
            self.lost.append(f"{method} {path}: {error!r}")
            return {}
        self.statuses[answer.status_code] += 1
        if not answer.is_success and answer.status_code != 409:
            self.lost.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return dict(answer.json()) if answer.is_success else {}


def approve_all(client: httpx.Client, load: Load) -> None:
    for request in load.ask(client, "bob", "GET", "/api/approvals?status=pending&limit=20").get("approvals", []):
        load.ask(client, "bob", "POST", f"/api/approvals/{request['id']}/approve", {"reason": "bench"})


@contextmanager
def older_version(commit: str) -> Iterator[Path]:
    """Yield a folder with the files of that commit."""
    with tempfile.TemporaryDirectory(prefix="cloudtrain-older-") as folder:
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True)
        if archive.returncode:
            raise TwoVersionsError(f"The history of this checkout lacks {commit}: {archive.stderr.decode().strip()}")
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        (Path(folder) / STUB).mkdir(exist_ok=True)
        (Path(folder) / STUB / "__init__.py").touch()
        yield Path(folder)


def make_people(site: Site) -> dict[str, str]:
    for name, role in (("alice", "researcher"), ("bob", "lead")):
        site.run("add_member", name, "acme", role, "--create", "--password", "bench-of-two-versions")
    site.run("shell", "-c", NO_LIMITS)
    return {name: site.run("create_api_key", name).strip() for name in ("alice", "bob")}


def measure(commit: str, stack: ExitStack) -> list[str]:
    """Run the bench. Returns what went wrong."""
    fake = stack.enter_context(FakeReplicateProcess.start("--script", "1,3", "--latency-ms", "20"))
    server = PostgresServer.start()
    stack.callback(server.stop)
    data = stack.enter_context(tempfile.TemporaryDirectory(prefix="cloudtrain-bench-"))
    own = {
        "DATABASE_URL": server.url,
        "SIMPLETUNER_DATA_DIR": data,
        "SECRET_KEY": "only-for-the-bench-of-two-versions-of-one-site",
        "REPLICATE_API_TOKEN": fake.token,
        "REPLICATE_BASE_URL": fake.url,
        "REPLICATE_STATUS_URL": "",
        "SIMPLETUNER_JOB_POLL_INTERVAL": "1",
    }
    older = Site(stack.enter_context(older_version(commit)), os.environ | own)
    newer = Site(ROOT, os.environ | own)
    for site in (older, newer):
        stack.callback(site.stop)
    older.run("migrate", "--verbosity=0")
    keys = make_people(older)
    older.start()
    first, second = Load(older.port, keys), Load(newer.port, keys)
    threads = [first.begin()]
    try:
        time.sleep(SECONDS_EACH)
        newer.run("migrate", "--verbosity=0")
        time.sleep(SECONDS_EACH)
        newer.start()
        threads.append(second.begin())
        time.sleep(SECONDS_EACH)
        first.stopping.set()
        threads[0].join()
        older.stop()
        time.sleep(SECONDS_EACH)
    finally:
        for load in (first, second):
            load.stopping.set()
        for thread in threads:
            thread.join()
    return conclusions(first, second, fake, newer)


def conclusions(first: Load, second: Load, fake: FakeReplicateProcess, newer: Site) -> list[str]:
    job_ids = first.job_ids + second.job_ids
    with httpx.Client(base_url=f"http://127.0.0.1:{newer.port}", timeout=30) as client:

        def have_ended() -> bool:
            approve_all(client, second)
            active = second.ask(client, "alice", "GET", "/api/cloud/jobs?limit=500")["jobs"]
            return {job["status"] for job in active} <= ENDED

        wait_until(have_ended, PATIENCE_SECONDS)
    trained = len(fake.predictions())
    wrong = first.lost + second.lost
    if trained > len(job_ids):
        wrong.append(f"{trained} trainings of {len(job_ids)} jobs")
    with suppress(TimeoutError):  # what differs is said below
        wait_until(newer.ledger_agrees, PATIENCE_SECONDS)
    for name, load in (("older", first), ("newer", second)):
        print(f"{name}: {len(load.job_ids)} jobs, answers {dict(load.statuses)}, lost {len(load.lost)}")
    print(f"trainings: {trained}; {newer.run('ledger', '--verify').strip()}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--since", default=VERSION_0_1_0, help="the commit of the older version")
    options = parser.parse_args()
    end_as_by_ctrl_c()
    try:
        with ExitStack() as stack:
            wrong = measure(options.since, stack)
    except (TwoVersionsError, TimeoutError) as error:
        wrong = [str(error)]
    for line in wrong[:20]:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
