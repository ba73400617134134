"""Private Ray clusters for the tests."""

from __future__ import annotations

from typing import Any

from examples.clusters.processes import MissingProgramError
from examples.clusters.ray import RayCluster
from tests.servers import missing


def ray_cluster(**options: Any) -> RayCluster:
    """Return a cluster that is not started yet. Skips without Ray, or fails in CI."""
    try:
        return RayCluster(**options)
    except MissingProgramError as error:
        missing(str(error))
    raise AssertionError("missing() does not return")
