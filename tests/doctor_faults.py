"""Ways to break a healthy site, of which the doctor must find each by its own check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from cloudtrain_site.doctor.findings import Status
from jobs.models import Job, ProviderConfig
from tests.configuration import WriteConfig
from tests.doctor import found, healthy
from tests.providers import ScriptedProvider

__all__ = ["BAD", "WARN", "Faults", "World", "healthy", "world"]
BAD, WARN = Status.BAD, Status.WARN


@dataclass
class World:
    """What a fault may need to break the site."""

    patch: Callable[..., None]
    setenv: Callable[[str, str], None]
    settings: Any
    folder: Path
    write_config: WriteConfig
    add_provider: Callable[[ScriptedProvider], None]
    make_job: Callable[..., Job]

    def add(self, provider: ScriptedProvider, **fields: Any) -> None:
        """Add a provider whose prices are known."""
        self.add_provider(provider)
        known = {"cost_per_second": {"cpu": 0.001, "gpu": 0.002}, "prices_as_of": timezone.now().date()}
        ProviderConfig.objects.create(**{"name": provider.name, **known, **fields})


@pytest.fixture
def world(
    healthy: None,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    tmp_path: Path,
    write_config: WriteConfig,
    add_provider: Callable[[ScriptedProvider], None],
    make_job: Callable[..., Job],
) -> World:
    write_config("background:\n")
    return World(monkeypatch.setattr, monkeypatch.setenv, settings, tmp_path, write_config, add_provider, make_job)


Break = Callable[[World], object]


@dataclass(frozen=True)
class Fault:
    check: str
    status: Status
    #: A part of what the check says.
    text: str
    break_site: Break

    def is_found_alone(self, world: World) -> None:
        self.break_site(world)
        answer = found()
        assert set(answer) == {self.check}
        status, text = answer[self.check]
        assert status == self.status
        assert self.text in text


class Faults(dict[str, Fault]):
    """Faults by the names of the functions that make them."""

    def add(self, check: str, status: Status, text: str) -> Callable[[Break], Break]:
        def register(function: Break) -> Break:
            self[function.__name__] = Fault(check, status, text, function)
            return function

        return register
