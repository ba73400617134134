"""A cluster as one look at it shows it: its nodes, and which hardware profiles they can run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of a cluster."""

    name: str
    #: The engine's own word, such as `ALIVE` or `idle`.
    state: str
    #: It takes trainings, now or once it is free.
    is_usable: bool
    cpus: int
    memory_mb: int
    gpus: int
    #: None: the engine doesn't say.
    free_gpus: int | None = None
    #: Types of GPU or custom resources with their number.
    resources: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClusterView:
    version: str
    nodes: Sequence[Node]
    #: By profile, a sentence that tells why no node can ever run it; a profile that some can run is not in it.
    unrunnable: Mapping[str, str] = field(default_factory=dict)
    #: What the operator should know, such as a cluster that takes jobs from anybody.
    warnings: Sequence[str] = ()


@runtime_checkable
class ReportsNodes(Protocol):
    """A provider that trains on a cluster of machines."""

    async def look(self) -> ClusterView:
        """Ask the cluster for its nodes. Raises ProviderError."""
