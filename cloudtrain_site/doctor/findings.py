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
    """Return the worst; a check without findings is ok, and so is one of which only a part was skipped."""
    found = set(statuses)
    order = (Status.BAD, Status.WARN, Status.OK, Status.SKIPPED)
    return next((status for status in order if status in found), Status.OK)
