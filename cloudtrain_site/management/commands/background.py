"""`manage.py background`: the background tasks, in the foreground."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from django.core.management.base import BaseCommand

from cloudtrain_site.background_tasks import start_background_tasks, stop_background_tasks
from cloudtrain_site.background_tasks.cluster_forks import forked_clusters
from cloudtrain_site.serving.forks import load_background
from cloudtrain_site.serving.processes import follow_parent, name_process

#: On a machine with both, the web has priority over this process and the trainings that it starts: a provider gives up
#: on webhooks that get no answer, while a delivery that is applied a second later is not lost.
NICENESS = 5


class Command(BaseCommand):
    """Runs until SIGTERM or SIGINT; then lets running work end, or unlocks it for others, within ten seconds."""

    help = "Run the background loops and their workers until Ctrl-C. Any number can run, on any machine."

    def handle(self, *args: Any, **options: Any) -> None:
        load_background()
        name_process("background")
        run_background()


def run_background() -> None:
    """Be the background process. What it runs should be loaded: it forks its workers."""
    follow_parent()
    os.nice(NICENESS)
    with forked_clusters():
        asyncio.run(_run())


async def _run() -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await start_background_tasks()
    await stopped.wait()
    await stop_background_tasks()
