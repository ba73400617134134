"""The checks of providers: whether they take our credentials, their clocks, clusters and shared folders."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterator
from email.utils import parsedate_to_datetime
from functools import partial
from urllib.parse import urlsplit

import httpx

from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.doctor.background import CLOCK_FAULT, CLOCK_WARNING
from cloudtrain_site.doctor.findings import Finding, bad, ok, skipped, warn
from cloudtrain_site.http_client import get_async_client
from jobs.doctor.asking import ask_all, enabled_providers, is_used, missing_access, reason_of
from jobs.providers import find_kind, instance_of
from jobs.providers.base import Provider
from jobs.providers.replicate.access import access_of
from jobs.sync.cluster_reports import InstanceReport, instance_reports

#: Says by kind of provider what to mend when it refuses us.
REMEDIES = {
    "local": "providers.local.command in simpletuner-enterprise.yaml",
    "replicate": "REPLICATE_API_TOKEN, from https://replicate.com/account/api-tokens; a declared one's token_file",
    "ray": "address and token_file of the provider in simpletuner-enterprise.yaml",
    "slurm": "address, user and key_file of the provider in simpletuner-enterprise.yaml",
}
PAYMENT_REQUIRED = 402
CREDIT = "Add credit: https://replicate.com/account/billing"


def credentials() -> Iterator[Finding]:
    """Check that each provider that is switched on would take a job of ours."""
    asked: dict[str, Provider] = {}
    for config, provider in enabled_providers().items():
        lack = missing_access(provider)
        if not lack:
            asked[config.name] = provider
        elif is_used(provider) or config.name != "replicate" or os.environ.get("REPLICATE_API_TOKEN"):
            yield bad(f"{provider.label}: {lack}", _remedy(config.name))
        else:
            yield skipped(f"No job runs at {provider.label}, which has no token.")
    answers = ask_all({name: provider.validate for name, provider in asked.items()})
    for name, answer in answers.items():
        if isinstance(answer, Exception):
            remedy = CREDIT if getattr(answer, "code", None) == PAYMENT_REQUIRED else _remedy(name)
            yield bad(f"{asked[name].label}: {answer}", remedy)
        else:
            yield ok(f"{name}: {answer}")


def _remedy(name: str) -> str:
    return REMEDIES.get(find_kind(name) or "", f"providers.{name} in simpletuner-enterprise.yaml")


def clocks() -> Iterator[Finding]:
    """Check this machine's clock against the providers': a signature is too old, or too new, after five minutes."""
    addresses = {
        config.name: address
        for config, provider in enabled_providers().items()
        if not missing_access(provider) and (address := _address_of(config.name))
    }
    if not addresses:
        yield skipped("No provider is remote.")
        return
    questions: dict[str, Callable[[], Awaitable[float | None]]] = {
        name: partial(_offset, address) for name, address in addresses.items()
    }
    for name, offset in ask_all(questions).items():
        if isinstance(offset, Exception) or offset is None:
            yield skipped(f"{name} did not report its time{f': {reason_of(offset)}' if offset else ''}.")
        elif abs(offset) > CLOCK_WARNING:
            found = bad if abs(offset) > CLOCK_FAULT else warn
            yield found(f"This machine's clock is {offset:+.0f} s off that of {name}.", "timedatectl set-ntp true")
        else:
            yield ok(f"{name} agrees.")


def _address_of(name: str) -> str:
    kind = find_kind(name)
    if kind == "replicate":
        return access_of(name).base
    return instance_of(name).address if kind in ("ray", "slurm") else ""


async def _offset(address: str) -> float | None:
    """Return how many seconds this clock is surely ahead of the server's (or behind it), which tells whole ones."""
    async with get_async_client() as client:
        began = time.time()
        answer = await client.head(address)
        ended = time.time()
    try:
        there = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return None
    if began > there + 1:
        return began - there - 1
    return min(0.0, ended - there)


def clusters() -> Iterator[Finding]:
    """Check what the last looks at the clusters showed. They are not asked: the background looks each 30 s."""
    reports = [one for one in instance_reports(with_access=False) if one.is_cluster and one.enabled]
    if not reports:
        yield skipped("No provider is a cluster.")
    for report in reports:
        yield from _of_cluster(report)


def _of_cluster(report: InstanceReport) -> Iterator[Finding]:
    look = f"{COMMAND} machines"
    if report.problem:
        yield bad(report.problem, _remedy(report.name))
    elif report.seen_at is None:
        # Not a fault: a site that has just started. That the background runs is another check's question.
        yield skipped(f"The background has not checked {report.label} yet.")
        return
    elif report.is_stale:
        yield warn(f"{report.label} has not been checked recently.", f"{COMMAND} background")
    for profile, why in report.unrunnable.items():
        yield warn(f"{report.label} can never run {profile}: {why}", f"hardware.{profile} of providers.{report.name}")
    for sentence in report.warnings:
        yield warn(f"{report.label}: {sentence}", look)
    yield ok(f"{report.name}: {len(report.nodes)} nodes, {report.gpus} GPUs.")


def is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    return host == "localhost" or host.startswith("127.") or host == "::1"


async def status_of(address: str, headers: dict[str, str]) -> httpx.Response:
    """Return the answer to a GET, without following it elsewhere."""
    async with get_async_client(follow_redirects=False) as client:
        return await client.get(address, headers=headers)
