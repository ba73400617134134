"""Why a provider can't take a job now, whoever's it is: told to those who submit, before they wait for it."""

from __future__ import annotations

from django.db.models import Exists
from django.utils import timezone

from cloudtrain_site.database.prepared import Prepared
from jobs.models import ProviderConfig
from jobs.providers import label_of
from jobs.sync import circuit_breaker
from jobs.sync.readiness import failed_look_at
from queueing.limits import queue_state
from queueing.models import ProviderLimit, QueueState

#: Whether the queue is paused, and whether the provider is drained. Of each submission.
_STOPS = Prepared(
    lambda provider: QueueState.objects.filter(pk=1).values_list(
        "paused", Exists(ProviderLimit.objects.filter(pk=provider, drained=True))
    )
)


def obstacles_at(provider: str, config: ProviderConfig) -> list[str]:
    """Return a sentence about each; the job is taken all the same, and waits."""
    label = label_of(provider)
    sentences = []
    if not (found := _STOPS(provider)):
        queue_state()  # makes the row
        found = _STOPS(provider)
    paused, drained = found[0]
    if paused:
        sentences.append("The queue is paused. The job waits until an admin resumes it.")
    if drained:
        sentences.append(f"{label} is being drained and accepts no new jobs. The job waits.")
    if circuit_breaker.is_open(config, timezone.now()):
        tries = "once" if config.outage_failures == 1 else f"{config.outage_failures} times in a row"
        sentences.append(f"{label} could not be reached {tries}. The job may wait until {label} answers again.")
    if problem := failed_look_at(provider):
        sentences.append(f"{problem} The job may wait until {label} answers again.")
    return sentences
