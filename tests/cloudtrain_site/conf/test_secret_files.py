"""What `manage.py check` says of files of secrets that can't be read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.checks import CheckMessage

from cloudtrain_site import checks
from cloudtrain_site.conf.providers import Secret
from tests.cloudtrain_site.conf.instances.declared import REPLICATE, SLURM, read
from tests.configuration import WriteConfig

NOBODY = 65534
SSO = """
sso:
  issuer: https://id.example.org
  client_id: cloudtrain
  client_secret_file: {file}
  domains: [example.org]
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any account may enter."""
    with tempfile.TemporaryDirectory(prefix="cloudtrain-secrets-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def _as_nobody() -> Iterator[None]:
    """Have the operating system refuse what it doesn't refuse to root."""
    former = os.geteuid()
    if former == 0:
        os.seteuid(NOBODY)
    yield
    os.seteuid(former)


def said_of(write_config: WriteConfig, file: Path) -> list[tuple[str, str | None]]:
    write_config(SSO.format(file=file))
    return pairs(checks.check_secret_files())


def pairs(messages: list[CheckMessage]) -> list[tuple[str, str | None]]:
    assert {message.id for message in messages} <= {"cloudtrain.W005"}
    return [(message.msg, message.hint) for message in messages]


def test_nothing_of_one_that_is_well(write_config: WriteConfig, folder: Path) -> None:
    (folder / "sso").write_text("of-the-client")
    assert said_of(write_config, folder / "sso") == []


def test_one_that_is_not_there_or_empty_is_to_be_stored(write_config: WriteConfig, folder: Path) -> None:
    file = folder / "a folder" / "sso"
    store = f"Store the secret there, from standard input: install -D -m 600 /dev/stdin '{file}'"
    assert said_of(write_config, file) == [(f"sso: {file} can't be read: No such file or directory.", store)]
    file.parent.mkdir()
    file.write_text(" \n")
    assert said_of(write_config, file) == [(f"sso: {file} is empty.", store)]


def test_a_folder_is_none(write_config: WriteConfig, folder: Path) -> None:
    assert said_of(write_config, folder) == [
        (f"sso: {folder} can't be read: Is a directory.", "Name a file, not a folder.")
    ]


def test_one_of_another_account_is_to_be_given_to_this_one(folder: Path, request: pytest.FixtureRequest) -> None:
    file = folder / "sso"
    file.write_text("of-the-client")
    file.chmod(0)
    request.getfixturevalue("_as_nobody")
    assert checks._problem_of(Secret(file=file)) == f"{file} can't be read: Permission denied."
    assert checks._mend(file).startswith("Let this account read it: sudo chown ")
    assert checks._mend(file).endswith(f" {file}")


def test_a_closed_folder_is_to_be_opened(folder: Path, request: pytest.FixtureRequest) -> None:
    (folder / "closed").mkdir(mode=0)
    request.getfixturevalue("_as_nobody")
    assert checks._mend(folder / "closed" / "deep" / "sso") == (
        f"Let this account into the folder: sudo chmod o+x {folder}/closed"
    )


def test_those_of_providers_are_looked_at_too(write_config: WriteConfig, folder: Path) -> None:
    (folder / "token").write_text(" \n")
    replicate = REPLICATE.replace("/run/secrets/replicate", str(folder / "token"))
    slurm = SLURM.replace("/etc/cloudtrain", str(folder)).replace("/mnt/shared", str(folder))
    read(write_config, replicate + slurm)
    assert [problem for problem, _ in pairs(checks.check_secret_files())] == [
        f"providers.replicate-lab: {folder}/token is empty.",
        f"providers.slurm-lab: {folder}/jwt_hs256.key can't be read: No such file or directory.",
    ]


def test_a_file_that_is_wrong_is_for_its_own_check(write_config: WriteConfig) -> None:
    write_config("sso: {}\n")
    assert checks.check_secret_files() == []
