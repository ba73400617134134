"""What `manage.py check` says of the declared providers."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudtrain_site import checks
from tests.cloudtrain_site.conf.instances.declared import SECRET, SLURM, read
from tests.configuration import WriteConfig


def messages_of(write_config: WriteConfig, providers: str) -> list[str]:
    read(write_config, providers)
    messages = checks.check_instances()
    assert {message.id for message in messages} <= {"cloudtrain.W003"}
    return [message.msg for message in messages]


def test_nothing_of_what_is_well(write_config: WriteConfig, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes(range(32)))
    slurm = SLURM.replace("/etc/cloudtrain/jwt_hs256.key", str(tmp_path / "key"))
    assert messages_of(write_config, slurm.replace("/mnt/shared", str(tmp_path))) == []


def test_folders_that_are_not_there(write_config: WriteConfig, tmp_path: Path) -> None:
    slurm = SLURM.replace("/mnt/shared", str(tmp_path / "shared"))
    assert messages_of(write_config, slurm) == [
        f"Provider slurm-lab: the shared folder {tmp_path}/shared is missing. Mount it here and on all nodes "
        "under this path.",
    ]


def test_two_names_for_one_account(write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (f"\n  {name}:\n    kind: replicate\n    token: ${{RAY_STUDIO_TOKEN}}\n" for name in ("a", "b"))
    assert messages_of(write_config, first) == []
    both = "share a token, so trainings created elsewhere are found twice."
    assert messages_of(write_config, first + second) == [f"a and b {both}"]
    monkeypatch.setenv("REPLICATE_API_TOKEN", SECRET)
    assert messages_of(write_config, first) == [f"replicate and a {both}"]


def test_a_file_that_is_wrong_is_for_its_own_check(write_config: WriteConfig) -> None:
    write_config("providers:\n  lab: {}\n")
    assert checks.check_instances() == []
    assert [message.id for message in checks.check_enterprise_file()] == ["cloudtrain.E001"]
