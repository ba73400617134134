"""The site's own checks, by the numbers of their order. Those of the rooms above stand between them."""

from __future__ import annotations

from cloudtrain_site.extensions import DoctorCheck, doctor_checks

DATABASE = "cloudtrain_site.doctor.database"
FILES = "cloudtrain_site.doctor.files"


def register_checks() -> None:
    """Register them. To be called once, when all apps are loaded."""
    add = doctor_checks.register
    add(
        "database",
        DoctorCheck(
            "Does the database answer, and is it new enough?", f"{DATABASE}.answers", "docs/database.md", needs=()
        ),
        order=10,
    )
    add(
        "migrations",
        DoctorCheck("Are the tables those of this version?", f"{DATABASE}.migrations", "docs/deploying.md#upgrades"),
        order=20,
    )
    add(
        "sqlite-machines",
        DoctorCheck(
            "Is SQLite used from one machine alone?",
            f"{DATABASE}.sqlite_on_one_machine",
            "docs/background-tasks.md#several-machines",
            needs=("database", "migrations"),
            cheap=True,
        ),
        order=30,
    )
    add(
        "sqlite-file",
        DoctorCheck("Is the SQLite file in a place fit for it?", f"{DATABASE}.sqlite_file", "docs/database.md"),
        order=40,
    )
    add(
        "data-folder",
        DoctorCheck(
            "Is the data folder writable, and the site's alone?",
            f"{FILES}.data_folder",
            "docs/deploying.md#install",
            needs=(),
        ),
        order=50,
    )
    add(
        "disk",
        DoctorCheck(
            "Is there room for data and temporary files?",
            f"{FILES}.disk_room",
            "docs/deploying.md",
            needs=(),
            cheap=True,
        ),
        order=60,
    )
