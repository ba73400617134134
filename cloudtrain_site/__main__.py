"""Django's command line for cloudtrain: `manage.py` in a checkout, `cloudtrain` where it is installed."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import nullcontext

import django
from django.core.management import execute_from_command_line
from django.db import DatabaseError

from cloudtrain_site import __version__
from cloudtrain_site.conf.data_folder import make_files_private
from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.conf.occupancy import SERVING
from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.correlation_ids import command_correlation
from cloudtrain_site.serving.inspection import forbid_inspection
from cloudtrain_site.serving.lean_imports import load_lean_libraries
from cloudtrain_site.structured_logging.configure import prints_answer


def main() -> None:
    """Run the command; an invalid setting ends it with a sentence in place of a traceback."""
    if sys.argv[1:] in (["--version"], ["version"]):  # Django would print its own
        print(f"cloudtrain {__version__}")  # noqa: T201 - the answer
        return
    forbid_inspection()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cloudtrain_site.settings")
    if sys.argv[1:2] != ["collectstatic"]:  # its files are for the proxy
        make_files_private()
    # One id for the whole command. A server makes a new one for each piece of its work.
    work = command_correlation() if prints_answer(sys.argv) else nullcontext()
    try:
        if SERVING.intersection(sys.argv[1:2]):
            load_lean_libraries()
        _load()
        with work:
            execute_from_command_line(sys.argv)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2 if sys.argv[1:2] == ["doctor"] else 1)  # to the doctor it is a fault
    except DatabaseError as error:
        if not _lacks_tables(error):
            raise
        sys.exit(f"The database has no tables yet. Run first: {COMMAND} migrate ({COMMAND} up does it by itself).")


def _load() -> None:
    """Load libraries and models. They stay: to look through them for garbage takes half of a command."""
    gc.disable()
    try:
        django.setup()
    finally:
        gc.freeze()
        gc.enable()


def _lacks_tables(error: DatabaseError) -> bool:
    """Whether the migrations are missing, by the message of SQLite or PostgreSQL."""
    return "no such table" in str(error) or ("relation" in str(error) and "does not exist" in str(error))


if __name__ == "__main__":
    sys.argv[0] = "cloudtrain"  # for Django's help, and for prints_answer
    main()
