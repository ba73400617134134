"""The one way in which the tests wait: on a condition, with a deadline."""

from __future__ import annotations

from examples.clusters.processes import PATIENCE_SECONDS, wait_until

__all__ = ["PATIENCE_SECONDS", "wait_until"]
