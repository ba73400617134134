"""What the tests of the queue share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cloudtrain_site.states import SYSTEM, Source
from jobs import providers
from jobs.models import Job
from jobs.roles import Role
from queueing import claims
from queueing.models import QueueEntry
from tests.providers import ScriptedProvider


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> ScriptedProvider:
    """A provider called "scripted", among the real ones, that no earlier test was asked to leave alone."""
    provider = ScriptedProvider()
    monkeypatch.setattr(claims, "_paused_until", {})
    monkeypatch.setattr(providers, "_PROVIDERS", {**providers._PROVIDERS, "scripted": lambda: provider})
    return provider


@pytest.fixture
def enqueue(make_job: Callable[..., Job]) -> Callable[..., QueueEntry]:
    """A new job's entry."""

    def make(*, held: bool = False, role: Role = Role.RESEARCHER, **fields: Any) -> QueueEntry:
        job = make_job(**{"provider": "scripted", **fields})
        return claims.enqueue(job, role=role, held=held, actor=SYSTEM, source=Source.API)

    return make
