"""A pytest plugin, loaded before Django's settings are: a data folder of our own, and the database asked for.

`CLOUDTRAIN_TEST_DATABASE=postgresql` runs everything on a private PostgreSQL server; the default is a SQLite file.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, cast

import pytest
from django.conf import settings

from tests import servers

FOLDER = Path(tempfile.mkdtemp(prefix="cloudtrain-test-"))
#: Fixtures that start the real commands on a database of their own.
STACKS = ("stack", "site", "one_site", "life", "fresh", "migrated")
#: Fixtures that start trainings: by the rule of pyproject.toml their tests are slow.
STARTS_PROCESSES = {*STACKS, "trainings", "trainer", "trained"}
#: The files that take longest, about the longest first: a worker that begins one of them last works on alone. Those
#: that start Ray are apart.
LONGEST = (
    "tests/examples/test_cluster_demos.py",
    "tests/test_wheel.py",
    "tests/test_api_contract.py",
    "tests/test_ray_storm.py",
    "tests/test_main_job.py",
    "tests/test_strangers_walk.py",
    "tests/test_roles_walk.py",
    "tests/jobs/providers/ray/test_real.py",
    "tests/browser/test_organization_flow.py",
    "tests/queueing/test_resumed_on_clusters.py",
    "tests/browser/test_job_page.py",
    "tests/browser/test_dashboard.py",
    "tests/cloudtrain_site/structured_logging/test_shipping.py",
    "tests/test_slurm_storm.py",
    "tests/cloudtrain_site/background_tasks/test_manager.py",
)
IS_XDIST_WORKER = "PYTEST_XDIST_WORKER" in os.environ

os.environ["SIMPLETUNER_DATA_DIR"] = str(FOLDER)
CONFIG_FILE = FOLDER / "simpletuner-enterprise.yaml"
CONFIG_FILE.write_text("background:\n")  # one that is named and not there is an error, and an empty one warned of
os.environ["SIMPLETUNER_ENTERPRISE_CONFIG"] = str(CONFIG_FILE)
os.environ["SIMPLETUNER_LOG_LEVEL"] = "INFO"
os.environ["SECRET_KEY"] = "only-for-tests-and-as-long-as-a-key-should-be"
os.environ["REPLICATE_STATUS_URL"] = ""  # the tests ask nobody outside
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


def pytest_configure(config: pytest.Config) -> None:
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        # In memory there is no WAL, and threads get "table is locked" where a file makes them wait.
        database.setdefault("TEST", {})["NAME"] = str(FOLDER / "test.sqlite3")
    # Else each client looks through all static files as it is made: 33 ms of every test.
    settings.WHITENOISE_AUTOREFRESH = True
    if cache := getattr(config, "cache", None):
        # Else each process collects the static files anew, which takes a second and a half.
        staticfiles = cast("dict[str, Any]", settings.STORAGES["staticfiles"])
        staticfiles["OPTIONS"]["folder"] = cache.mkdir("static")
    # The real hasher takes a third of a second for each user that a test makes.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On PostgreSQL, run what touches a database; on SQLite, all but what is about PostgreSQL."""
    for item in items:
        if STARTS_PROCESSES & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
    is_selected = _touches_database if os.environ.get("DATABASE_URL") else _is_not_about_postgresql
    kept = [item for item in items if is_selected(item)]
    config.hook.pytest_deselected(items=[item for item in items if not is_selected(item)])
    # The longest first, so that the workers end together; the Makefile keeps xdist from sorting by number of tests.
    items[:] = sorted(kept, key=_turn)


def _turn(item: pytest.Item) -> tuple[int, bool]:
    file = item.nodeid.partition("::")[0]
    return LONGEST.index(file) if file in LONGEST else len(LONGEST), item.get_closest_marker("slow") is None


def pytest_collection_finish() -> None:
    """Leave what the imports made out of the collections that tests ask for: each would take 0.2 s."""
    gc.freeze()


def _is_not_about_postgresql(item: pytest.Item) -> bool:
    return item.get_closest_marker("postgresql") is None


def _touches_database(item: pytest.Item) -> bool:
    fixtures = {"db", "transactional_db", *STACKS} & set(getattr(item, "fixturenames", ()))
    if item.get_closest_marker("sqlite"):
        return False
    return bool(fixtures) or item.get_closest_marker("django_db") is not None


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    if _server is not None:
        _server.stop()
    shutil.rmtree(FOLDER, ignore_errors=True)
