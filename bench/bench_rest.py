"""What the embedded stack costs while it has nothing to do, and how soon it is ready.

    python -m bench.bench_rest [--seconds 30] [--starts 3]

`manage.py up` in a data folder of its own, on SQLite. Memory is the sum of the processes' proportional shares (PSS);
processor time is theirs and their ended children's over the seconds, as a part of one core. The baseline has the same
libraries and does nothing: an empty Django project under uvicorn, and django-q2's cluster of two workers as it comes.
Ready: from the start of the command until /api/cloud/health/ready answers, the database in place; the baseline is the
empty project's first answer. To reach: 220 MB, 1.5 %, 3 s; the first start of all, which makes the tables, 6 s.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import httpx

from bench.ending import end, end_as_by_ctrl_c
from bench.stack import FOREIGN, ROOT, Figure, print_table
from tests.servers import free_port

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
START_SECONDS = 120
SETTLE_SECONDS = 10
LOOK_SECONDS = 0.02
#: A project that does nothing, with the two kinds of process that ours has.
EMPTY_PROJECT = """
import os, sys
from pathlib import Path
sys.modules["empty_project"] = sys.modules[__name__]  # also where this is the main program
from django.conf import settings
settings.configure(
    SECRET_KEY="only-for-the-bench",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="empty_project",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "django_q"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).with_name("empty.sqlite3")}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    Q_CLUSTER={"name": "empty", "workers": 2, "orm": "default", "timeout": 60, "retry": 300, "log_level": "WARNING"},
)
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse("ok"))]
application = get_asgi_application()
if __name__ == "__main__":
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
"""


def family(pid: int) -> list[int]:
    """`pid` and everything below it."""
    parents = {int(path.name): parent_of(path) for path in Path("/proc").glob("[0-9]*")}
    found = [pid]
    for one in found:
        found.extend(child for child, parent in parents.items() if parent == one)
    return found


def parent_of(path: Path) -> int:
    try:
        return int(path.joinpath("stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def share_mb(pid: int) -> float:
    """The process's own memory and its part of what it shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def is_web(pid: int) -> bool:
    """Whether this is a web process, by the name that it gives itself."""
    return Path(f"/proc/{pid}/comm").read_text().strip() == "web"


def processor_seconds(pid: int) -> float:
    """Its own and its ended children's."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS_A_SECOND


@contextmanager
def started(command: Sequence[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        end(process)


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(LOOK_SECONDS)
    raise TimeoutError(f"{url} does not answer")


def at_rest(roots: Sequence[int], seconds: float) -> tuple[float, float, int]:
    """Megabytes, percent of a core, and the number of the processes."""
    time.sleep(SETTLE_SECONDS)
    pids = [pid for root in roots for pid in family(root)]
    before = sum(map(processor_seconds, pids))
    time.sleep(seconds)
    used = sum(map(processor_seconds, pids)) - before
    return sum(map(share_mb, pids)), used / seconds * 100, len(pids)


class Ours:
    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api/cloud/health/ready"
        self.command = [sys.executable, str(ROOT / "manage.py"), "up", "--port", str(self.port)]
        # The kernel shows nobody the memory of a process that forbids it.
        own = {"SIMPLETUNER_DATA_DIR": str(folder), "CLOUDTRAIN_DEBUGGABLE": "true", "SIMPLETUNER_LOG_LEVEL": "WARNING"}
        self.environment = {name: value for name, value in os.environ.items() if name not in FOREIGN} | own

    def seconds_to_start(self, measure: Callable[[int], None] = lambda pid: None) -> float:
        """Start it, call `measure` with its process, and end it."""
        began = time.monotonic()
        with started(self.command, self.environment) as up:
            wait_until_ready(self.url)
            took = time.monotonic() - began
            measure(up.pid)
        return took


def of_empty_project(folder: Path, seconds: float, starts: int) -> tuple[tuple[float, float, int], float]:
    """The same of a project that does nothing: what it costs at rest, and its median start."""
    (folder / "empty_project.py").write_text(EMPTY_PROJECT)
    environment = {**os.environ, "PYTHONPATH": str(folder), "DJANGO_SETTINGS_MODULE": ""}
    program = [sys.executable, str(folder / "empty_project.py")]
    subprocess.run([*program, "migrate", "-v0"], env=environment, check=True)
    port = free_port()
    web = [sys.executable, "-m", "uvicorn", "empty_project:application", "--port", str(port), "--log-level=warning"]
    took: list[float] = []
    for _ in range(starts):
        began = time.monotonic()
        with started(web, environment):
            wait_until_ready(f"http://127.0.0.1:{port}/")
            took.append(time.monotonic() - began)
    with started(web, environment) as server, started([*program, "qcluster"], environment) as cluster:
        wait_until_ready(f"http://127.0.0.1:{port}/")
        return at_rest([server.pid, cluster.pid], seconds), median(took)


def figures(folder: Path, seconds: float, starts: int) -> Iterator[Figure]:
    (plain_mb, plain_percent, plain_count), plain_start = of_empty_project(folder, seconds, starts)
    ours = Ours(folder)
    first = ours.seconds_to_start()
    further = [ours.seconds_to_start() for _ in range(starts - 1)]
    found: list[tuple[float, float, int]] = []
    further.append(ours.seconds_to_start(lambda pid: found.append(at_rest([pid], seconds))))
    [(mb, percent, count)] = found
    yield Figure("memory at rest (PSS)", mb, "MB", plain_mb, 220)
    yield Figure("processor at rest, of a core", percent, "%", plain_percent, 1.5)
    yield Figure("processes", count, "", plain_count)
    yield Figure("ready after", median(further), "s", plain_start, 3)
    yield Figure("ready after, for the first time", first, "s", plain_start, 6)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--starts", type=int, default=3)
    options = parser.parse_args()
    end_as_by_ctrl_c()
    with tempfile.TemporaryDirectory(prefix="cloudtrain-rest-") as folder:
        found = list(figures(Path(folder), options.seconds, options.starts))
    return print_table("The embedded stack at rest; baseline: an empty project", found)


if __name__ == "__main__":
    sys.exit(main())
