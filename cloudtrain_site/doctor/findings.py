"""What a check of the deployment finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    OK = "ok"
    WARN = "warn"
    BAD = "bad"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found: sentences, and the command or the line of configuration that mends it."""

    status: Status
    message: str
    remedy: str = ""


def ok(message: str) -> Finding:
    return Finding(Status.OK, message)


def warn(message: str, remedy: str) -> Finding:
    return Finding(Status.WARN, message, remedy)


def bad(message: str, remedy: str) -> Finding:
    return Finding(Status.BAD, message, remedy)


def skipped(why: str) -> Finding:
    return Finding(Status.SKIPPED, why)


def worst_of(statuses: Iterable[Status]) -> Status:
    """Return the worst; none at all is ok, and so is what was skipped only in part."""
    found = set(statuses)
    return next((status for status in (Status.BAD, Status.WARN, Status.OK) if status in found), _without_any(found))


def _without_any(found: set[Status]) -> Status:
    return Status.SKIPPED if found else Status.OK
