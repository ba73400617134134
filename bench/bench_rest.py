"""What the embedded stack costs while it has nothing to do: memory and processor time of all its processes.

    python -m bench.bench_rest [--seconds 30]

`manage.py up` in a data folder of its own, on SQLite. Memory is the sum of the processes' proportional shares (PSS);
processor time is theirs and their ended children's over the seconds, as a part of one core. To stay below: 400 MB, 5 %.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from bench.ending import end_as_by_ctrl_c
from tests.servers import free_port

ROOT = Path(__file__).resolve().parent.parent
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
LIMIT_MB = 400
LIMIT_PERCENT = 5
START_SECONDS = 60
SETTLE_SECONDS = 10


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


def processor_seconds(pid: int) -> float:
    """Its own and its ended children's."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS_A_SECOND


def what_it_is(pid: int) -> str:
    command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return command[2].rpartition(".")[2] if command[1] == "-m" else command[2]


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise TimeoutError(f"{url} does not answer")


def measure(up: subprocess.Popen[bytes], seconds: float) -> None:
    pids = family(up.pid)
    before = {pid: processor_seconds(pid) for pid in pids}
    time.sleep(seconds)
    total_mb = total_percent = 0.0
    print(f"{'process':<12} {'PSS MB':>8} {'core %':>8}")
    for pid in pids:
        percent = (processor_seconds(pid) - before[pid]) / seconds * 100
        print(f"{what_it_is(pid):<12} {share_mb(pid):8.1f} {percent:8.2f}")
        total_mb, total_percent = total_mb + share_mb(pid), total_percent + percent
    print(f"{'all':<12} {total_mb:8.1f} {total_percent:8.2f}   limits: {LIMIT_MB} MB, {LIMIT_PERCENT} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    seconds = parser.parse_args().seconds
    port = free_port()
    end_as_by_ctrl_c()
    with tempfile.TemporaryDirectory(prefix="cloudtrain-rest-") as folder:
        environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
        up = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "up", "--port", str(port)],
            env={**environment, "SIMPLETUNER_DATA_DIR": folder, "CLOUDTRAIN_DEBUGGABLE": "true"},
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_until_ready(f"http://127.0.0.1:{port}/api/cloud/health/ready")
            time.sleep(SETTLE_SECONDS)
            measure(up, seconds)
        finally:
            up.terminate()
            up.wait(15)


if __name__ == "__main__":
    main()
