"""What the background loops and django-q2 call."""

from __future__ import annotations

from cloudtrain_site.background_tasks.loops import loop
from queueing import dispatch, passes, transfers


@loop("queue processing", failure_message="Failed to start queue processing")
def process_queue() -> dict[str, int]:
    """The tick: a pass, whether or not anybody asked for one."""
    dispatch.close_ended()
    return {"dispatched": run_pass()}


def transfer_datasets() -> int:
    """Bring the datasets that this machine has to their providers. Called every second."""
    return transfers.run()


def run_pass() -> int:
    """A pass that was asked for. Returns how many jobs were handed over."""
    passes.begin_pass()
    dispatched = dispatch.run_pass()
    passes.publish_queue()
    return dispatched
