"""`manage.py show_config`: every value, its source, and no secret."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from django.core.management import call_command

from cloudtrain_site import enterprise, redaction
from cloudtrain_site.conf.data_folder import kept_secret_key
from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.conf.variables import VARIABLES
from cloudtrain_site.conf.yaml_schema import Kind, Named, Schema
from cloudtrain_site.management.commands.show_config import FILE_KEYS
from tests.cloudtrain_site.conftest import ROOT


@pytest.fixture(autouse=True)
def enterprise_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "enterprise.yaml"
    path.write_text("background:\n  queue_processing:\n    interval_seconds: 7\n")
    monkeypatch.setenv("SIMPLETUNER_ENTERPRISE_CONFIG", str(path))
    return path


def shown() -> dict[str, tuple[str, str]]:
    """Name to value and source."""
    output = io.StringIO()
    call_command("show_config", "--json", stdout=output)
    return {row["name"]: (row["value"], row["source"]) for row in json.loads(output.getvalue())}


def keys_of(schema: Kind | Named | Schema, key: str = "") -> set[str]:
    """The keys that every file may have; those of names of the operator's choice are not among them."""
    if isinstance(schema, Kind):
        return {key}
    keys = schema.fixed if isinstance(schema, Named) else schema
    return {found for name, inner in keys.items() for found in keys_of(inner, f"{key}.{name}".lstrip("."))}


def test_a_default_says_so() -> None:
    assert shown()["background.job_status_polling.interval_seconds"] == ("30", "default")


def test_a_value_of_the_file_says_its_line(enterprise_file: Path) -> None:
    assert shown()["background.queue_processing.interval_seconds"] == ("7", f"{enterprise_file}:3")


def test_a_value_of_the_environment_says_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMPLETUNER_JOB_POLL_INTERVAL", "60")
    variable = "environment SIMPLETUNER_JOB_POLL_INTERVAL"
    assert shown()["background.job_status_polling.interval_seconds"] == ("60", variable)


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://bob:MARK@host/db")
    monkeypatch.setenv("REPLICATE_API_TOKEN", "MARK")
    rows = shown()
    assert rows["DATABASE_URL"] == ("postgres://bob:***@host/db", "environment DATABASE_URL")
    assert rows["REPLICATE_API_TOKEN"] == ("***", "environment REPLICATE_API_TOKEN")
    assert rows["SECRET_KEY"][0] == "***"
    assert "MARK" not in json.dumps(rows)


def test_paths_below_the_working_folder_are_readable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(redaction, "_known_secrets", redaction._KnownSecrets())
    folder = tmp_path / "a-working-folder"
    monkeypatch.setenv("SIMPLETUNER_LOG_FILE", str(folder / "cloud.log"))
    redaction.register_secrets_of({"PWD": str(folder)})
    assert shown()["SIMPLETUNER_LOG_FILE"][0] == str(folder / "cloud.log")


def test_that_a_secret_is_not_set_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPLICATE_API_TOKEN", raising=False)
    assert shown()["REPLICATE_API_TOKEN"] == ("(not set)", "default")


def test_a_status_page_of_nobody_is_said_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPLICATE_STATUS_URL", "")
    assert shown()["REPLICATE_STATUS_URL"] == ("(none)", "environment REPLICATE_STATUS_URL")
    monkeypatch.delenv("REPLICATE_STATUS_URL")
    assert shown()["REPLICATE_STATUS_URL"] == ("(its own)", "default")


def test_every_variable_that_the_settings_read_is_shown() -> None:
    source = (ROOT / "cloudtrain_site/settings.py").read_text()
    read = set(re.findall(r'\benv(?:iron)?\.\w+\(\s*"([A-Z_]+)"', source))
    assert len(read) > 10
    assert read <= set(VARIABLES)


def test_the_table_for_people_has_a_line_for_each() -> None:
    output = io.StringIO()
    call_command("show_config", stdout=output)
    lines = output.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == [*VARIABLES, enterprise.PATH_VARIABLE, *FILE_KEYS]


def test_every_key_of_the_file_is_shown() -> None:
    assert set(FILE_KEYS) == keys_of(enterprise.SCHEMA)


DECLARED = """
providers:
  key-lab:
    kind: slurm
    address: http://10.0.0.6:6820
    user: trainer
    key_file: /etc/jwt_hs256.key
    shared_folder: /mnt/shared
    command: ["{python}", "train.py"]
    hardware:
      h100: {gpus: 8, cost_per_second: 0}
      any: {}
  studio:
    kind: ray
    address: http://10.0.0.5:8265
    token: ${STUDIO}
    command: [train]
    hardware: {any: {}}
  open:
    kind: ray
    address: http://10.0.0.7:8265
    command: [train]
    hardware: {any: {}}
"""


def test_declared_providers_are_shown_with_their_lines_and_without_their_secrets(
    enterprise_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO", "MARK-of-the-studio")
    enterprise_file.write_text(DECLARED)
    rows = shown()
    assert "MARK" not in json.dumps(rows)
    lab = {key.removeprefix("providers.key-lab."): row for key, row in rows.items() if "key-lab" in key}
    assert lab == {
        "kind": ("slurm", f"{enterprise_file}:4"),
        "label": ("key-lab", "default"),
        "address": ("http://10.0.0.6:6820", f"{enterprise_file}:5"),
        "user": ("trainer", f"{enterprise_file}:6"),
        "token": ("(not set)", "default"),
        "key_file": ("/etc/jwt_hs256.key", f"{enterprise_file}:7"),
        "shared_folder": ("/mnt/shared", f"{enterprise_file}:8"),
        "command": ('["{python}", "train.py"]', f"{enterprise_file}:9"),
        "python": ("python3", "default"),
        "grace_seconds": ("30", "default"),
        "max_running": ("(not set)", "default"),
        "account": ("(not set)", "default"),
        "qos": ("(not set)", "default"),
        "hardware.h100": ('{"gpus": 8, "cost_per_second": "0"}', f"{enterprise_file}:11"),
        "hardware.any": ('{"cost_per_second": null}', f"{enterprise_file}:12"),
    }
    assert rows["providers.studio.token"] == ("(set)", f"{enterprise_file}:16")
    assert rows["providers.open.token"] == ("(not set)", "default")


def test_a_bad_file_is_told_after_what_comes_before_it(enterprise_file: Path) -> None:
    enterprise_file.write_text("background: 3\n")
    output = io.StringIO()
    with pytest.raises(ConfigurationError, match="line 1: `background` must hold"):
        call_command("show_config", stdout=output)
    assert "SIMPLETUNER_LOG_LEVEL" in output.getvalue()


def test_a_data_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"The data folder .* can't be used .*SIMPLETUNER_DATA_DIR"):
        kept_secret_key(tmp_path / "file" / "data")


def test_a_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    assert kept_secret_key(tmp_path / "data") == kept_secret_key(tmp_path / "data")
    assert (tmp_path / "data" / "secret_key").stat().st_mode & 0o777 == 0o600
