"""The site's own processes on all machines, by their heartbeats, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.models import SiteProcess
from cloudtrain_site.monitoring.process_heartbeats import SILENT_AFTER, database_time

#: Leases and deadlines are compared with the clocks of all machines.
MAX_CLOCK_OFFSET_SECONDS = 5.0
REMEDY = f"The page Machines and `{COMMAND} machines` show which."


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """A web or background process."""

    machine: str
    role: str
    pid: int
    version: str
    code: str
    started_at: datetime
    seen_at: datetime
    #: How far its clock is ahead of the database's; None: it is the same clock.
    clock_offset_seconds: float | None
    #: It has sent no heartbeat for SILENT_AFTER.
    is_silent: bool
    #: It runs other code than the newest process.
    is_outdated: bool

    @property
    def clock(self) -> str:
        """How far its clock is ahead of the database's, to show; empty: it is the same clock."""
        return "" if self.clock_offset_seconds is None else f"{self.clock_offset_seconds:+.3f} s"

    @property
    def is_clock_off(self) -> bool:
        return abs(self.clock_offset_seconds or 0.0) > MAX_CLOCK_OFFSET_SECONDS


def process_reports() -> list[ProcessReport]:
    """Return every process that the site remembers, by machine."""
    now = database_time()
    rows = list(SiteProcess.objects.all())
    newest = _newest_code([row for row in rows if not _is_silent(row, now)])
    return [
        ProcessReport(
            **{name: getattr(row, name) for name in ("machine", "role", "pid", "version", "code", "started_at")},
            seen_at=row.seen_at,
            clock_offset_seconds=row.clock_offset_seconds,
            is_silent=_is_silent(row, now),
            is_outdated=newest is not None and row.code != newest,
        )
        for row in rows
    ]


def _is_silent(row: SiteProcess, now: datetime) -> bool:
    return now - row.seen_at > SILENT_AFTER


def _newest_code(living: Sequence[SiteProcess]) -> str | None:
    """Return the code of the newest version; of two codes of one version, of the process that was started last."""
    newest = max(living, key=lambda row: (_version_key(row.version), row.started_at), default=None)
    return newest.code if newest else None


def _version_key(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def warning() -> str:
    """Return what is wrong with the machines, without their names, which not everybody needs; empty: nothing."""
    reports = process_reports()
    living = [one for one in reports if not one.is_silent]
    clocks_off = {one.machine for one in living if one.is_clock_off}
    outdated = {one.machine for one in living if one.is_outdated}
    silence = f"sent no heartbeat for {SILENT_AFTER.total_seconds():.0f} s or more"
    off = f"a clock that is off by more than {MAX_CLOCK_OFFSET_SECONDS:g} s: synchronize it with a time server"
    sentences = [
        _counted(silent_machines(reports), ("has", "have"), silence),
        _counted(clocks_off, ("has", "have"), off),
        _counted(outdated, ("runs", "run"), "older code: update and restart it there"),
    ]
    shown = [sentence for sentence in sentences if sentence]
    return " ".join([*shown, REMEDY]) if shown else ""


def silent_machines(reports: Sequence[ProcessReport]) -> set[str]:
    """Return the machines with a role of which no process lives: one that was replaced is not missed."""
    living = {(one.machine, one.role) for one in reports if not one.is_silent}
    return {one.machine for one in reports if (one.machine, one.role) not in living}


def _counted(machines: set[str], verb: tuple[str, str], rest: str) -> str:
    if not machines:
        return ""
    return f"1 machine {verb[0]} {rest}." if len(machines) == 1 else f"{len(machines)} machines {verb[1]} {rest}."
