"""A pytest plugin, loaded before Django's settings are: a data folder of our own, and the database asked for.

`CLOUDTRAIN_TEST_DATABASE=postgresql` runs everything on a private PostgreSQL server; the default is a SQLite file.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from django.conf import settings

from tests import servers

FOLDER = Path(tempfile.mkdtemp(prefix="cloudtrain-test-"))
IS_XDIST_WORKER = "PYTEST_XDIST_WORKER" in os.environ

os.environ["SIMPLETUNER_DATA_DIR"] = str(FOLDER)
CONFIG_FILE = FOLDER / "simpletuner-enterprise.yaml"
CONFIG_FILE.touch()  # a file that is named and not there is an error
os.environ["SIMPLETUNER_ENTERPRISE_CONFIG"] = str(CONFIG_FILE)
os.environ["SIMPLETUNER_LOG_LEVEL"] = "INFO"
os.environ["SECRET_KEY"] = "only-for-tests"
for name in ("REPLICATE_API_TOKEN", "REPLICATE_BASE_URL", "REDIS_URL", "SIMPLETUNER_JOB_POLL_INTERVAL"):
    os.environ.pop(name, None)

_server: servers.PostgresServer | None = None
if IS_XDIST_WORKER:
    pass  # DATABASE_URL is inherited from the process that started the server
elif os.environ.get("CLOUDTRAIN_TEST_DATABASE") == "postgresql":
    _server = servers.PostgresServer.start()
    os.environ["DATABASE_URL"] = _server.url
else:
    os.environ.pop("DATABASE_URL", None)


def pytest_report_header() -> str:
    return f"database: {'postgresql' if os.environ.get('DATABASE_URL') else 'sqlite'}"


def pytest_configure() -> None:
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        # In memory there is no WAL, and threads get "table is locked" where a file makes them wait.
        database.setdefault("TEST", {})["NAME"] = str(FOLDER / "test.sqlite3")
    # The real hasher takes a third of a second for each user that a test makes.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    if _server is not None:
        _server.stop()
    shutil.rmtree(FOLDER, ignore_errors=True)
