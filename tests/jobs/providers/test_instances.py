"""Providers that the configuration file declares, by their names: there while they stand in it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from jobs.providers import UnknownProviderError, get_provider, kinds_by_name, label_of, names
from jobs.providers.base import ProviderError
from jobs.providers.replicate.provider import ReplicateProvider
from tests.configuration import WriteConfig

STUDIO = """
providers:
  studio:
    kind: replicate
    label: The studio's account
    address: http://127.0.0.1:9
    token: ${STUDIO_ACCOUNT}
  lab:
    kind: replicate
    token_file: /token-file
"""


@pytest.fixture
def token_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_config: WriteConfig) -> Path:
    monkeypatch.setenv("STUDIO_ACCOUNT", "r8_of-the-studio")
    write_config(STUDIO.replace("/token-file", str(tmp_path / "token")))
    return tmp_path / "token"


def at_replicate(name: str) -> ReplicateProvider:
    provider = get_provider(name)
    assert isinstance(provider, ReplicateProvider)
    return provider


def test_they_come_after_those_of_the_start_with_their_kinds(token_file: Path) -> None:
    assert names() == ("local", "replicate", "studio", "lab")
    assert kinds_by_name() == {"local": "local", "replicate": "replicate", "studio": "replicate", "lab": "replicate"}


def test_each_is_built_from_what_the_file_says_of_it(token_file: Path) -> None:
    token_file.write_text("r8_of-the-lab\n")
    studio, lab = at_replicate("studio"), at_replicate("lab")
    assert (studio.name, studio.label) == ("studio", "The studio's account")
    assert (studio.access.base, studio.access.token) == ("http://127.0.0.1:9", "r8_of-the-studio")
    assert (lab.name, lab.label) == ("lab", "lab")
    assert (lab.access.base, lab.access.token) == ("https://api.replicate.com", "r8_of-the-lab")


def test_the_account_of_the_environment_is_as_it_was(token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPLICATE_API_TOKEN", "r8_of-the-environment")
    monkeypatch.setenv("REPLICATE_BASE_URL", "http://127.0.0.1:8/")
    first = at_replicate("replicate")
    assert (first.label, first.access.base, first.access.token) == (
        *("Replicate", "http://127.0.0.1:8", "r8_of-the-environment"),
    )


@pytest.mark.parametrize("token", ["two words", "two\nlines", "schlüssel"])
def test_what_is_no_token_is_never_sent(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("REPLICATE_API_TOKEN", token)
    first = at_replicate("replicate")
    assert first.access.token == ""
    assert first.missing_access().startswith("REPLICATE_API_TOKEN is not set to a single word for the web server")
    with pytest.raises(ProviderError, match="REPLICATE_API_TOKEN is not set to a single word"):
        asyncio.run(first.validate())


def test_a_token_is_read_anew_each_time(token_file: Path) -> None:
    for token in ("r8_first-of-the-file", "r8_second-of-the-file"):
        token_file.write_text(token)
        assert at_replicate("lab").access.token == token


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "can't be read: No such file or directory."), (" ", "is empty.")]
)
def test_one_without_its_token_says_what_it_lacks(token_file: Path, content: str | None, problem: str) -> None:
    if content is not None:
        token_file.write_text(content)
    lacks = at_replicate("lab").missing_access()
    assert lacks.startswith(f"lab has no token: {token_file} {problem}".rstrip("."))
    assert lacks.endswith("If the background processes have no token either, jobs wait.")


def test_one_that_is_taken_out_of_the_file_is_no_more_and_is_back_with_it(
    token_file: Path, write_config: WriteConfig
) -> None:
    write_config("background:\n")
    assert names() == ("local", "replicate")
    with pytest.raises(UnknownProviderError, match="There is no provider “studio” any more"):
        get_provider("studio")
    assert label_of("studio") == "studio"
    write_config(STUDIO)
    assert label_of("studio") == "The studio's account"
    assert get_provider("studio").name == "studio"


def test_a_slip_in_the_file_takes_none_away(token_file: Path, write_config: WriteConfig) -> None:
    assert names() == ("local", "replicate", "studio", "lab")
    write_config(STUDIO.replace("kind: replicate", "kind: replicat"))
    assert names() == ("local", "replicate", "studio", "lab")
