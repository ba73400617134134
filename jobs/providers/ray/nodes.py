"""A Ray cluster's nodes, and which hardware profiles they can run. No request is made here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cloudtrain_site.conf.providers import HardwareProfile
from jobs.providers.clusters.view import Node

#: Ray gives a hundred unless it is asked for more, dead ones among them.
PATH = "/api/v0/nodes?limit=10000"
ALIVE = "ALIVE"
#: Ray's own names of resources that are no custom ones.
NOT_CUSTOM = ("CPU", "GPU", "memory", "object_store_memory")
MEGABYTE = 1_000_000
OPEN_CLUSTER = "Anybody who can reach its address can run jobs on it. Start Ray with RAY_AUTH_MODE=token."
GROWS = "It can add nodes by itself, so its hardware profiles are not checked."


def read_nodes(body: Any, status: Any) -> list[Node]:
    """Return the living nodes of `/api/v0/nodes`, with the free GPUs that `/api/cluster_status` knows."""
    used = _used_gpus(status)
    rows = _at(body, "data", "result", "result")
    return [_node(row, used) for row in rows if _is_living(row)] if isinstance(rows, list) else []


def is_alive(body: Any, node_id: Any) -> bool:
    """Whether the node is among the living ones of `/api/v0/nodes`."""
    rows = _at(body, "data", "result", "result")
    return isinstance(rows, list) and any(_is_living(row) and row.get("node_id") == node_id for row in rows)


def _is_living(row: Any) -> bool:
    return isinstance(row, Mapping) and row.get("state") == ALIVE


def _node(row: Mapping[str, Any], used: Mapping[str, float]) -> Node:
    total = _resources(row)
    gpus, taken = int(total.get("GPU", 0)), used.get(str(row.get("node_id")))
    return Node(
        name=str(row.get("node_ip") or row.get("node_id"))[:100],
        state=ALIVE,
        is_usable=True,
        cpus=int(total.get("CPU", 0)),
        memory_mb=int(total.get("memory", 0) / MEGABYTE),
        gpus=gpus,
        free_gpus=None if taken is None else max(0, int(gpus - taken)),
        resources={name: n for name, n in total.items() if name not in NOT_CUSTOM and not name.startswith("node:")},
    )


def _resources(row: Mapping[str, Any]) -> dict[str, float]:
    total = row.get("resources_total")
    items = total.items() if isinstance(total, Mapping) else ()
    return {str(name): float(number) for name, number in items if isinstance(number, int | float)}


def _used_gpus(status: Any) -> dict[str, float]:
    """Return the GPUs in use by node id; a node that Ray says nothing of is left out."""
    usage = _at(status, "data", "clusterStatus", "loadMetricsReport", "usageByNode")
    found: dict[str, float] = {}
    for node_id, resources in usage.items() if isinstance(usage, Mapping) else ():
        gpus = resources.get("GPU", [0.0, 0.0]) if isinstance(resources, Mapping) else None
        if isinstance(gpus, list) and gpus and isinstance(gpus[0], int | float):
            found[str(node_id)] = float(gpus[0])
    return found


def may_grow(status: Any) -> bool:
    """Whether an autoscaler may add nodes, also when Ray doesn't say. Without one each node is its own type."""
    types = _at(status, "data", "clusterStatus", "autoscalerReport", "nodeTypeMapping")
    if not isinstance(types, Mapping) or not types:
        return True
    return any(kind != f"node_{node_id}" for node_id, kind in types.items())


def _at(body: Any, *keys: str) -> Any:
    for key in keys:
        body = body.get(key) if isinstance(body, Mapping) else None
    return body


def unrunnable(profiles: Mapping[str, HardwareProfile], nodes: Sequence[Node]) -> dict[str, str]:
    """Return, by profile, why no node of these can run it."""
    reasons = {name: _why_not(profile, nodes) for name, profile in profiles.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def _why_not(profile: HardwareProfile, nodes: Sequence[Node]) -> str:
    if reason := objection_to(profile):
        return reason
    if any(all(has >= needs for needs, has, _ in _needs(profile, node)) for node in nodes):
        return ""
    if not nodes:
        return "There are no nodes in this cluster."
    for index, (needs, _, text) in enumerate(_needs(profile, _NOTHING)):
        most = max(list(_needs(profile, node))[index][1] for node in nodes)
        if most < needs:
            return f"It asks for {text} on one node, but no node of this cluster has more than {most:g}."
    return f"It asks for {asked_for(profile)} on one node, but no node of this cluster has all of it."


def objection_to(profile: HardwareProfile) -> str:
    """Return why Ray can run the profile nowhere; empty when it depends on the nodes."""
    if profile.nodes > 1:
        return f"It asks for {profile.nodes} nodes, but a Ray job runs on one."
    return ""


_NOTHING = Node("", "", is_usable=False, cpus=0, memory_mb=0, gpus=0)


def _needs(profile: HardwareProfile, node: Node) -> Iterator[tuple[float, float, str]]:
    """Yield what the profile needs, what the node has of it, and the need as text; the GPUs come first."""
    yield profile.gpus, node.gpus, _counted(profile.gpus, "GPU")
    yield profile.cpus, node.cpus, _counted(profile.cpus, "CPU")
    yield profile.memory_mb, node.memory_mb, f"{profile.memory_mb:,} MB of memory"
    for name, number in profile.resources.items():
        yield number, node.resources.get(name, 0.0), f"{number:g} {name}"


def asked_for(profile: HardwareProfile) -> str:
    """Return what the profile asks for, as text: "2 GPUs, 8 CPUs"."""
    return ", ".join(text for needs, _, text in _needs(profile, _NOTHING) if needs)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def summary(version: str, nodes: Sequence[Node]) -> str:
    return f"Ray {version}: {_counted(len(nodes), 'node')}, {_counted(sum(node.gpus for node in nodes), 'GPU')}."
