"""Runs that ended long ago, with files that nothing writes any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs.models import Job
from tests.jobs.outputs.aged import FILES, age, days_ago

MakeTrained = Callable[..., Job]


@pytest.fixture
def old(trained: MakeTrained) -> MakeTrained:
    def make(files: dict[str, bytes] | None = None, *, days: float = 100, **fields: Any) -> Job:
        job = trained(FILES if files is None else files, **{**days_ago(days), **fields})
        age(job)
        return job

    return make
