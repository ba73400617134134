"""The tests' database. SQLite's is copied from a run before: to migrate an empty one takes each worker 4 seconds.

The copy's name is a digest of all migrations: after a change of any, all are applied to an empty database.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import django
import pytest
from django.apps import apps
from django.core.management.color import no_style
from django.db import connection, transaction
from django.test import TransactionTestCase

from approvals.models import ApprovalRule
from cloudtrain_site.audit.models import AuditGate
from cloudtrain_site.audit.triggers import GATE
from jobs.models import ProviderConfig
from queueing.models import QueueState

#: Tables whose rows Django makes after a migration, for each model.
MADE_BY_DJANGO = {"auth_permission", "django_content_type"}


@pytest.fixture(scope="session")
def migrated_copy(request: pytest.FixtureRequest) -> Path | None:
    """Where the copy is, or is to be kept; None: nowhere."""
    cache: pytest.Cache | None = getattr(request.config, "cache", None)
    if cache is None or connection.vendor != "sqlite":
        return None
    return cache.mkdir("migrated") / f"{_digest()}.sqlite3"


@pytest.fixture(scope="session")
def django_db_keepdb(migrated_copy: Path | None, django_db_modify_db_settings: None) -> bool:
    """Begin with the copy, if there is one."""
    if migrated_copy is None or not migrated_copy.exists():
        return False
    shutil.copy(migrated_copy, connection.settings_dict["TEST"]["NAME"])
    return True


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any, migrated_copy: Path | None) -> None:
    """An empty database: what migrations put there would be gone after the first test that flushes."""
    with django_db_blocker.unblock():
        ApprovalRule.objects.all().delete()
        QueueState.objects.all().delete()
        ProviderConfig.objects.all().delete()
        if migrated_copy is not None and not migrated_copy.exists():
            _keep(migrated_copy)


def flush(test_case: TransactionTestCase) -> None:
    """Empty the tables after a test that commits. Django's own way makes permissions and content types anew: 25 ms."""
    tables = set(connection.introspection.django_table_names(only_existing=True, include_views=False)) - MADE_BY_DJANGO
    statements = connection.ops.sql_flush(no_style(), sorted(tables - {GATE}), reset_sequences=False)
    with transaction.atomic():
        AuditGate.objects.create()  # or else the database refuses to empty the audit record
        connection.ops.execute_sql_flush(statements)
        AuditGate.objects.all().delete()


TransactionTestCase._fixture_teardown = flush  # type: ignore[attr-defined]


def _keep(copy: Path) -> None:
    """Keep the database as it is now, in the place of what earlier migrations made."""
    draft = copy.with_suffix(f".{os.getpid()}")
    draft.unlink(missing_ok=True)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM INTO %s", [str(draft)])
    for old in copy.parent.glob("*.sqlite3"):
        old.unlink(missing_ok=True)
    draft.replace(copy)


def _digest() -> str:
    digest = hashlib.sha256(django.__version__.encode())
    for app in apps.get_app_configs():
        for path in sorted(Path(app.path, "migrations").glob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
