"""The checks of what surrounds the processes: static files, log file, limits."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders

from cloudtrain_site.conf.environment import path_of
from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.doctor.disks import as_size
from cloudtrain_site.doctor.findings import Finding, bad, ok, skipped, warn
from cloudtrain_site.monitoring.process_heartbeats import MACHINE, WEB, living_processes
from cloudtrain_site.serving.static_files import HashedFiles

#: Nothing has rotated a file of this size.
LARGE_LOG_BYTES = 1_000_000_000
FEWEST_FILES = 8192
LIMITS = "/proc/{pid}/limits"


def static_files() -> Iterator[Finding]:
    """Check that a proxy that serves static files has those of this version. The site collects its own at a start."""
    if not settings.STATIC_ROOT:
        yield skipped("The site serves its own static files (STATIC_ROOT is not set).")
        return
    collected = HashedFiles(location=settings.STATIC_ROOT)
    mend = f"{COMMAND} collectstatic --noinput"
    if not collected.hashed_files:
        yield bad(f"{settings.STATIC_ROOT} has no list of collected files.", mend)
        return
    names = [name for finder in get_finders() for name, _ in finder.list(None)]
    stored = {name: collected.hashed_files.get(collected.hash_key(name), "") for name in names}
    missing = [
        name for name, hashed in stored.items() if not hashed or not (Path(settings.STATIC_ROOT) / hashed).is_file()
    ]
    if missing:
        yield bad(f"{len(missing)} files are missing in {settings.STATIC_ROOT}, {missing[0]} among them.", mend)
    yield ok(f"{len(names)} files are in {settings.STATIC_ROOT}.")


def log_file() -> Iterator[Finding]:
    """Check that the log file can be written to and is rotated."""
    named = os.environ.get("SIMPLETUNER_LOG_FILE")
    path = path_of(named) if named else settings.DATA_DIR / "cloudtrain.log"
    if not path.is_file():
        yield skipped("The log goes to the standard output." if not named else f"{path} does not exist yet.")
        return
    if not os.access(path, os.W_OK, effective_ids=True):
        yield bad(
            f"This account can't write to {path}: lines are lost.",
            f"sudo chown {os.geteuid()} {shlex.quote(str(path))}",
        )
    size = path.stat().st_size
    if size > LARGE_LOG_BYTES:
        yield warn(
            f"{path} has {as_size(size)}: nothing rotates it.",
            f"printf '%s {{\\n daily\\n rotate 14\\n compress\\n}}\\n' {shlex.quote(str(path))} "
            "| sudo tee /etc/logrotate.d/cloudtrain",
        )
    yield ok(f"{path} has {as_size(size)}.")


def open_files() -> Iterator[Finding]:
    """Check how many files the web processes of this machine may open: each event stream is one."""
    limits = {}
    for pid in living_processes(WEB).filter(machine=MACHINE).values_list("pid", flat=True):
        if (limit := _open_files_of(pid)) is not None:
            limits[pid] = limit
    if not limits:
        yield skipped("No web process is running on this machine.")
        return
    fewest = min(limits.values())
    if fewest < FEWEST_FILES:
        yield warn(
            f"A web process can open only {fewest:,} files: with more open pages, requests are refused.",
            "LimitNOFILE=8192 in the service's [Service]",
        )
    yield ok(f"A web process can open {fewest:,} files.")


def _open_files_of(pid: int) -> int | None:
    try:
        text = Path(LIMITS.format(pid=pid)).read_text()
    except OSError:
        return None
    line = next((line for line in text.splitlines() if line.startswith("Max open files")), "")
    soft = line.removeprefix("Max open files").split()
    return int(soft[0]) if soft and soft[0].isdecimal() else None
