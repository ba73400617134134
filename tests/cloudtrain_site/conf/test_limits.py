"""The limits for one person: from the file, and from the environment, which wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.conf.limits import VARIABLES, Limits
from cloudtrain_site.enterprise import EnterpriseConfig, get_enterprise_config


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "enterprise.yaml"
    monkeypatch.setenv("SIMPLETUNER_ENTERPRISE_CONFIG", str(path))
    path.write_text("limits:\n  open_jobs: 7\n  streams: 3\n")
    return path


def test_the_defaults_are_the_documents() -> None:
    limits = EnterpriseConfig().limits
    assert (limits.open_jobs, limits.uploads, limits.upload_bytes, limits.streams) == (200, 20, 2_000_000_000, 20)


def test_a_limit_of_the_file_is_taken_and_the_others_stay(path: Path) -> None:
    assert get_enterprise_config().limits == Limits(open_jobs=7, streams=3)


def test_the_environment_wins_over_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDTRAIN_LIMIT_OPEN_JOBS", "9")
    config = get_enterprise_config()
    assert config.limits == Limits(open_jobs=9, streams=3)
    assert config.sources["limits.open_jobs"] == "environment CLOUDTRAIN_LIMIT_OPEN_JOBS"
    assert config.sources["limits.streams"] == f"{path}:3"


@pytest.mark.parametrize("name", VARIABLES.values())
@pytest.mark.parametrize("text", ["0", "-1", "many", "2.5"])
def test_no_limit_may_be_less_than_one(path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigurationError, match=f"{name} is '{text}', but it must be a whole number from 1 to"):
        get_enterprise_config()


def test_a_limit_that_does_not_exist_is_refused(path: Path) -> None:
    path.write_text("limits:\n  open_job: 7\n")
    with pytest.raises(ConfigurationError, match=r"unknown key `limits\.open_job`; did you mean `limits\.open_jobs`"):
        get_enterprise_config()
