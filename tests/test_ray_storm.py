"""Ray's head and nodes die, answers are cut, our workers are killed: each job trained once and ends as it did.

`CLOUDTRAIN_STORM_JOBS=100` makes it the real thing.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from examples.clusters.ray import RayCluster
from tests.cloudtrain_site.process_stacks import Stack, migrated, running_stack  # noqa: F401
from tests.fault_storm import HISTORY, OPEN, SLOTS, _disorder
from tests.ray_cluster import ray_cluster
from tests.servers import RedisServer
from tests.site import Site, let_all_run, make_people
from tests.slurm_storm import SHARES, CuttingProxy
from tests.wait import wait_until

JOBS = int(os.environ.get("CLOUDTRAIN_STORM_JOBS", "0"))
FEW = 16
KILL_SECONDS = 10.0
#: In a short storm each once, and soon, for it is over soon.
HEAD_SECONDS, NODE_SECONDS = (40.0, 25.0) if JOBS else (8.0, 4.0)
ROWS = "SELECT id, status, external_id, submission_marker, error_message FROM jobs_job ORDER BY id"
#: Says that it began, and ends by itself.
TRAINER = ["sh", "-c", 'echo begun >> "$0"/starts; sleep 3; echo "step 1"', "{output_dir}"]
CONFIG = """
background:
  job_status_polling: {enabled: true, interval_seconds: 2}
  queue_processing: {interval_seconds: 1}
"""

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600 if JOBS else 400)]


def prepare() -> None:
    """Set the site up and print the people's keys: to be run by a process of the site."""
    let_all_run(40)
    make_people()


@dataclass
class RaySite(Site):
    token: str = ""

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "RAY_STORM_TOKEN": self.token}


@dataclass
class Storm:
    site: RaySite
    ray: RayCluster
    shared: Path
    node: Path
    kills: dict[str, int] = field(default_factory=lambda: {"workers": 0, "head": 0, "node": 0})
    due: dict[str, float] = field(default_factory=dict)

    def submit(self, count: int) -> None:
        for number in range(count):
            body = {"config": {"max_train_steps": 10}, "config_name": f"storm-{number}"}
            answer = self.site.post("alice", "/api/cloud/jobs/submit?provider=ray-storm", body)
            assert answer["requires_approval"] is False, answer

    def pass_over(self, seconds: float, at_most: int | None) -> None:
        """Return when every job has ended and given its slot back."""
        now = time.monotonic()
        self.due = {"workers": now + KILL_SECONDS, "head": now + HEAD_SECONDS, "node": now + NODE_SECONDS}
        try:
            wait_until(lambda: self._is_over(at_most), seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; the jobs: {self.site.query(ROWS)}") from None

    def _is_over(self, at_most: int | None) -> bool:
        if not (self._count(OPEN) or self._count(SLOTS)):
            return True
        again = {"workers": KILL_SECONDS, "head": HEAD_SECONDS, "node": NODE_SECONDS}
        for what, kill in (("workers", self.kill_workers), ("head", self.kill_head), ("node", self.kill_node)):
            if time.monotonic() > self.due[what] and (at_most is None or self.kills[what] < at_most):
                kill()
                self.kills[what] += 1
                self.due[what] = time.monotonic() + again[what]
        return False

    def _count(self, sql: str) -> int:
        rows = self.site.query(sql)
        return int(rows[0][0]) if rows else 1

    def kill_workers(self) -> None:
        background = self.site.named("background")
        for pid in {*background, *self.site.living_workers()}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_head(self) -> None:
        # A head can't be started on a machine where a node of its own still runs.
        self.ray.kill(self.ray.folder)
        self.ray.start_head(cpus=4)
        self.node = self.ray.start_node(cpus=4)

    def kill_node(self) -> None:
        self.ray.kill(self.node)
        self.node = self.ray.start_node(cpus=4)

    def verdicts(self) -> list[str]:
        wrong = [f"{job[0]}: {text}" for job in self.site.query(ROWS) if (text := self._difference(*job[1:]))]
        return [*wrong, *_disorder(self.site.query(HISTORY))]

    def _difference(self, status: str, external_id: str | None, marker: str, error: str | None) -> str:
        """How the job differs from what its runner recorded; empty when it does not."""
        folder = self.shared / marker
        starts = folder / "output" / "starts"
        begun = starts.read_text().count("begun") if starts.exists() else 0
        has_begun = bool(_record(folder / "process.json"))
        end = _record(folder / "exit.json")
        has_completed = end.get("exit_code") == 0 and not end.get("stopped")
        if begun > 1 or not has_begun:
            return f"it trained {begun} times"
        if external_id not in (None, marker):
            return f"it is {external_id}, its marker {marker}"
        if (status == "completed") != (has_completed and begun == 1):
            return f"{status}, but it began {begun} times and ended {end}"
        return "" if status == "completed" or error else f"{status} without a reason"


def _record(path: Path) -> dict[str, Any]:
    with suppress(FileNotFoundError):
        record: dict[str, Any] = json.loads(path.read_text())
        return record
    return {}


@pytest.fixture
def storm(tmp_path: Path, migrated: Stack) -> Iterator[Storm]:  # noqa: F811
    redis = RedisServer.start()
    ray = ray_cluster(store=f"127.0.0.1:{redis.port}", start_timeout=120 if JOBS else 40)
    proxy = CuttingProxy(ray.dashboard, seed=4, shares=SHARES)
    try:
        ray.start_head(cpus=4)
        with running_stack(tmp_path, migrated) as stack:
            site = RaySite(stack.folder, stack.database_url, stack.mark, stack.started, token=ray.token)
            shared = tmp_path / "shared"
            shared.mkdir()
            site.config.write_text(CONFIG + _declared(f"http://127.0.0.1:{proxy.port}", shared))
            try:
                site.ensure_up()
                site.make_people(prepare)
                proxy.is_calm = False
                yield Storm(site, ray, shared, ray.start_node(cpus=4))
            finally:
                site.end()
    finally:
        proxy.close()
        ray.stop()
        redis.stop()


def _declared(address: str, shared: Path) -> str:
    instance = {
        "kind": "ray",
        "address": address,
        "token": "${RAY_STORM_TOKEN}",
        "shared_folder": str(shared),
        "grace_seconds": 2,
        "command": TRAINER,
        "hardware": {"cpu": {"cost_per_second": 0}},
    }
    return f"providers: {json.dumps({'ray-storm': instance})}\n"


def test_each_job_trains_once_and_ends_as_its_runner_says(storm: Storm) -> None:
    storm.submit(JOBS or FEW)
    storm.pass_over(3500 if JOBS else 300, at_most=None if JOBS else 1)
    assert storm.verdicts() == []
    assert all(storm.kills.values()), storm.kills
    completed = storm.site.query("SELECT count(*) FROM jobs_job WHERE status = 'completed'")
    assert completed[0][0] > 0
