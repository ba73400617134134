"""`manage.py up`: web and background in one command, the embedded default."""

from __future__ import annotations

import logging
import os
import socket
import sys
from argparse import ArgumentParser
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DjangoDatabaseError
from django.db import connection

from cloudtrain_site.accounts.first_link import LIFETIME_MINUTES, make_first_link
from cloudtrain_site.conf.data_folder import close_to_others, make_private_file
from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.conf.places import COMMAND, IS_INSTALLED
from cloudtrain_site.conf.web_processes import PROCESSES_HELP, processes_of
from cloudtrain_site.conf.web_processes import VARIABLE as WEB_PROCESSES
from cloudtrain_site.database.connections import place_of_database
from cloudtrain_site.database.sqlite_analyze import refresh_when_grown
from cloudtrain_site.enterprise import get_enterprise_config
from cloudtrain_site.management.commands.background import run_background
from cloudtrain_site.monitoring.process_heartbeats import code_fingerprint
from cloudtrain_site.serving.forks import Fork, load_background, load_web
from cloudtrain_site.serving.processes import kill_group
from cloudtrain_site.serving.supervisor import supervise
from cloudtrain_site.structured_logging.configure import log_to_file
from cloudtrain_site.web import listen, run_web

logger = logging.getLogger("simpletuner.cloud.site")

WHERE_TO_LOOK = """
  Dashboard   {site}/
  Admin       {site}/admin/
  API         {site}/api/docs
  Log file    {log_file}
  Data        {data_dir}
{first_steps}
  Ctrl-C stops everything; running trainings go on, and are found again at the next start.
"""
FIRST_STEPS = """
  There is no account yet. Open this link, which works once within {minutes} minutes, to create the first one:
    {link}
  Later, a new link: {command} first_link
"""
FIRST_COMMAND = """
  There is no account yet, and passwords are switched off. Create the first superuser in another terminal:
    {command} createsuperuser
"""


class Command(BaseCommand):
    """Prepares everything, then becomes the supervisor of the web and background processes."""

    #: The checks need the database, whose folder may be missing yet.
    requires_system_checks = ()
    help = "Migrate the database, and run the web server and the background tasks until Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8001)
        parser.add_argument("--processes", type=int, help=PROCESSES_HELP)

    def handle(self, *args: Any, host: str, port: int, processes: int | None = None, **options: Any) -> None:
        """Listen, prepare, and become the supervisor."""
        processes = processes_of(processes)
        # The web process inherits this socket: the port is taken before anything is changed, and no client is refused
        # while the web process restarts.
        listener = _listen(host, port)
        settings.WEB_PROCESSES = processes
        os.environ[WEB_PROCESSES] = str(processes)
        # What it takes to migrate is gone with a process of its own, and this one loads the rest meanwhile.
        preparing = Fork("prepare", self._prepare)
        try:
            load_background()
            load_web()
            code_fingerprint()  # of what is loaded: a process that is forked later may find newer files
            status = preparing.wait()
        except ConfigurationError:
            # On a full disk both fail: then what is said is about the database, whichever is first.
            if not (status := preparing.wait()):
                raise
        finally:
            kill_group(preparing.pid)
        if status:
            sys.exit(status)
        shown = f"[{host}]" if ":" in host else host
        site = f"http://{shown}:{port}"
        if self.stdout.isatty():
            log_to_file(settings.DATA_DIR / "cloudtrain.log")
            self.stdout.write(_where_to_look(site))
            self.stdout.flush()
        else:
            # Whatever reads it expects lines of the log.
            logger.info("The site is at %s/", site, extra={"data_dir": str(settings.DATA_DIR)})
            if _is_empty():
                logger.warning("There is no account yet. Print the link for the first one: %s first_link", _command())
        _supervise(listener.detach(), processes)

    def _prepare(self) -> int:
        """Check the configuration and create the tables. Returns the exit status: 1 when that is impossible."""
        try:
            self._check_and_migrate()
        except CommandError as error:
            self.stderr.write(f"{type(error).__name__}: {error}", self.style.ERROR)
            return 1
        return 0

    def _check_and_migrate(self) -> None:
        try:
            settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
            _close_to_others()
            self.check()
            if connection.vendor == "sqlite":
                make_private_file(connection.settings_dict["NAME"])
            call_command("migrate", interactive=False, verbosity=0, skip_checks=True)
            # An old database may never have been analyzed, and there is no other writer yet.
            refresh_when_grown()
        except (DjangoDatabaseError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise CommandError(f"The database can't be prepared: {reason} ({place_of_database()}).") from error


def _supervise(listener: int, processes: int) -> None:
    web, worker = {"CLOUDTRAIN_ROLE": "web"}, {"CLOUDTRAIN_ROLE": "worker"}
    supervise(
        listener,
        processes,
        with_background=True,
        fork_web=lambda board, slot: Fork("web", partial(run_web, listener, board, slot), web),
        fork_background=lambda: Fork("background", run_background, worker),
    )


def _close_to_others() -> None:
    """Take from other users what an earlier release, or a restored backup, let them read."""
    paths = [settings.DATA_DIR / "jobs", settings.DATA_DIR / "uploads"]
    if connection.vendor == "sqlite":
        name = connection.settings_dict["NAME"]
        paths += [Path(f"{name}{suffix}") for suffix in ("", "-wal", "-shm")]
    if log_file := os.environ.get("SIMPLETUNER_LOG_FILE"):
        paths.append(Path(log_file))
    if changed := close_to_others(paths):
        logger.warning(
            "Every user of this machine could read these; now only this account can: %s", ", ".join(map(str, changed))
        )


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CommandError(f"Can't listen on {host} port {port}: {reason}. Choose another with --port.") from error


def _where_to_look(site: str) -> str:
    return WHERE_TO_LOOK.format(
        site=site,
        log_file=os.environ["SIMPLETUNER_LOG_FILE"],
        data_dir=settings.DATA_DIR,
        first_steps=_first_steps(site) if _is_empty() else "",
    )


def _first_steps(site: str) -> str:
    if not get_enterprise_config().sign_in.has_local_passwords:
        return FIRST_COMMAND.format(command=_command())
    link = f"{site}{make_first_link()}"
    return FIRST_STEPS.format(command=_command(), link=link, minutes=LIFETIME_MINUTES)


def _is_empty() -> bool:
    return not get_user_model().objects.exists()


def _command() -> str:
    return COMMAND if IS_INSTALLED else f"{sys.executable} {COMMAND}"
