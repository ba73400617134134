"""The database that the settings name."""

from __future__ import annotations

from pathlib import Path

from django.db import connection

from cloudtrain_site.backups.databases import Database
from cloudtrain_site.backups.postgresql import PostgreSQL
from cloudtrain_site.backups.sqlite import SQLiteFile


def site_database() -> Database:
    """Return it; nothing connects to it yet."""
    if connection.vendor == "sqlite":
        return SQLiteFile(Path(str(connection.settings_dict["NAME"])).resolve())
    return PostgreSQL.of_settings()
