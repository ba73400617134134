"""What `manage.py up` turns into once everything is prepared: it keeps the web and the background running.

A program of its own that knows no Django: as a command of Django's, a process that only waits would hold 80 MB.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from cloudtrain_site.conf.places import COMMAND, with_import_path
from cloudtrain_site.serving.processes import PYTHON, Service, follow_parent, stop_all
from cloudtrain_site.structured_logging import init_from_env

LOOK_SECONDS = 0.2
#: The web process needs three seconds at most, the background about eight; all must be gone after ten.
STOP_SECONDS = 9.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def become_supervisor(listener: int) -> NoReturn:
    """Replace this program. The process stays, with its number, its terminal and the socket `listener`."""
    os.set_inheritable(listener, True)
    command = [*PYTHON, "-m", "cloudtrain_site.serving.supervisor", "--listener", str(listener)]
    os.execve(sys.executable, command, with_import_path(os.environ))  # noqa: S606 - our own program


class Stopping:
    """Whether somebody asked us to stop. A plain attribute: setting an Event in a signal handler can lock up."""

    def __init__(self) -> None:
        self.asked = False
        for number in STOP_SIGNALS:
            # Under nohup a hang-up is not meant for us.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._ask)

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        self.asked = True


def services(listener: int) -> list[Service]:
    """What runs: the web process, which answers on the socket `listener`, and the background tasks."""
    web = [*PYTHON, "-m", "cloudtrain_site.web", "--fd", str(listener)]
    background = [*PYTHON, "-m", "cloudtrain_site", "background"]
    return [
        Service("web", web, env={"CLOUDTRAIN_ROLE": "web"}, pass_fds=[listener]),
        Service("background", background, env={"CLOUDTRAIN_ROLE": "worker"}),
    ]


def keep_running(running: Sequence[Service], stopping: Stopping) -> None:
    """Start the services, and start again whichever ends, until somebody asks us to stop."""
    try:
        while not stopping.asked:
            for service in running:
                service.tend()
            time.sleep(LOOK_SECONDS)
    finally:
        stop_all(running, STOP_SECONDS)


def main() -> None:
    """Run until SIGTERM or Ctrl-C; within ten seconds everything is gone, a running training excepted."""
    stopping = Stopping()
    follow_parent()
    parser = argparse.ArgumentParser(prog=f"{COMMAND} up")
    parser.add_argument("--listener", type=int, required=True)
    init_from_env()
    keep_running(services(parser.parse_args().listener), stopping)


if __name__ == "__main__":
    main()
