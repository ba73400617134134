"""The checks in a process of their own, and those of the health."""

from __future__ import annotations

import pytest

from cloudtrain_site.doctor import apart, files, health
from cloudtrain_site.errors import Conflict
from tests.doctor import healthy  # noqa: F401


@pytest.mark.slow
def test_a_process_of_its_own_answers() -> None:
    (one,) = apart.run_apart(["data-folder"])["checks"]
    assert (one["name"], one["status"]) == ("data-folder", "ok")


def test_what_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "RUN_SECONDS", 0.01)
    with pytest.raises(Conflict, match="took longer"):
        apart.run_apart(["data-folder"])
    monkeypatch.setattr(apart, "MODULE_RUNNER", ("/bin/true",))
    monkeypatch.setattr(apart, "RUN_SECONDS", 60.0)
    with pytest.raises(Conflict, match="could not be run"):
        apart.run_apart()


def test_two_at_once_are_one() -> None:
    with apart._running, pytest.raises(Conflict, match="already"):
        apart.run_apart()


@pytest.mark.usefixtures("healthy")
def test_the_health_names_the_cheap_check_that_found_something(monkeypatch: pytest.MonkeyPatch) -> None:
    assert health.warning() == ""
    monkeypatch.setattr(files, "free_bytes", lambda folder: 1)
    assert health.warning().startswith("Problems found: disk.")
