"""A database for a bench that needs no stack: this process with Django set up on it, and nothing else."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.ending import end_as_by_ctrl_c
from bench.limits import NONE_REACHED
from tests.servers import PostgresServer


@contextmanager
def database(kind: str) -> Iterator[None]:
    """A database of its own, empty but for its tables, and Django set up on it."""
    end_as_by_ctrl_c()
    folder = Path(tempfile.mkdtemp(prefix="cloudtrain-bench-"))
    server = PostgresServer.start() if kind == "postgresql" else None
    os.environ |= {
        "SIMPLETUNER_DATA_DIR": str(folder),
        "SIMPLETUNER_LOG_LEVEL": "CRITICAL",
        **NONE_REACHED,
        "DATABASE_URL": server.url if server else f"sqlite:///{folder / 'bench.sqlite3'}",
    }
    try:
        set_up_django()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        yield
    finally:
        if server:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def set_up_django() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "cloudtrain_site.settings"
    import django

    django.setup()
