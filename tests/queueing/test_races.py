"""Two dispatchers at once, with real transactions on the real database."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from queueing import claims
from queueing.models import QueueEntry, QueueState
from tests.providers import ScriptedProvider
from tests.races import at_once

Enqueue = Callable[..., QueueEntry]


@pytest.mark.django_db(transaction=True)
def test_two_dispatchers_never_claim_one_entry_twice_nor_exceed_a_limit(
    enqueue: Enqueue, scripted: ScriptedProvider
) -> None:
    QueueState.objects.update_or_create(pk=1, defaults={"max_running": 5, "max_running_per_user": 4})
    for _ in range(12):
        enqueue()
    claimed = [entry.pk for entries in at_once(*[claims.claim_next] * 4) for entry in entries]
    assert len(claimed) == len(set(claimed)) == 4
    assert QueueEntry.objects.taking_slots().count() == 4
