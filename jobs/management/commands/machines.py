"""`manage.py machines`: which machines run what, in which version, and when they were last seen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.core.serializers.json import DjangoJSONEncoder

from cloudtrain_site.monitoring.machines import ProcessReport, process_reports
from jobs.providers.clusters.view import Node
from jobs.sync.cluster_reports import InstanceReport, instance_reports

PROCESS_HEADS = ("MACHINE", "ROLE", "PID", "VERSION", "CODE", "LAST HEARTBEAT", "CLOCK", "REMARKS")
PROVIDER_HEADS = ("PROVIDER", "KIND", "STATE", "VERSION", "NODES", "GPUS", "RUNNING", "WAITING", "SEEN")
NODE_HEADS = ("NODE", "STATE", "CPUS", "MEMORY", "GPUS", "FREE", "RESOURCES")
NOTHING = "-"


class Command(BaseCommand):
    """Tables for people, or JSON. It asks no cluster: it prints what the background last saw."""

    help = "List the site's own processes and the providers with their nodes, as last seen."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object with processes and providers")

    def handle(self, *args: Any, json: bool, **options: Any) -> None:
        processes, providers = process_reports(), instance_reports(with_access=False)
        if json:
            self.stdout.write(_as_json(processes, providers))
            return
        self.stdout.write("\n".join(_page(processes, providers)))


def _as_json(processes: Sequence[ProcessReport], providers: Sequence[InstanceReport]) -> str:
    data = {
        "processes": [{**asdict(one), "is_clock_off": one.is_clock_off} for one in processes],
        "providers": [{**asdict(one), "state": one.state} for one in providers],
    }
    return json.dumps(data, cls=DjangoJSONEncoder, indent=2)


def _page(processes: Sequence[ProcessReport], providers: Sequence[InstanceReport]) -> Iterator[str]:
    if processes:
        yield from _table(PROCESS_HEADS, [_process_row(one) for one in processes])
    else:
        yield "No web or background process is running."
    yield ""
    yield from _table(PROVIDER_HEADS, [_provider_row(one) for one in providers])
    for one in providers:
        remarks = [*([one.problem] if one.problem else []), *one.warnings]
        remarks += [f"{profile}: {why}" for profile, why in one.unrunnable.items()]
        if one.nodes or remarks:
            yield f"\n{one.name}"
            yield from (f"  ! {remark}" for remark in remarks)
        if one.nodes:
            yield from (f"  {line}" for line in _table(NODE_HEADS, [_node_row(node) for node in one.nodes]))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    for row in (heads, *rows):
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _process_row(one: ProcessReport) -> tuple[str, ...]:
    remarks = [
        *(["silent"] if one.is_silent else []),
        *(["clock is off"] if one.is_clock_off else []),
        *(["not the newest code"] if one.is_outdated else []),
    ]
    return (
        *(one.machine, one.role, str(one.pid), one.version, one.code),
        *(_time(one.seen_at), one.clock or NOTHING, ", ".join(remarks) or NOTHING),
    )


def _provider_row(one: InstanceReport) -> tuple[str, ...]:
    gpus = str(one.gpus) if one.nodes else NOTHING
    return (
        *(one.name, one.kind, one.state, one.version or NOTHING, str(len(one.nodes)) if one.is_cluster else NOTHING),
        *(gpus, str(one.running), str(one.waiting), _time(one.seen_at)),
    )


def _node_row(node: Node) -> tuple[str, ...]:
    resources = ", ".join(f"{name} {number:g}" for name, number in node.resources.items())
    free = "?" if node.free_gpus is None else str(node.free_gpus)
    return (node.name, node.state, str(node.cpus), f"{node.memory_mb} MB", str(node.gpus), free, resources)


def _time(moment: datetime | None) -> str:
    return NOTHING if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
