"""What operators read of each provider: whether it answers, its nodes, and what runs and waits there. Asks nobody."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from jobs.models import ClusterLook, Job, ProviderConfig
from jobs.providers import kind_of, label_of, names
from jobs.providers.clusters.view import ClusterView, Node
from jobs.statuses import JobStatus
from jobs.sync.clusters import cluster_names, view_of
from jobs.sync.readiness import why_not_now


@dataclass(frozen=True, slots=True)
class GpuCount:
    """The GPUs of a cluster's nodes."""

    free: int = 0
    taken: int = 0
    #: On usable nodes of which the engine doesn't say how many are free.
    unknown: int = 0
    #: On nodes that take no trainings.
    unusable: int = 0

    @classmethod
    def of(cls, nodes: Sequence[Node]) -> GpuCount:
        usable = [node for node in nodes if node.is_usable]
        known = [(node.gpus, node.free_gpus) for node in usable if node.free_gpus is not None]
        free = sum(free for _, free in known)
        return cls(
            free=free,
            taken=sum(gpus for gpus, _ in known) - free,
            unknown=sum(node.gpus for node in usable if node.free_gpus is None),
            unusable=sum(node.gpus for node in nodes if not node.is_usable),
        )

    def __str__(self) -> str:
        counts = [
            (self.free, f"{self.free} free"),
            (self.taken, f"{self.taken} taken"),
            (self.unknown, f"{self.unknown} not known"),
            (self.unusable, f"{self.unusable} on nodes that accept no jobs"),
        ]
        return ", ".join(text for count, text in counts if count) or "none"


@dataclass(frozen=True, slots=True)
class InstanceReport:
    """A provider, as it was last seen."""

    name: str
    kind: str
    label: str
    enabled: bool
    #: Why it can run no job now, as far as it is known; empty: nothing is known.
    problem: str
    is_cluster: bool
    running: int
    waiting: int
    #: Of a cluster: when a look last succeeded; the last failure, as long as no later look succeeded.
    seen_at: datetime | None = None
    #: What was seen is too old to count.
    is_stale: bool = False
    error: str = ""
    error_at: datetime | None = None
    version: str = ""
    #: Nodes that take no trainings come first.
    nodes: Sequence[Node] = ()
    gpus: GpuCount = field(default_factory=GpuCount)
    #: By hardware profile, why no node can ever run it.
    unrunnable: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    @property
    def state(self) -> str:
        """In a word or two."""
        if not self.enabled:
            return "Switched off"
        if self.error:
            return "Last look failed"
        if self.problem:
            return "Needs attention"
        if self.is_cluster and self.seen_at is None:
            return "Not seen yet"
        return "Not seen lately" if self.is_stale else "Ready"


def instance_reports(*, with_access: bool = True) -> list[InstanceReport]:
    """Return every provider that there is, in a fixed number of queries. `with_access`: see `why_not_now`."""
    clusters = set(cluster_names())
    looks = ClusterLook.objects.in_bulk(clusters)
    counts = _job_counts()
    reports = []
    for name, config in ProviderConfig.of_all(names()).items():
        look = looks.get(name)
        problem = why_not_now(config, look, with_access=with_access)
        reports.append(_report(config, look, problem, name in clusters, counts))
    return reports


def _job_counts() -> dict[tuple[str, str], int]:
    # Counted here: to group them, SQLite would read every job in the order of its provider.
    at_providers = Job.objects.filter(status__in=(JobStatus.QUEUED, JobStatus.RUNNING))
    return Counter(at_providers.order_by().values_list("provider", "status"))


def _report(
    config: ProviderConfig,
    look: ClusterLook | None,
    problem: str,
    is_cluster: bool,
    counts: Mapping[tuple[str, str], int],
) -> InstanceReport:
    name, view = config.name, view_of(look) or ClusterView(version="", nodes=())
    return InstanceReport(
        name=name,
        kind=kind_of(name),
        label=label_of(name),
        enabled=config.enabled,
        problem=problem,
        is_cluster=is_cluster,
        running=counts.get((name, JobStatus.RUNNING), 0),
        waiting=counts.get((name, JobStatus.QUEUED), 0),
        seen_at=look.seen_at if look else None,
        is_stale=look is not None and look.seen_at is not None and not look.is_fresh,
        error=look.error if look else "",
        error_at=look.error_at if look else None,
        version=view.version,
        nodes=sorted(view.nodes, key=lambda node: (node.is_usable, _natural(node.name))),
        gpus=GpuCount.of(view.nodes),
        unrunnable=view.unrunnable,
        warnings=view.warnings,
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort node-2 before node-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
