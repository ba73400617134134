"""A pretended Ray, and a provider for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.providers.ray.clusters import Cluster
from tests.jobs.providers.ray.fake_ray import FakeRay


@pytest.fixture
def ray() -> Iterator[FakeRay]:
    ray = FakeRay()
    yield ray
    ray.stop()


@pytest.fixture
def cluster(ray: FakeRay) -> Cluster:
    return Cluster(ray.address)


@pytest.fixture
def shared(ray: FakeRay, tmp_path: Path) -> Cluster:
    return Cluster(ray.address, shared_folder=tmp_path)
