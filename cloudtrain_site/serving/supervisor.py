"""The supervisor that `manage.py up` becomes after its preparations: it keeps the web and the background running.

It is a program without Django: as a Django command, a process that only waits would hold 80 MB.
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
from cloudtrain_site.serving.processes import MODULE_RUNNER, Service, follow_parent, stop_all
from cloudtrain_site.structured_logging import init_from_env

CHECK_SECONDS = 0.2
#: The web process needs three seconds at most, the background about eight; all must have ended after ten.
STOP_SECONDS = 9.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def become_supervisor(listener: int) -> NoReturn:
    """Replace this program. The process keeps its number, its terminal and the socket `listener`."""
    os.set_inheritable(listener, True)
    command = [*MODULE_RUNNER, "cloudtrain_site.serving.supervisor", "--listener", str(listener)]
    os.execve(sys.executable, command, with_import_path(os.environ))  # noqa: S606 - our own program


class Stopping:
    """Whether a stop was requested. A plain attribute: setting an Event in a signal handler can deadlock."""

    def __init__(self) -> None:
        self.is_requested = False
        for number in STOP_SIGNALS:
            # Under nohup a hang-up must be ignored.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._request)

    def _request(self, signum: int, frame: FrameType | None) -> None:
        self.is_requested = True


def services(listener: int) -> list[Service]:
    """Return the web process, which answers on the socket `listener`, and the background tasks."""
    web = [*MODULE_RUNNER, "cloudtrain_site.web", "--fd", str(listener)]
    background = [*MODULE_RUNNER, "cloudtrain_site", "background"]
    return [
        Service("web", web, env={"CLOUDTRAIN_ROLE": "web"}, pass_fds=[listener]),
        Service("background", background, env={"CLOUDTRAIN_ROLE": "worker"}),
    ]


def keep_running(running: Sequence[Service], stopping: Stopping) -> None:
    """Start the services, and restart each that ends, until a stop is requested."""
    try:
        while not stopping.is_requested:
            for service in running:
                service.tend()
            time.sleep(CHECK_SECONDS)
    finally:
        stop_all(running, STOP_SECONDS)


def main() -> None:
    """Run until SIGTERM or Ctrl-C; within ten seconds all processes end, a running training excepted."""
    stopping = Stopping()
    follow_parent()
    parser = argparse.ArgumentParser(prog=f"{COMMAND} up")
    parser.add_argument("--listener", type=int, required=True)
    init_from_env()
    keep_running(services(parser.parse_args().listener), stopping)


if __name__ == "__main__":
    main()
