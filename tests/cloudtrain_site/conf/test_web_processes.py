"""How many web processes there are by default, and what is no number of them."""

from __future__ import annotations

import pytest

from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.conf.web_processes import VARIABLE, processes_of


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.delenv(VARIABLE, raising=False)


def test_one_with_sqlite_and_up_to_four_with_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://user:word@host/name")
    assert processes_of(None) == 4
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1})
    assert processes_of(None) == 2
    monkeypatch.delenv("DATABASE_URL")
    assert processes_of(None) == 1


def test_the_command_line_wins_over_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "3")
    assert (processes_of(None), processes_of(6)) == (3, 6)


@pytest.mark.parametrize("number", [0, -1, 65])
def test_a_number_out_of_bounds_is_refused(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    with pytest.raises(ConfigurationError, match=r"^--processes must be a whole number from 1 to 64\.$"):
        processes_of(number)
    monkeypatch.setenv(VARIABLE, str(number))
    with pytest.raises(ConfigurationError, match=f"^{VARIABLE} must be a whole number"):
        processes_of(None)
