"""Two dispatchers at once, with real transactions on the real database."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import connection

from queueing import claims
from queueing.models import QueueEntry, QueueState
from tests.providers import ScriptedProvider

Enqueue = Callable[..., QueueEntry]


def at_once(*actions: Callable[[], object]) -> list[object]:
    """Run the actions in threads that start together; what each returned."""
    barrier, results = threading.Barrier(len(actions)), [None] * len(actions)

    def run(index: int, action: Callable[[], object]) -> None:
        barrier.wait()
        try:
            results[index] = action()
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=item) for item in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


@pytest.mark.django_db(transaction=True)
def test_two_dispatchers_never_claim_one_entry_twice_nor_exceed_a_limit(
    enqueue: Enqueue, scripted: ScriptedProvider
) -> None:
    QueueState.objects.update_or_create(pk=1, defaults={"max_running": 5, "max_running_per_user": 4})
    for _ in range(12):
        enqueue()
    claimed = [entry.pk for entries in at_once(*[claims.claim_next] * 4) for entry in entries]  # type: ignore[attr-defined]
    assert len(claimed) == len(set(claimed)) == 4
    assert QueueEntry.objects.holding_slots().count() == 4
