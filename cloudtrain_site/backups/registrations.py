"""The site's own parts of the data folder, its statements for a restored database, and the check of backups."""

from __future__ import annotations

from cloudtrain_site.backups.manifest import RECORD, REPLACED, STAGE
from cloudtrain_site.conf.data_folder import KEY_FILE
from cloudtrain_site.conf.occupancy import RESTORING
from cloudtrain_site.extensions import DataPart, DoctorCheck, data_parts, doctor_checks, restore_statements


def register_backups() -> None:
    """Register them. To be called once, when all apps are loaded."""
    data_parts.register("keys", DataPart("the key, which is kept apart", (KEY_FILE, f".{KEY_FILE}.*"), is_kept=False))
    data_parts.register("static", DataPart("collected static files", ("static",), is_kept=False))
    marks = (RECORD, RESTORING, f"{STAGE}*", f"{REPLACED}*", ".doctor-*")
    data_parts.register("marks", DataPart("marks of backups, and what they replaced", marks, is_kept=False))
    # The processes that ran when the backup was made are gone: a task that one of them had begun is due again at once,
    # and would otherwise wait until its lock is old.
    restore_statements.register("tasks", "UPDATE django_q_ormq SET lock = CURRENT_TIMESTAMP")
    restore_statements.register("heartbeats", "DELETE FROM cloudtrain_site_siteprocess")
    check = DoctorCheck(
        "Is the newest backup younger than a day?", "cloudtrain_site.backups.checks.backups", "docs/backups.md", ()
    )
    doctor_checks.register("backups", check, order=310)
