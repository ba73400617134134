"""What commands and trainings make is for the site's own account alone."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from cloudtrain_site.conf.data_folder import close_to_others
from cloudtrain_site.management.commands import up
from tests.cloudtrain_site.process_stacks import MANAGE

pytestmark = pytest.mark.slow


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def run(data: Path, *arguments: str, **environment: str) -> None:
    own = {"SIMPLETUNER_DATA_DIR": str(data), "DATABASE_URL": f"sqlite:///{data}/cloudtrain.sqlite3", **environment}
    subprocess.run([*MANAGE, *arguments], env=os.environ | own, check=True, capture_output=True, umask=0o022)


@pytest.mark.slow
def test_a_command_on_a_fresh_folder_makes_private_files(tmp_path: Path) -> None:
    data, log = tmp_path / "data", tmp_path / "cloud.log"
    run(data, "migrate", SIMPLETUNER_LOG_FILE=str(log))
    made = [data, log, *data.rglob("*")]
    assert data / "cloudtrain.sqlite3" in made
    assert [path for path in made if mode_of(path) & 0o077] == []


@pytest.mark.slow
def test_static_files_are_for_the_proxy(tmp_path: Path) -> None:
    static = tmp_path / "static"
    run(tmp_path / "data", "collectstatic", "--noinput", STATIC_ROOT=str(static))
    assert {mode_of(path) for path in [static, *static.rglob("*")]} == {0o755, 0o644}


@pytest.mark.parametrize(("before", "after"), [(0o644, 0o600), (0o755, 0o700), (0o604, 0o600)])
def test_what_every_user_can_read_is_closed(tmp_path: Path, before: int, after: int) -> None:
    path = tmp_path / "database"
    path.touch()
    path.chmod(before)
    assert close_to_others([path, tmp_path / "missing"]) == [path]
    assert mode_of(path) == after
    assert close_to_others([path]) == []


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660])
def test_what_a_group_alone_was_given_stays(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "cloud.log"
    path.touch()
    path.chmod(mode)
    assert close_to_others([path]) == []
    assert mode_of(path) == mode


@pytest.mark.django_db
def test_up_closes_what_it_finds_open_and_says_so_once(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DATA_DIR = tmp_path
    log, jobs, uploads = tmp_path / "cloud.log", tmp_path / "jobs", tmp_path / "uploads"
    log.touch()
    log.chmod(0o644)
    jobs.mkdir()
    jobs.chmod(0o755)
    uploads.mkdir(0o700)
    monkeypatch.setenv("SIMPLETUNER_LOG_FILE", str(log))
    up._close_to_others()
    up._close_to_others()
    assert [mode_of(path) for path in (log, jobs, uploads)] == [0o600, 0o700, 0o700]
    (message,) = [record.getMessage() for record in caplog.records]
    assert str(jobs) in message
    assert str(log) in message
    assert str(uploads) not in message


@pytest.mark.sqlite
@pytest.mark.django_db
def test_up_closes_the_database(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DATA_DIR = tmp_path
    names = ["db.sqlite3", "db.sqlite3-wal", "db.sqlite3-shm"]
    for name in names:
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o644)
    monkeypatch.setitem(connection.settings_dict, "NAME", str(tmp_path / names[0]))
    up._close_to_others()
    assert {mode_of(tmp_path / name) for name in names} == {0o600}
