"""What `make bench` runs, in this order, and in which size: all of it in 20 minutes on two quiet cores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from examples.clusters.processes import MissingProgramError
from examples.clusters.ray import find_ray
from examples.clusters.slurm import check_programs
from tests.servers import find_binary


@dataclass(frozen=True)
class Bench:
    """One of bench/bench_NAME.py. `missing` says what it lacks on this machine, or nothing."""

    arguments: str = ""
    missing: Callable[[], str] = str
    #: Longer than it takes on two quiet cores; it is ended then.
    limit_seconds: float = 150.0
    #: It has no place in the 20 minutes, and runs for `make bench ONLY=NAME`.
    only_by_name: bool = False


def program(*names: str) -> Callable[[], str]:
    return lambda: ", ".join(name for name in names if find_binary(name) is None)


def ray() -> str:
    return "" if find_ray() else "Ray (make install-ray)"


def slurm() -> str:
    try:
        check_programs()
    except MissingProgramError as error:
        return str(error)
    return ""


BENCHES = {
    "submit": Bench("--each 20"),
    "rest": Bench("--seconds 20 --starts 2"),
    "capacity": Bench("--seconds 10", limit_seconds=240.0),
    "queue": Bench("--waiting 20000 --finished 100000 --jobs 400 --submits 100", program("postgres", "redis-server")),
    "sync": Bench("--jobs 100 1000"),
    "webhooks": Bench("--seconds 10"),
    "processes": Bench("--seconds 4", program("postgres")),
    "streams": Bench("--seconds 12", program("postgres"), 240.0, only_by_name=True),
    "events": Bench("--clients 100 --seconds 4"),
    "ledger": Bench("--entries 100000 --waiting 20000 --running 500", program("postgres")),
    "pages": Bench("--jobs 20000", program("postgres")),
    "million": Bench("--jobs 20000 --sample 100", program("postgres"), 200.0),
    "approvals": Bench("--requests 2000"),
    "click": Bench("--jobs 10 --ticks 3"),
    "notices": Bench("--notices 300"),
    "logging": Bench(),
    "progress": Bench(),
    "curves": Bench("--megabytes 20"),
    "compare": Bench("--steps 40000 --rounds 3"),
    "outputs": Bench("--pictures 200 --gigabytes 1", program("chromium", "curl", "nginx")),
    "log": Bench("--rounds 3", program("chromium")),
    "browser": Bench("--jobs 10000 --loads 3 --seconds 6", program("chromium"), 240.0),
    "slurm": Bench("--jobs 100 --submissions 20", slurm),
    "slurm_click": Bench("--jobs 5", slurm),
    "ray": Bench("--jobs 100 --submissions 20", ray),
    "ray_click": Bench("--jobs 5", ray),
}
