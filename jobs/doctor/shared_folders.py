"""The check that a cluster's shared folder is the same on all machines of the site: each leaves a mark in it."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

from cloudtrain_site.doctor.findings import Finding, bad, ok, skipped
from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.monitoring.process_heartbeats import BACKGROUND, MACHINE, living_processes

logger = logging.getLogger("simpletuner.cloud.providers")

MARKS = ".machines"
MARK_SECONDS = 60.0
OLD_SECONDS = 5 * MARK_SECONDS


def leave_marks() -> None:
    """Renew this machine's mark in each shared folder that is there. Called by the background of each machine."""
    for folder in shared_folders():
        try:
            if folder.is_dir():
                (folder / MARKS).mkdir(mode=0o770, exist_ok=True)
                (folder / MARKS / _name(MACHINE)).touch()
        except OSError as error:
            logger.debug("No mark could be left", extra={"folder": str(folder), "error": str(error)})


def shared_folders() -> list[Path]:
    instances = config_in_force().instances.values()
    return sorted({folder for one in instances if (folder := getattr(one, "shared_folder", None))})


def are_shared() -> Iterator[Finding]:
    """Check that the marks of all machines with a background are seen from here."""
    folders = shared_folders()
    if not folders:
        yield skipped("No cluster has a shared folder.")
        return
    machines = set(living_processes(BACKGROUND).values_list("machine", flat=True))
    for folder in folders:
        if not folder.is_dir():
            yield bad(f"{folder} is missing here.", f"mount {folder}")
            continue
        missing = sorted(machine for machine in machines if not _is_marked(folder, machine))
        # One that has just begun has not come to it.
        if missing and len(machines) > 1:
            yield bad(
                f"{folder} here is not the same folder as on {', '.join(missing)}.", f"mount {folder}, on that machine"
            )
        yield ok(f"{folder} is here.")


def _is_marked(folder: Path, machine: str) -> bool:
    try:
        return time.time() - (folder / MARKS / _name(machine)).stat().st_mtime < OLD_SECONDS
    except OSError:
        return False


def _name(machine: str) -> str:
    return re.sub(r"[^\w.-]", "_", machine)
