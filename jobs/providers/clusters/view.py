"""A cluster as one look at it shows it: its nodes, and which hardware profiles they can run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol, runtime_checkable


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


def view_data(view: ClusterView) -> dict[str, Any]:
    """Return the view as a JSON column takes it."""
    data: dict[str, Any] = storable(asdict(view))
    return data


def view_from(data: Mapping[str, Any]) -> ClusterView | None:
    """Return the view that `view_data` made; None for the data of a version that stored something else."""
    try:
        nodes = tuple(Node(**_known(Node, node)) for node in data["nodes"])
        known = _known(ClusterView, data)
        return ClusterView(**{**known, "nodes": nodes, "warnings": tuple(known.get("warnings", ()))})
    except (KeyError, TypeError):
        return None


def _known(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what a later version added."""
    return {one.name: data[one.name] for one in fields(kind) if one.name in data}


def storable(value: Any) -> Any:
    """Return `value` without what PostgreSQL refuses: a NUL, half of a surrogate pair, a number that is not finite."""
    if isinstance(value, str):
        return value.replace("\0", "").encode(errors="replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {storable(key): storable(one) for key, one in value.items()}
    return [storable(one) for one in value] if isinstance(value, Sequence) else value
