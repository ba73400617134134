"""Bad settings in the environment: each a sentence, and never the value."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloudtrain_site.conf.environment import ConfigurationError, Environment
from tests.servers import free_port


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.delenv("X", raising=False)
    return Environment()


@pytest.mark.parametrize("text", ["two", "0", "-1", "1.5", "", "１２"])
def test_a_bad_number_is_refused(env: Environment, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("X", text)
    with pytest.raises(ConfigurationError, match="X must be a whole number above 0"):
        env.whole_number("X", default=2)


@pytest.mark.parametrize(("text", "on"), [("true", True), ("YES", True), ("1", True), ("off", False), ("", False)])
def test_a_switch_is_on_or_off(env: Environment, monkeypatch: pytest.MonkeyPatch, text: str, on: bool) -> None:
    monkeypatch.setenv("X", text)
    assert env.switch("X", default=not on) is on


def test_a_switch_that_is_neither_is_refused(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", "maybe")
    with pytest.raises(ConfigurationError, match="X must be true or false"):
        env.switch("X", default=False)


@pytest.mark.parametrize(
    "text", ["nonsense", "mysql://u:secret@h/db", "postgres://u:secret@h:port/db", "http://u:secret@x"]
)
def test_a_bad_database_is_refused_without_its_password(
    env: Environment, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("X", text)
    with pytest.raises(ConfigurationError, match="X must be one of: sqlite:///PATH") as caught:
        env.database("X", default="sqlite:///x")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["foo://x", "nonsense"])
def test_a_bad_mail_server_is_refused(env: Environment, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("X", text)
    with pytest.raises(ConfigurationError, match="X must begin with one of: smtp"):
        env.mail("X", default="consolemail://")


def test_a_bad_redis_is_refused(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", "foo://u:secret@x")
    with pytest.raises(ConfigurationError, match="X must begin with one of: redis://, rediss://, unix://") as caught:
        env.redis("X")
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("X", "redis://:secret@host:6379/0")
    assert env.redis("X") == "redis://:secret@host:6379/0"
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigurationError, match="X needs the package redis, which is not installed: pip install redi"):
        env.redis("X")


def test_what_is_not_set_is_the_default(env: Environment) -> None:
    assert env.whole_number("X", default=2) == 2
    assert env.switch("X", default=True) is True
    assert env.database("X", default="sqlite:///x")["NAME"] == "x"
    assert env.redis("X") == ""


@pytest.mark.slow
def test_a_data_folder_may_be_named_from_home(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "SIMPLETUNER_DATA_DIR": "~/data"}
    command = [sys.executable, "manage.py", "show_config"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "data").is_dir()
    assert f"SIMPLETUNER_DATA_DIR                             {tmp_path}/data " in done.stdout


@pytest.mark.slow
def test_a_command_ends_with_the_sentence_alone() -> None:
    command = [sys.executable, "manage.py", "check"]
    environment = {**os.environ, "DATABASE_URL": "nonsense"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("DATABASE_URL must be one of: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_web_process_ends_with_the_sentence_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cloudtrain_site.web", "--port", str(free_port())]
    environment = {**os.environ, "SIMPLETUNER_LOG_FILE": str(tmp_path / "no" / "such" / "cloud.log")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"The log file {tmp_path}/no/such/cloud.log can't be written to (No such file")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_web_process_refuses_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "enterprise.yaml"
    path.write_text("background:\n  job_status_polling:\n    enabled: maybe\n")
    command = [sys.executable, "-m", "cloudtrain_site.web", "--port", str(free_port())]
    environment = {**os.environ, "SIMPLETUNER_ENTERPRISE_CONFIG": str(path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{path}, line 3: `background.job_status_polling.enabled` is maybe, but it must be")


@pytest.mark.slow
def test_a_command_before_the_first_migration_says_what_to_do(tmp_path: Path) -> None:
    command = [sys.executable, "manage.py", "create_api_key", "alice"]
    environment = {**os.environ, "SIMPLETUNER_DATA_DIR": str(tmp_path), "DATABASE_URL": f"sqlite:///{tmp_path}/x"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("The database has no tables yet. Run first: manage.py migrate")
