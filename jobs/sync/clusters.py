"""Look at clusters, and keep what they show, so that no page and no submission has to ask one."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeAlias

from django.db.models import Q, QuerySet
from django.utils import timezone

from cloudtrain_site.database.connections import lend_connection
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.redaction import mask_text
from jobs.models import ClusterLook
from jobs.providers import find_kind, get_provider, names
from jobs.providers.base import ProviderError, does
from jobs.providers.clusters.view import ClusterView, ReportsNodes, storable, view_data, view_from
from jobs.publishing import publish_waiting_for
from jobs.sync.asking import GRACE_SECONDS, ask, no_answer, start_asking

logger = logging.getLogger("simpletuner.cloud.providers")

#: A cluster whose controller is down may take this long to say so (Slurm: 18 s).
LOOK_SECONDS = 20.0
#: For one who waits for the answer.
SHORT_LOOK_SECONDS = 3.0
#: A process that is killed while it looks keeps the others from looking for at most this long.
LEASE = timedelta(seconds=LOOK_SECONDS + 10)
#: The background looks every 30 s; less, since its ticks come a little late or early.
BACKGROUND_PAUSE = timedelta(seconds=25)
#: Of several people who press the button at once one asks.
PAUSE = timedelta(seconds=3)
MAX_ERROR_CHARACTERS = 500
#: What a cluster shows, or why it shows nothing.
Answer: TypeAlias = ClusterView | str


def cluster_names() -> list[str]:
    """Return the names of the providers that train on clusters."""
    return [name for name in names() if is_cluster(name)]


def is_cluster(name: str) -> bool:
    """Whether the provider `name` trains on a cluster. False for one that there is no more."""
    return find_kind(name) is not None and does(get_provider(name), ReportsNodes)


def view_of(look: ClusterLook | None) -> ClusterView | None:
    """Return what the last look that succeeded showed; None: none has, or another version stored it."""
    return None if look is None or look.data is None else view_from({**look.data, "unrunnable": look.unrunnable})


def unrunnable_profiles(providers: Collection[str]) -> dict[tuple[str, str], str]:
    """Return by provider and profile why no node can run it, as far as the last looks showed. One query at most."""
    clusters = [name for name in cluster_names() if name in providers]
    looks = ClusterLook.objects.filter(pk__in=clusters).defer("data") if clusters else []
    return {(look.pk, profile): why for look in looks if look.is_fresh for profile, why in look.unrunnable.items()}


@dataclass(frozen=True, slots=True)
class ProfileCheck:
    """What is known of a hardware profile at a cluster."""

    #: Why no node can ever run it; empty: some can, or that is not known.
    objection: str = ""
    #: Why that is not known, for the submitter to read; empty: it is known.
    remark: str = ""


def check_profile(name: str, profile: str) -> ProfileCheck:
    """Return whether the provider `name` has a node for the profile, by the last look when that is fresh.

    Otherwise the cluster is asked, for SHORT_LOOK_SECONDS at most. To be called outside of a transaction.
    """
    if not is_cluster(name):
        return ProfileCheck()
    look = ClusterLook.objects.filter(pk=name).defer("data").first()
    if look is None or not look.is_fresh:
        look = look_now(name, seconds=SHORT_LOOK_SECONDS)
    if look is not None and look.is_fresh:
        return ProfileCheck(look.unrunnable.get(profile, ""))
    why = look.error if look is not None and look.error else "It is being checked."
    return ProfileCheck(remark=f"It can't be checked whether a node can run {profile}: {why}")


def look_where_due() -> dict[str, int]:
    """Look at every cluster that nobody has looked at lately. Returns how many answered, and how many didn't."""
    return _look([name for name in cluster_names() if _claim(name, BACKGROUND_PAUSE)], LOOK_SECONDS)


def look_now(name: str, *, seconds: float = LOOK_SECONDS) -> ClusterLook | None:
    """Look at the cluster `name`, unless a look is going on or has just ended. Returns what is known after that.

    None: nobody has ever looked at it.
    """
    if _claim(name, PAUSE):
        _look([name], seconds)
    return ClusterLook.objects.filter(pk=name).defer("data").first()


