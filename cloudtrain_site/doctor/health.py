"""The cheap checks, as a component of the health: all signed-in users read it, so it names checks and no machines."""

from __future__ import annotations

from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.doctor.findings import Status
from cloudtrain_site.doctor.runs import examine
from cloudtrain_site.extensions import doctor_checks

WELL = "The quick checks of the deployment found no problems."


def warning() -> str:
    """Return which of the cheap checks found something, as a sentence; empty: none."""
    names = [name for name, check in doctor_checks.items() if check.cheap]
    found = [name for name in names if examine(name).status in (Status.WARN, Status.BAD)]
    if not found:
        return ""
    return f"Problems found: {', '.join(found)}. `{COMMAND} doctor`, or the page Site, Checks, shows how to fix them."
