"""The site's own checks, in their order. Those of the rooms above stand between them."""

from __future__ import annotations

from cloudtrain_site.extensions import DoctorCheck, doctor_checks

ROOM = "cloudtrain_site.doctor"
TABLES, ADDRESS = ("database", "migrations"), ("public-address",)
MACHINES, WRONG = "background-tasks.md#several-machines", "background-tasks.md#when-something-is-wrong"
PROXY, INSTALL, UPGRADES = (f"deploying.md#{part}" for part in ("the-proxy", "install", "upgrades"))
ROTATION, SYSTEMD = "logging.md#rotation-and-shipping", "background-tasks.md#systemd"
SETTINGS = "background-tasks.md#settings"
#: Of each: order, name, question, function, page of the documentation, and the checks that it needs.
CHECKS: tuple[tuple[int, str, str, str, str, tuple[str, ...]], ...] = (
    (10, "database", "Does the database answer, and is it new enough?", "database.answers", "database.md", ()),
    (20, "migrations", "Do the tables match this version?", "database.migrations", UPGRADES, ("database",)),
    (30, "sqlite-machines", "Is an SQLite file used from one machine?", "database.one_machine", MACHINES, TABLES),
    (40, "sqlite-file", "Is the SQLite file on a suitable disk?", "database.sqlite_file", "database.md", ("database",)),
    (50, "data-folder", "Is the data folder writable, and only for the site?", "files.data_folder", INSTALL, ()),
    (60, "disk", "Is there room for data and temporary files?", "files.disk_room", INSTALL, ()),
    (
        70,
        "secret-key",
        "Is SECRET_KEY hard to guess, and the same on all machines?",
        "keys.secret_key",
        MACHINES,
        TABLES,
    ),
    (80, "sealed-secrets", "Can stored secrets be decrypted?", "keys.sealed_secrets", "backups.md", TABLES),
    (90, "settings", "Are the settings safe for a public site?", "configuration.site_settings", PROXY, ()),
    (100, "public-address", "Does the site's public address work?", "public.address", PROXY, TABLES),
    (110, "client-address", "Does the site see clients' addresses?", "public.client", PROXY, ADDRESS),
    (120, "event-stream", "Does the proxy pass on events at once?", "public.event_stream", PROXY, ADDRESS),
    (130, "events", "Do events of one process reach the others?", "events.reach_streams", WRONG, TABLES),
    (140, "uploads", "Does the proxy pass on the largest uploads?", "public.uploads", PROXY, ADDRESS),
    (150, "background", "Do the background loops run on time?", "background.is_alive", WRONG, TABLES),
    (160, "tasks", "Does each task run soon, and only once?", "background.tasks", WRONG, TABLES),
    (170, "clocks", "Are the machines' clocks right?", "background.clocks", MACHINES, TABLES),
    (180, "configuration", "Are configuration file and environment valid?", "configuration.valid", SETTINGS, ()),
    (235, "mail", "Can mail be sent?", "mail.goes_out", "notices.md#mail", TABLES),
    (270, "versions", "Do all processes run the same version?", "background.versions", UPGRADES, TABLES),
    (280, "static-files", "Do the static files match this version?", "operation.static_files", PROXY, ()),
    (290, "log-file", "Is the log file writable and rotated?", "operation.log_file", ROTATION, ()),
    (295, "traces", "Does the collector accept our traces?", "traces.arrive", "monitoring.md#traces", ()),
    (300, "open-files", "Can the web processes open enough files?", "operation.open_files", SYSTEMD, TABLES),
)
CHEAP = frozenset(("sqlite-machines", "disk", "secret-key"))


def register_checks() -> None:
    """Register them. To be called once, when all apps are loaded."""
    for order, name, question, function, page, needs in CHECKS:
        check = DoctorCheck(question, f"{ROOM}.{function}", f"docs/{page}", needs, cheap=name in CHEAP)
        doctor_checks.register(name, check, order=order)