def validate(name: str) -> str:
    """Ask the provider `name` whether it would take a job now; of a cluster, what it shows is kept.

    Returns its sentence. Raises ProviderError, after LOOK_SECONDS and SHORT_LOOK_SECONDS at most.
    """
    deadline = time.monotonic() + LOOK_SECONDS
    if is_cluster(name):
        look_now(name)
    left = max(SHORT_LOOK_SECONDS, deadline - time.monotonic())
    return ask(f"validate {name}", get_provider(name).validate, round(left, 2))


def _claim(name: str, pause: timedelta) -> bool:
    now = timezone.now()
    ClusterLook.objects.get_or_create(pk=name)
    unclaimed = Q(look_until=None) | Q(look_until__lte=now)
    due = Q(looked_at=None) | Q(looked_at__lte=now - pause)
    return bool(ClusterLook.objects.filter(unclaimed, due, pk=name).update(looked_at=now, look_until=now + LEASE))


def _look(claimed: Sequence[str], seconds: float) -> dict[str, int]:
    counts = {"seen": 0, "failed": 0}
    if not claimed:
        return counts
    began = dict(ClusterLook.objects.filter(pk__in=claimed).values_list("pk", "looked_at"))
    lend_connection()
    for name, answer in _answers(claimed, seconds):
        _store(name, began[name], answer)
        counts["failed" if isinstance(answer, str) else "seen"] += 1
        lend_connection()
    return counts


def _answers(claimed: Sequence[str], seconds: float) -> Iterator[tuple[str, Answer]]:
    """Yield each cluster's answer as it comes. They are asked side by side: one that hangs keeps no other waiting."""
    arrived: queue.SimpleQueue[tuple[str, Answer]] = queue.SimpleQueue()
    for name in claimed:
        start_asking(f"look at {name}", partial(_ask, name), seconds, partial(_arrive, arrived, name))
    missing, deadline = set(claimed), time.monotonic() + seconds + GRACE_SECONDS
    with suppress(queue.Empty):
        while missing:
            name, answer = arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            missing.discard(name)
            yield name, answer
    yield from ((name, no_answer(seconds)) for name in missing)


def _arrive(arrived: queue.SimpleQueue[tuple[str, Answer]], name: str, answer: Answer | Exception) -> None:
    arrived.put((name, _described(name, answer) if isinstance(answer, Exception) else answer))


def _described(name: str, error: Exception) -> str:
    if isinstance(error, ProviderError):
        return str(error) or type(error).__name__
    # An answer that our own code can't read must not hide the other clusters.
    logger.error("What a cluster answered could not be read", extra={"provider": name}, exc_info=error)
    return f"Its answer could not be read ({type(error).__name__})."


async def _ask(name: str) -> Answer:
    provider = get_provider(name)
    return await provider.look() if isinstance(provider, ReportsNodes) else "It is not a cluster any more."


def _store_view(name: str, row: QuerySet[ClusterLook], data: dict[str, Any]) -> None:
    unrunnable: dict[str, str] = data.pop("unrunnable")
    with unit_of_work():
        [(before, error)] = ClusterLook.objects.filter(pk=name).values_list("unrunnable", "error")
        fields = {"data": data, "unrunnable": unrunnable, "seen_at": timezone.now(), "error": "", "error_at": None}
        if not row.update(**fields, look_until=None):
            return
        changed = {profile for profile in {*before, *unrunnable} if before.get(profile) != unrunnable.get(profile)}
        if changed:
            publish_waiting_for(name, changed)
    if error:
        logger.info("Cluster answers again", extra={"provider": name})


def _store(name: str, began: datetime | None, answer: Answer) -> None:
    """Store the answer, unless a later look has begun meanwhile: that one knows more."""
    row = ClusterLook.objects.filter(pk=name, looked_at=began)
    if isinstance(answer, ClusterView):
        _store_view(name, row, view_data(answer))
        return
    error = mask_text(storable(answer))[:MAX_ERROR_CHARACTERS]
    is_first = row.filter(error="").exists()
    row.update(error=error, error_at=timezone.now(), look_until=None)
    level = logging.WARNING if is_first else logging.DEBUG
    logger.log(level, "Cluster could not be asked", extra={"provider": name, "error": error})
