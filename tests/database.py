"""The databases of the tests: copies of one that was migrated once, for all workers of this run and of the next."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import django
import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.core.management.color import no_style
from django.db import connection, transaction
from django.test import TransactionTestCase

from approvals.models import ApprovalRule
from cloudtrain_site import audit, database
from cloudtrain_site.audit.models import AuditGate
from cloudtrain_site.audit.triggers import GATE
from cloudtrain_site.conf.places import BASE_DIR
from jobs.models import ProviderConfig
from queueing.models import QueueState

#: Tables whose rows Django makes after a migration, for each model.
MADE_BY_DJANGO = {"auth_permission", "django_content_type"}
#: The database of the private PostgreSQL server that the others are copies of.
TEMPLATE = "migrated"


def migrated_file(config: pytest.Config) -> Path:
    """Return a SQLite file with the tables, and the rows that a new database begins with. Nobody may write to it.

    Its name is a digest of all migrations: after a change of any it is made anew. The other workers wait for that.
    """
    cache: pytest.Cache | None = getattr(config, "cache", None)
    folder = cache.mkdir("migrated") if cache else Path(settings.DATA_DIR)
    file = folder / f"{_digest()}.sqlite3"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            for old in folder.glob("*.sqlite3"):
                old.unlink()
            with TemporaryDirectory(dir=folder) as data:
                _migrate(SIMPLETUNER_DATA_DIR=data)
                Path(data, "cloudtrain.sqlite3").rename(file)
    return file


def migrated_template(server: str) -> str:
    """Return the address of such a database on the PostgreSQL server at `server`. Nobody may connect to it."""
    address = server.rpartition("/")[0]
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute("SELECT pg_advisory_lock(1)")
        if not admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [TEMPLATE]).fetchone():
            admin.execute("DROP DATABASE IF EXISTS migrating")
            admin.execute("CREATE DATABASE migrating")
            _migrate(DATABASE_URL=f"{address}/migrating")
            admin.execute(f"ALTER DATABASE migrating RENAME TO {TEMPLATE}")
    return f"{address}/{TEMPLATE}"


@pytest.fixture(scope="session")
def django_db_setup(
    request: pytest.FixtureRequest, django_test_environment: None, django_db_blocker: Any
) -> Iterator[None]:
    """An empty database: what migrations put there would be gone after the first test that flushes."""
    server = os.environ.get("DATABASE_URL")
    name = f"test_{os.getpid()}" if server else settings.DATABASES["default"]["TEST"]["NAME"]
    if server:
        migrated_template(server)
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    else:
        shutil.copyfile(migrated_file(request.config), name)
    settings.DATABASES["default"]["NAME"] = connection.settings_dict["NAME"] = name
    with django_db_blocker.unblock():
        ApprovalRule.objects.all().delete()
        QueueState.objects.all().delete()
        ProviderConfig.objects.all().delete()
    yield
    if server:
        with django_db_blocker.unblock():
            connection.close()
            connection.close_pool()  # type: ignore[attr-defined]
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


#: The index of jobs' names, no model's table. The product deletes no job's row, and so no name in it.
NAMES_OF_SQLITE = "jobs_jobname"


def flush(test_case: TransactionTestCase) -> None:
    """Empty the tables after a test that commits. Django's own way makes permissions and content types anew: 25 ms."""
    tables = set(connection.introspection.django_table_names(only_existing=True, include_views=False)) - MADE_BY_DJANGO
    statements = connection.ops.sql_flush(no_style(), sorted(tables - {GATE}), reset_sequences=False)
    if NAMES_OF_SQLITE in connection.introspection.table_names():
        statements.append(f"DELETE FROM {NAMES_OF_SQLITE}")
    with transaction.atomic():
        AuditGate.objects.create()  # or else the database refuses to empty the audit record
        connection.ops.execute_sql_flush(statements)
        AuditGate.objects.all().delete()


TransactionTestCase._fixture_teardown = flush  # type: ignore[attr-defined]


def _migrate(**place: str) -> None:
    """Migrate an empty database, as an operator does."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", *place)}
    command = [sys.executable, str(BASE_DIR / "manage.py"), "migrate", "--verbosity=0", "--skip-checks"]
    subprocess.run(command, env={**inherited, **place}, check=True)


def _digest() -> str:
    """Of the migrations and of what of ours they import to make triggers and tables."""
    folders = [Path(app.path, "migrations") for app in apps.get_app_configs()]
    digest = hashlib.sha256(django.__version__.encode())
    packages = [Path(package.__path__[0]) for package in (audit, database)]
    files = [path for folder in (*folders, *packages) for path in sorted(folder.glob("*.py"))]
    files += sorted(BASE_DIR.glob("jobs/costs/*_marks.py"))
    for path in (*files, BASE_DIR / "jobs/curves/last_losses.py", BASE_DIR / "jobs/finding/name_index.py"):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
