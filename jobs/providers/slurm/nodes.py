"""A Slurm cluster's nodes, and which hardware profiles they can run. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cloudtrain_site.conf.providers import HardwareProfile
from jobs.providers.clusters.view import ClusterView, Node
from jobs.providers.slurm.shapes import SlurmNode, SlurmPartition

#: A node whose state has one of these takes no jobs until somebody changes that.
UNUSABLE = ("down", "drain", "fail", "error", "future", "invalid", "inval", "maint", "not_responding", "unknown")


def view_of(
    version: str,
    nodes: Sequence[SlurmNode],
    partitions: Sequence[SlurmPartition],
    profiles: Mapping[str, HardwareProfile],
    warnings: Sequence[str] = (),
) -> ClusterView:
    reasons = {name: why_unrunnable(profile, nodes, partitions) for name, profile in profiles.items()}
    return ClusterView(
        version=version,
        nodes=[_node(node) for node in nodes],
        unrunnable={name: reason for name, reason in reasons.items() if reason},
        warnings=[*warnings, *(_warning(node) for node in nodes if node.reason and not is_usable(node))],
    )


def _node(node: SlurmNode) -> Node:
    gpus = sum(node.gpus.values())
    return Node(
        name=node.name,
        state=node.state,
        is_usable=is_usable(node),
        cpus=node.cpus,
        memory_mb=node.memory_mb,
        gpus=gpus,
        free_gpus=max(0, gpus - node.used_gpus),
        resources={kind: float(number) for kind, number in node.gpus.items() if kind},
    )


def is_usable(node: SlurmNode) -> bool:
    return not any(word in node.state for word in UNUSABLE)


def _warning(node: SlurmNode) -> str:
    return f"{node.name} is {node.state}: {node.reason[:200]}."


def why_unrunnable(profile: HardwareProfile, nodes: Sequence[SlurmNode], partitions: Sequence[SlurmPartition]) -> str:
    """Return why no node can ever run the profile, as a sentence; empty when some can, be they down or taken now."""
    by_name = {partition.name: partition for partition in partitions}
    names = _partitions_of(profile, partitions)
    missing = [name for name in names if name not in by_name]
    if missing:
        return f"There is no partition “{missing[0]}” on this cluster; it has {', '.join(sorted(by_name)) or 'none'}."
    limits = [by_name[name].max_minutes for name in names]
    minutes = profile.time_limit_minutes
    if minutes and limits and all(limit is not None and limit < minutes for limit in limits):
        longest = max(limit for limit in limits if limit is not None)
        return f"It asks for {minutes} minutes; {_place(names)} allows {longest}."
    candidates = [node for node in nodes if not names or set(names) & set(node.partitions)]
    return _why_too_small(profile, candidates, _place(names))


def _partitions_of(profile: HardwareProfile, partitions: Sequence[SlurmPartition]) -> list[str]:
    """Return the profile's partitions, or the default one; empty when the cluster doesn't say which that is."""
    if profile.partition:
        return [name.strip() for name in profile.partition.split(",") if name.strip()]
    return [partition.name for partition in partitions if partition.is_default]


def _place(names: Sequence[str]) -> str:
    if not names:
        return "this cluster"
    return f"partition{'' if len(names) == 1 else 's'} {', '.join(names)}"


def _why_too_small(profile: HardwareProfile, nodes: Sequence[SlurmNode], place: str) -> str:
    what = f" of type {profile.gpu_type}" if profile.gpu_type else ""
    has = f"but no node of {place} has more than"
    if not nodes:
        return f"There are no nodes in {place}."
    most_gpus = max(_gpus_of(node, profile.gpu_type) for node in nodes)
    if profile.gpus > most_gpus:
        return f"It asks for {_count(profile.gpus, 'GPU')}{what} on one node, {has} {most_gpus}."
    most_cpus, most_memory = max(node.cpus for node in nodes), max(node.memory_mb for node in nodes)
    if profile.cpus > most_cpus:
        return f"It asks for {_count(profile.cpus, 'CPU')} on one node, {has} {most_cpus}."
    if profile.memory_mb > most_memory:
        return f"It asks for {profile.memory_mb} MB of memory on one node, {has} {most_memory}."
    fitting = sum(_fits(profile, node) for node in nodes)
    if fitting < profile.nodes:
        return f"It asks for {_count(profile.nodes, 'node')}, but {place} has only {fitting} with what it asks for."
    return ""


def _fits(profile: HardwareProfile, node: SlurmNode) -> bool:
    has_gpus = profile.gpus <= _gpus_of(node, profile.gpu_type)
    return has_gpus and profile.cpus <= node.cpus and profile.memory_mb <= node.memory_mb


def _gpus_of(node: SlurmNode, kind: str) -> int:
    return node.gpus.get(kind, 0) if kind else sum(node.gpus.values())


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
