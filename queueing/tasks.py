"""The tasks of the background loops and of django-q2."""

from __future__ import annotations

from cloudtrain_site.background_tasks.loops import loop
from cloudtrain_site.database.changes import Changes
from queueing import dispatch, passes, transfers
from queueing.budgets import watch

#: After a failed transfer nothing is written when the time of the next try comes, so time alone must count too.
_changes = Changes(most_seconds=5.0)


@loop("queue processing", failure_message="Failed to start queue processing")
def process_queue() -> dict[str, int]:
    """Run a pass on the tick, also without a request."""
    dispatch.close_ended()
    dispatch.end_cancelled()
    return {"dispatched": run_pass()}


@loop("budgets")
def watch_budgets() -> dict[str, int]:
    """Look at every budget: thresholds, forecast, and the action when one is spent."""
    return watch.watch()


def transfer_datasets() -> int:
    """Transfer this machine's datasets to their providers, every second. Returns how many jobs were handed over."""
    return transfers.run() if _changes.found() else 0


def run_pass() -> int:
    """Run a requested pass. Returns how many jobs were handed to their providers."""
    passes.begin_pass()
    dispatched = dispatch.run_pass()
    passes.publish_queue()
    return dispatched
