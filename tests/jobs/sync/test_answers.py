"""Several providers asked side by side: each one's answers as they come, whatever the others do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from jobs import providers
from jobs.providers.base import Answers, Handle, ProviderError
from jobs.sync.answers import answers_of
from tests.accounts import Accounts
from tests.providers import ScriptedProvider


def handles_at(accounts: Accounts) -> dict[str, list[Handle]]:
    """A training at each, the second account's first."""
    return {name: [Handle(f"job-at-{name}", accounts[name].fill(1)[0].id)] for name in ("studio", "replicate")}


def test_one_that_hangs_keeps_no_others_answers_back(accounts: Accounts) -> None:
    accounts["studio"].faults.add("hang", seconds=1.0, times=1)
    found = [(name, None if part is None else type(part)) for name, part in answers_of(handles_at(accounts))]
    assert found[:2] == [("replicate", dict), ("replicate", None)]
    assert {name for name, _ in found[2:]} == {"studio"}


def test_an_error_ends_the_answers_of_its_own_provider_alone(accounts: Accounts) -> None:
    handles = handles_at(accounts)
    accounts["studio"].stop()
    ends = {name: part for name, part in answers_of(handles) if not isinstance(part, dict)}
    assert isinstance(ends.pop("studio"), ProviderError)
    assert ends == {"replicate": None}


def test_what_is_no_refusal_is_raised_when_all_others_have_answered(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(ScriptedProvider):
        async def fetch_parts(self, handles: Sequence[Handle], **options: Any) -> AsyncIterator[Answers]:
            raise RuntimeError("broken")
            yield {}

    handles = handles_at(accounts) | {"broken": [Handle("j", "t")]}
    monkeypatch.setattr(providers, "_PROVIDERS", {**providers._PROVIDERS, "broken": Broken})
    answered = set()
    with pytest.raises(RuntimeError, match="broken"):
        for name, part in answers_of(handles):
            if isinstance(part, dict):
                answered.add(name)
    assert answered == {"studio", "replicate"}


def test_nobody_is_asked_about_nothing() -> None:
    assert list(answers_of({})) == []
