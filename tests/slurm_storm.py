"""A site with a Slurm cluster in a storm: answers are cut off, Slurm's daemons and the site's workers are killed.

Each job notes its starts in its own folder on the shared folder, so that they can be counted whatever anybody lost.
"""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.models import ProviderConfig
from tests.cloudtrain_site.process_stacks import Stack, running_stack
from tests.fault_storm import HISTORY, IMPATIENT, JOBS, Storm, StormySite, _disorder
from tests.site import Site, let_all_run, make_people
from tests.slurm import SlurmCluster

#: The shares of answers that are cut off and of connections that are refused; in a hurry there are few of either.
SHARES, SHARES_IN_A_HURRY = (0.05, 0.03), (0.2, 0.1)
#: Notes its start; one in five fails, and all take one to three seconds.
TRAINER = "mktemp -p . started.XXXXXX; sleep $((1 + RANDOM % 3)); touch output/model; [ $((RANDOM % 5)) -gt 0 ]"
PROVIDER = """
providers:
  slurm-lab:
    kind: slurm
    address: http://127.0.0.1:{port}
    user: root
    key_file: {folder}/jwt.key
    shared_folder: {folder}/shared
    command: {command}
    hardware: {{cpu: {{cpus: 8}}}}
"""


def prepare() -> None:
    """Set the site up and print the people's keys: to be run by a process of the site."""
    let_all_run(60)
    ProviderConfig.objects.update_or_create(name="slurm-lab")
    make_people()


class CuttingProxy:
    """Stands before slurmrestd and cuts answers off: before their first byte, or in their middle."""

    def __init__(self, target: int, seed: int, shares: tuple[float, float]) -> None:
        self.target = target
        self.cut_share, self.refused_share = shares
        self.random = random.Random(seed)
        self.is_calm = True
        self.cuts = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self._strikes(self.refused_share):
                return
            with socket.create_connection(("127.0.0.1", self.target)) as server:
                threading.Thread(target=_pump, args=(client, server, lambda: False), daemon=True).start()
                _pump(server, client, lambda: self._strikes(self.cut_share))

    def _strikes(self, share: float) -> bool:
        does = not self.is_calm and self.random.random() < share
        self.cuts += does
        return does

    def close(self) -> None:
        self.listener.close()


def _pump(source: socket.socket, target: socket.socket, is_cut: Callable[[], bool]) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            if is_cut():
                break
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@dataclass
class SlurmSite(StormySite):
    @property
    def environment(self) -> dict[str, str]:
        return Site.environment.fget(self)  # type: ignore[attr-defined,no-any-return]


@dataclass
class SlurmStorm(Storm):
    """As the other storm, with a cluster in the place of Replicate."""

    slurm: SlurmCluster = field(kw_only=True)
    proxy: CuttingProxy = field(kw_only=True)
    daemons_killed: int = 0

    def submit(self, count: int) -> None:
        for number in range(count):
            body = {"config": {"max_train_steps": 100}, "config_name": f"storm-{number}", "hardware_profile": "cpu"}
            self.site.post("alice", "/api/cloud/jobs/submit?provider=slurm-lab", body)

    def kill(self) -> None:
        """Kill the site's background, and one of Slurm's daemons, which comes back a little later."""
        super().kill()
        self.slurm.let_go()
        daemon = ("slurmctld", "n1", "slurmctld", "n2")[self.daemons_killed % 4]
        self.daemons_killed += 1
        self.slurm.kill(daemon)
        time.sleep(0.5)
        if daemon == "slurmctld":
            self.slurm.start_controller()
        else:
            self.slurm.start_node(int(daemon[1:]))

    def look_at_the_provider(self) -> None:
        """Nobody has to: a marker that is submitted again trains once."""

    def verdicts(self) -> list[str]:
        wrong = [f"{job[0]}: {text}" for job in self.site.query(JOBS) if (text := self._difference(job))]
        return [*wrong, *_disorder(self.site.query(HISTORY))]

    def _difference(self, job: tuple[Any, ...]) -> str:
        _, status, _, marker = job
        folder = self.slurm.shared / str(marker)
        starts = len(list(folder.glob("started.*")))
        end = _record(folder / "exit.json")
        if starts != 1:
            return f"{status}, and it was started {starts} times: {end}"
        ended = "completed" if end.get("exit_code") == 0 else "failed"
        return "" if ended == status else f"{status}, but its runner says {end}"

    def calm(self) -> None:
        self.proxy.is_calm = True


def _record(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        record: dict[str, Any] = json.loads(path.read_text())
        return record
    return {}


@contextmanager
def running_slurm_storm(
    folder: Path, template: Stack | None = None, *, kill_seconds: float, in_a_hurry: bool
) -> Iterator[SlurmStorm]:
    """A site and its cluster, well for now; afterwards nothing of them is left."""
    slurm = SlurmCluster().start()
    proxy = CuttingProxy(slurm.port, seed=4, shares=SHARES_IN_A_HURRY if in_a_hurry else SHARES)
    try:
        with running_stack(folder, template) as stack:
            site = SlurmSite(stack.folder, stack.database_url, stack.mark, stack.started)
            command = json.dumps(["bash", "-c", TRAINER])
            provider = PROVIDER.format(port=proxy.port, folder=slurm.folder, command=command)
            site.config.write_text((IMPATIENT if in_a_hurry else "") + provider)
            try:
                site.ensure_up()
                site.make_people(prepare)
                yield SlurmStorm(site, None, kill_seconds, in_a_hurry, slurm=slurm, proxy=proxy)  # type: ignore[arg-type]
            finally:
                site.end()
    finally:
        proxy.close()
        slurm.stop()
