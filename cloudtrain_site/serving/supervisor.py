"""The supervisor: it keeps the web processes running, and under `manage.py up` the background too.

It needs no Django, with which a process that only waits would hold 80 MB. Under `manage.py up` it has loaded Django and
our code nevertheless, and forks the other processes, so that all share one copy.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import NoReturn

from cloudtrain_site.conf.places import with_import_path
from cloudtrain_site.conf.web_processes import VARIABLE as WEB_PROCESSES
from cloudtrain_site.serving.board import Board
from cloudtrain_site.serving.processes import MODULE_RUNNER, Child, Service, follow_parent, stop, stop_all

logger = logging.getLogger("simpletuner.cloud.site")

CHECK_SECONDS = 0.2
#: The web process needs three seconds at most, the background about eight; all must have ended after ten.
STOP_SECONDS = 9.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: A new web process must take connections within this time, also on a busy machine.
READY_SECONDS = 60.0
#: A replaced one has this long to end its streams and to answer its last request.
RETIRE_SECONDS = 60.0


def become_supervisor(listener: int, processes: int) -> NoReturn:
    """Replace this program by the supervisor of web processes alone.

    The process keeps its number, its terminal and the socket `listener`.
    """
    os.set_inheritable(listener, True)
    command = [*MODULE_RUNNER, "cloudtrain_site.serving.supervisor"]
    command += ["--listener", str(listener), "--processes", str(processes)]
    os.execve(sys.executable, command, with_import_path(os.environ))  # noqa: S606 - our own program


def supervise(
    listener: int,
    processes: int,
    *,
    with_background: bool,
    fork_web: Callable[[Board, int], Child] | None = None,
    fork_background: Callable[[], Child] | None = None,
) -> None:
    """Run until SIGTERM or Ctrl-C; within ten seconds all processes end, a running training excepted.

    A caller that has loaded their code passes functions that fork them; `fork_web` gets the board and the slot.
    """
    requests = Requests()
    board = Board.create(2 * processes)
    web = [WebProcess(number, processes, listener, board, fork_web) for number in range(processes)]
    command = [*MODULE_RUNNER, "cloudtrain_site", "background"]
    background = Service("background", command, env={"CLOUDTRAIN_ROLE": "worker"}, fork=fork_background)
    Supervisor(web, [background] if with_background else [], requests).run()


class Requests:
    """What was asked for by signals. Plain attributes: setting an Event in a signal handler can deadlock.

    A hang-up restarts, as it does with other servers. Where there is a terminal it means that this was closed, and
    stops.
    """

    def __init__(self) -> None:
        self.stop = self.restart = False
        for number in STOP_SIGNALS:
            signal.signal(number, self._request_stop)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup it must be ignored
            signal.signal(signal.SIGHUP, self._request_stop if _has_terminal() else self._request_restart)

    def _request_stop(self, signum: int, frame: FrameType | None) -> None:
        self.stop = True

    def _request_restart(self, signum: int, frame: FrameType | None) -> None:
        self.restart = True


def _has_terminal() -> bool:
    with suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDWR))
        return True
    return False


class WebProcess(Service):
    """A web process, and for a moment also the one that takes its place."""

    def __init__(
        self,
        number: int,
        processes: int,
        listener: int,
        board: Board,
        fork: Callable[[Board, int], Child] | None = None,
    ) -> None:
        self._board, self._slots = board, (2 * number, 2 * number + 1)
        self._command = [*MODULE_RUNNER, "cloudtrain_site.web", "--fd", str(listener), "--board", str(board.descriptor)]
        environment = {"CLOUDTRAIN_ROLE": "web", WEB_PROCESSES: str(processes)}
        name = "web" if processes == 1 else f"web {number + 1}"
        self._retiring: Child | None = None
        super().__init__(
            name,
            self._in_slot(),
            env=environment,
            pass_fds=[listener, board.descriptor],
            fork=(lambda: fork(board, self._slots[0])) if fork else None,
        )

    def replace(self, wait: Callable[[Callable[[], bool], float], bool]) -> bool:
        """Start another one, and end this one when that takes connections. False: it goes on, since the other doesn't.

        `wait` waits for a condition, at most so many seconds, and returns whether it is met.
        """
        command, (slot, other) = self.command, self._slots
        self._slots = (other, slot)
        self.command = self._in_slot()
        replacement = self.launch()
        wait(lambda: self._board.serves(other) or replacement.poll() is not None, READY_SECONDS)
        if not self._board.serves(other):
            stop(replacement, 0.0)
            self._slots, self.command = (slot, other), command
            return False
        former, self.process = self.process, replacement
        if former is not None:
            self._retiring = former
            former.send_signal(signal.SIGHUP)
            if wait(lambda: former.poll() is not None, RETIRE_SECONDS):
                self._retiring = None
            self._board.clear(slot)
        return True

    def processes(self) -> list[Child]:
        return [*super().processes(), *([self._retiring] if self._retiring else [])]

    def note_end(self, status: int) -> None:
        self._board.clear(self._slots[0])
        super().note_end(status)

    def _in_slot(self) -> list[str]:
        return [*self._command, "--slot", str(self._slots[0])]


class Supervisor:
    """Starts the services, and restarts each that ends, until a stop is requested."""

    def __init__(self, web: Sequence[WebProcess], others: Sequence[Service], requests: Requests) -> None:
        self.web = web
        self.others = others
        self.requests = requests

    def run(self) -> None:
        try:
            while not self.requests.stop:
                self.tend()
                if self.requests.restart:
                    self.requests.restart = False
                    self.restart()
                time.sleep(CHECK_SECONDS)
        finally:
            stop_all([*self.web, *self.others], STOP_SECONDS)

    def tend(self, besides: Service | None = None) -> None:
        for service in (*self.web, *self.others):
            if service is not besides:
                service.tend()

    def restart(self) -> None:
        """Replace the web processes one after the other, so that no request is refused, and then the others."""
        logger.info("Restarting")
        for service in (*self.web, *self.others):
            service.load_anew()
        for web in self.web:
            is_replaced = web.replace(partial(self._wait, web))
            if self.requests.stop:
                return
            if not is_replaced:
                logger.error("Restart given up: a new process does not start", extra={"service": web.name})
                return
        for service in self.others:
            service.restart(STOP_SECONDS)
        logger.info("Restarted")

    def _wait(self, replaced: Service, is_met: Callable[[], bool], seconds: float) -> bool:
        """Wait, and meanwhile see to the other processes, until the condition is met or a stop is requested."""
        deadline = time.monotonic() + seconds
        while not is_met():
            if self.requests.stop or time.monotonic() > deadline:
                return False
            self.tend(besides=replaced)
            time.sleep(CHECK_SECONDS)
        return True


def main() -> None:
    follow_parent()
    parser = argparse.ArgumentParser()
    parser.add_argument("--listener", type=int, required=True)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    # Here: a web process, which imports this module too, first hides what its libraries don't need.
    from cloudtrain_site.structured_logging import init_from_env

    init_from_env()
    supervise(options.listener, options.processes, with_background=False)


if __name__ == "__main__":
    main()
