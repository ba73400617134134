"""Django's command line for cloudtrain: `manage.py` in a checkout, `cloudtrain` where it is installed."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext

from django.core.management import execute_from_command_line
from django.db import DatabaseError

from cloudtrain_site import __version__
from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.correlation_ids import command_correlation
from cloudtrain_site.structured_logging.configure import prints_answer


def main() -> None:
    """Run the command; a setting that can't be used ends it with a sentence in place of a traceback."""
    if sys.argv[1:] in (["--version"], ["version"]):  # Django would tell its own
        print(f"cloudtrain {__version__}")  # noqa: T201 - the answer
        return
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cloudtrain_site.settings")
    # One id for all that a command does. A server's is made anew for each piece of its work.
    work = command_correlation() if prints_answer(sys.argv) else nullcontext()
    try:
        with work:
            execute_from_command_line(sys.argv)
    except ConfigurationError as error:
        sys.exit(str(error))
    except DatabaseError as error:
        if not _lacks_tables(error):
            raise
        sys.exit(f"The database has no tables yet. Run first: {COMMAND} migrate ({COMMAND} up does it by itself).")


def _lacks_tables(error: DatabaseError) -> bool:
    """Whether it failed because nobody has migrated: in SQLite's words, or in PostgreSQL's."""
    return "no such table" in str(error) or ("relation" in str(error) and "does not exist" in str(error))


if __name__ == "__main__":
    sys.argv[0] = "cloudtrain"  # Django names it in its help; what prints an answer is told by it
    main()
