"""The embedded stack for a bench: `manage.py up` in a temporary data folder, gone when the bench ends.

The process of the bench becomes part of that site too, so that it makes users, and looks into the database, with the
site's own code. Import that code only inside the block of `running_stack`.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from bench.ending import end_as_by_ctrl_c
from bench.limits import NONE_REACHED
from examples.clusters.processes import kill_all
from tests.servers import free_port

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
#: Where `print_table` adds what it shows, one figure a line, as JSON.
FIGURES_VARIABLE = "BENCH_FIGURES"
START_SECONDS = 180.0
STOP_SECONDS = 15.0
#: What the bench's own surroundings must not decide.
FOREIGN = ("DATABASE_URL", "REDIS_URL", "SIMPLETUNER_JOB_POLL_INTERVAL", "CLOUDTRAIN_WORKERS", "CLOUDTRAIN_ROLE")


class StackError(Exception):
    """The stack did not do what the bench needs; the message says what, and ends with what the stack printed."""


@dataclass
class Stack:
    """A running stack."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "cloudtrain.log"

    def make_member(self, name: str, role: str, organization: str = "acme") -> str:
        """Make a user of the organization, with a role. Returns a new API key."""
        from django.contrib.auth.models import User

        from cloudtrain_site.models import ApiKey
        from jobs.models import Membership, Organization

        team, _ = Organization.objects.get_or_create(name=organization)
        user = User.objects.create_user(name)
        Membership.objects.create(user=user, organization=team, role=role)
        return str(ApiKey.objects.create(user=user, name="bench")[1])

    def client(self, key: str) -> httpx.Client:
        """A client that speaks for the owner of the key."""
        return httpx.Client(base_url=self.url, headers={"X-API-Key": key}, timeout=30)

    def logged(self, *texts: str) -> int:
        """How many lines of the log have one of the texts."""
        return sum(any(text in line for text in texts) for line in self.log.read_text().splitlines())

    def until(self, condition: Callable[[], T], seconds: float = 30.0) -> T:
        """What `condition` says, as soon as that is true. Raises StackError after the time."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            if self.process.poll() is not None:
                raise StackError(f"The stack ended with {self.process.returncode}.\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise StackError(f"It did not come about within {seconds:.0f} s.\n{self.log_tail()}")
            time.sleep(0.02)
        return value

    def log_tail(self) -> str:
        return "\n".join((self.folder / "up.out").read_text().splitlines()[-5:])

    def is_ready(self) -> bool:
        return is_ready(self.url)

    def has_workers(self) -> bool:
        """Whether both task workers wait for work, as their signs of life say."""
        return len(list(self.folder.glob("cloudtrain-signs-*/*.idle"))) >= 2

    def stop(self) -> None:
        """End the stack, and then its trainings, which outlive it."""
        from tests.jobs.providers.local.trainings import processes_of

        self.process.terminate()  # SIGINT is ignored by what a script started in the background
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        kill_all(lambda: list(processes_of(self.folder / "jobs")))


def is_ready(url: str) -> bool:
    """Whether the site at this address answers, and has its database."""
    try:
        return httpx.get(f"{url}/api/cloud/health/ready", timeout=5).is_success
    except httpx.HTTPError:
        return False


@contextmanager
def running_stack(*, settings: dict[str, Any] | None = None, database_url: str | None = None) -> Iterator[Stack]:
    """A stack with one web process and all its workers up; `settings` is what its simpletuner-enterprise.yaml says.

    Without `database_url` it is on SQLite.
    """
    end_as_by_ctrl_c()
    folder = Path(tempfile.mkdtemp(prefix="cloudtrain-bench-"))
    try:
        stack = _start(folder, settings or {}, {"DATABASE_URL": database_url} if database_url else {})
        try:
            _join()
            stack.until(stack.is_ready, START_SECONDS)
            stack.until(stack.has_workers, START_SECONDS)
            yield stack
        finally:
            stack.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, settings: dict[str, Any], database: dict[str, str]) -> Stack:
    config = folder / "simpletuner-enterprise.yaml"
    config.write_text(json.dumps(settings) if settings else "")  # YAML reads JSON
    for name in FOREIGN:
        os.environ.pop(name, None)
    places = {"SIMPLETUNER_DATA_DIR": str(folder), "SIMPLETUNER_ENTERPRISE_CONFIG": str(config)}
    os.environ |= {**places, **database, **NONE_REACHED}
    port = free_port()
    own = {"SIMPLETUNER_LOG_FILE": str(folder / "cloudtrain.log"), "TMPDIR": str(folder)}
    with (folder / "up.out").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "up", "--port", str(port), "--processes", "1"],
            env={**os.environ, **own, "SIMPLETUNER_LOG_LEVEL": "INFO", "SIMPLETUNER_LOG_FORMAT": "json"},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return Stack(folder, port, process)


def _join() -> None:
    """Make this process a part of the site, and a silent one."""
    os.environ |= {"DJANGO_SETTINGS_MODULE": "cloudtrain_site.settings", "SIMPLETUNER_LOG_LEVEL": "CRITICAL"}
    import django

    django.setup()


@dataclass(frozen=True)
class Figure:
    """One line of the table. `target` is what the value may be at most, or must be at least."""

    name: str
    value: float
    unit: str = ""
    baseline: float | None = None
    target: float | None = None
    at_least: bool = False

    @property
    def ok(self) -> bool:
        """Whether the target, if there is one, is met."""
        if self.target is None:
            return True
        return self.value >= self.target if self.at_least else self.value <= self.target


def print_table(title: str, figures: Sequence[Figure]) -> int:
    """Show each figure beside its baseline and its target. Returns the exit code: 1 when a target is missed.

    `python -m bench` collects them in the file that FIGURES_VARIABLE names.
    """
    if collected := os.environ.get(FIGURES_VARIABLE):
        with Path(collected).open("a") as file:
            file.writelines(f"{json.dumps(asdict(figure))}\n" for figure in figures)
    print(f"\n{title}\n")
    print(f"| {'':44} | {'figure':>12} | {'baseline':>12} | {'ratio':>7} | {'target':>12} | {'ok':3} |")
    print(f"|{'-' * 46}|{'-' * 13}:|{'-' * 13}:|{'-' * 8}:|{'-' * 13}:|{'-' * 5}|")
    for figure in figures:
        baseline = "" if figure.baseline is None else shown(figure.baseline, figure.unit)
        ratio = f"{figure.value / figure.baseline:.2f}" if figure.baseline else ""
        sign = ">=" if figure.at_least else "<="
        target = "" if figure.target is None else f"{sign} {shown(figure.target, figure.unit)}"
        verdict = "" if figure.target is None else "yes" if figure.ok else "NO"
        value = shown(figure.value, figure.unit)
        print(f"| {figure.name:44} | {value:>12} | {baseline:>12} | {ratio:>7} | {target:>12} | {verdict:3} |")
    load, cores = os.getloadavg()[0], os.cpu_count()
    print(f"\nThe machine's load at the end: {load:.1f} on {cores} cores.")
    return 0 if all(figure.ok for figure in figures) else 1


def shown(value: float, unit: str) -> str:
    """Return three digits of a small value, and all of those before the point."""
    is_whole = not math.isfinite(value) or value == int(value)  # what could not be measured is nan or inf
    decimals = 0 if is_whole else max(0, 2 - int(math.log10(max(abs(value), 0.01))))
    return f"{value:,.{decimals}f} {unit}".strip()


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of the values don't exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
