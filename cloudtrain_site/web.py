"""A web process: uvicorn with our settings. `python -m cloudtrain_site.web --help` says how to start one or several."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from cloudtrain_site.conf.data_folder import make_files_private
from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.conf.web_processes import PROCESSES_HELP, processes_of
from cloudtrain_site.enterprise import get_enterprise_config
from cloudtrain_site.serving.accepting import Acceptor
from cloudtrain_site.serving.board import Board
from cloudtrain_site.serving.http_protocol import PatientProtocol, State
from cloudtrain_site.serving.inspection import forbid_inspection
from cloudtrain_site.serving.peer import KeepPeer
from cloudtrain_site.serving.processes import follow_parent, name_process, share_one_heap
from cloudtrain_site.serving.supervisor import become_supervisor
from cloudtrain_site.tracing.spans import send_last

#: How often the time in the answers' heads and the number of connections are brought up to date.
TICK_SECONDS, IDLE_TICK_SECONDS = 0.1, 1.0
#: Open requests may run this long at a stop. Without a limit an open event stream would keep the process for ever.
STOP_SECONDS = 3
#: A process that is replaced hurries nobody: idle connections are closed after this long, ...
DRAIN_SECONDS = 1.0
DRAIN_STEP_SECONDS = 0.1
#: ... and open requests, such as an upload, may then run this long.
LAST_ANSWER_SECONDS = 30
BACKLOG_CONNECTIONS = 2048
#: An open stream is a hundred objects: the oldest of three generations is collected after half a million new ones.
COLLECTOR_THRESHOLDS = (2000, 10, 20)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises OSError when that is impossible, as when the port is taken."""
    if not 0 < port < 65536:
        raise OSError("a port is a number from 1 to 65535")  # the resolver would reduce it modulo 65,536
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG_CONNECTIONS)
    except OSError:
        listener.close()
        raise
    return listener


def serve(listener: socket.socket, board: Board, slot: int) -> None:
    """Answer requests on `listener` until SIGTERM or SIGINT. `slot`: what this process has of the board."""
    _allow_many_connections()
    gc.disable()  # until all is loaded
    config = uvicorn.Config(
        "cloudtrain_site.asgi:application",
        log_config=None,  # its loggers use our handlers
        access_log=False,
        http=PatientProtocol,
        lifespan="off",
        ws="none",  # cloudtrain has none: a request for one gets an ordinary answer, not a 500 and a traceback
        backlog=BACKLOG_CONNECTIONS,
        timeout_graceful_shutdown=STOP_SECONDS,
        proxy_headers=False,  # behind_proxies does it
        server_header=False,  # nobody needs to know what to look for faults of
    )
    config.load()
    config.loaded_app = behind_proxies(config.loaded_app)
    # A broken configuration stops the start; later on, the values read here stay in force.
    get_enterprise_config()
    # The loaded modules stay. Every full collection would scan them again, and block all requests for 70 ms.
    gc.freeze()
    # Thousands of streams stay as well: with Python's own numbers each five hundred more had all of them scanned.
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    gc.enable()
    # These need Django, which the application has set up.
    from cloudtrain_site.limits import streams
    from cloudtrain_site.monitoring.process_heartbeats import WEB, Heartbeat
    from cloudtrain_site.serving.asgi_stack import warm_up

    warm_up()
    heartbeat = Heartbeat(WEB)
    heartbeat.start()

    def end() -> None:
        heartbeat.end()
        send_last()

    streams.share_places(board.descriptor, board.group)
    _Server(config, listener, board, slot, at_end=end).run()


class _Server(uvicorn.Server):
    """Shares `listener` with the other web processes. At a hang-up it leaves its connections to them, and stops.

    It calls `at_end` when it has stopped: after a signal nothing behind `run` is reached.
    """

    def __init__(
        self, config: uvicorn.Config, listener: socket.socket, board: Board, slot: int, at_end: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self.server_state = self._state = State()
        self._listener, self._board, self._slot = listener, board, slot
        self._at_end = at_end
        self._is_replaced = False
        self._is_leaving = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        connections = self.server_state.connections
        self._acceptor = Acceptor(self._listener, self._board, self._slot, connections, self._new_protocol)
        self._state.on_lost = self._acceptor.note
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._retire)

    def _new_protocol(self) -> asyncio.Protocol:
        return PatientProtocol(self.config, self.server_state, self.lifespan.state)

    def _retire(self) -> None:
        self._is_replaced = self.should_exit = True
        self._is_leaving.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        asyncio.get_running_loop().call_soon_threadsafe(self._is_leaving.set)

    async def main_loop(self) -> None:
        """Tick as uvicorn does, but once a second while nobody is connected: ten ticks are 0.1 % of a core."""
        while not await self.on_tick(0):
            pause = TICK_SECONDS if self._acceptor.count() else IDLE_TICK_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_leaving.wait(), pause)

    async def on_tick(self, counter: int) -> bool:
        self._acceptor.note()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._acceptor.close()
        if self._is_replaced:
            await self._drain()
        await super().shutdown(sockets=[])
        self._at_end()

    async def _drain(self) -> None:
        """Give up the event streams, whose clients come back elsewhere, and go on answering on open connections.

        For a second at least: who uses a connection again meanwhile is told that it ends. Who doesn't has it closed.
        """
        from cloudtrain_site.events.relay import ending_streams

        self._state.drain()
        streams, ends_at = ending_streams(), time.monotonic() + DRAIN_SECONDS
        while self._acceptor.count() and not self._captured_signals:
            if next(streams, True) and time.monotonic() > ends_at:
                self.config.timeout_graceful_shutdown = LAST_ANSWER_SECONDS
                return
            await asyncio.sleep(DRAIN_STEP_SECONDS)


def behind_proxies(application: Any) -> KeepPeer:
    """Wrap `application` so that it trusts our proxies' headers for client address and scheme, and no others'."""
    from django.conf import settings  # set up by the application

    trusted = ["127.0.0.1", "::1", *settings.TRUSTED_PROXIES]
    return KeepPeer(ProxyHeadersMiddleware(application, trusted_hosts=trusted))


def _allow_many_connections() -> None:
    """Raise the limit on open files to its maximum: the usual 1,024 is below a thousand open event streams."""
    _, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))


def run_web(listener: int, board: Board, slot: int) -> int:
    """Be a forked web process. Returns the exit status."""
    follow_parent()
    try:
        serve(socket.socket(fileno=listener), board, slot)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def main() -> int:
    """Serve on the address of the command line, or on a socket inherited from the supervisor."""
    forbid_inspection()
    options = _options()
    make_files_private()
    follow_parent()
    share_one_heap()
    os.environ["CLOUDTRAIN_ROLE"] = "web"
    try:
        if options.fd is None:
            listener = listen(options.host, options.port)
            processes = processes_of(options.processes)
            if processes > 1:
                become_supervisor(listener.detach(), processes)
            name_process("web")
            serve(listener, Board.create(1), 0)
        else:
            name_process("web")
            serve(socket.socket(fileno=options.fd), Board(options.board), options.slot)
    except OSError as error:
        sys.stderr.write(f"Can't listen on {options.host} port {options.port}: {error.strerror or error}.\n")
        return 1
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cloudtrain_site.web", description="Serve the site.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--processes", type=int, help=PROCESSES_HELP)
    for name in ("--fd", "--board", "--slot"):  # from the supervisor
        parser.add_argument(name, type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
