"""Forks the clusters of a background process.

That process has threads, and the next cluster may be needed at any time: a child that was forked before the first
thread began, and begins none, does it upon request.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from cloudtrain_site.background_tasks.guard import Guard
from cloudtrain_site.background_tasks.heartbeats import connect_heartbeats
from cloudtrain_site.correlation_ids import correlation
from cloudtrain_site.serving.forks import Fork
from cloudtrain_site.serving.processes import Child, follow_parent

_forker: Connection | None = None


@contextmanager
def forked_clusters() -> Iterator[None]:
    """Have `fork_cluster` fork, in this block. To be entered before the first thread begins."""
    global _forker
    _forker, theirs = Pipe()
    Fork("forker", partial(_fork_upon_request, theirs, _forker))
    theirs.close()
    try:
        yield
    finally:
        _forker.close()  # which ends it
        _forker = None


def fork_cluster(environment: Mapping[str, str]) -> Child | None:
    """Return a new cluster, in a session of its own; None: there is no process that forks."""
    if _forker is None:
        return None
    with suppress(EOFError, OSError):
        while _forker.poll():
            _forker.recv()  # the status of one that nobody waited for
        _forker.send(environment)
        return _Cluster(_forker, _forker.recv())
    return None


class _Cluster:
    """A cluster that the forker has forked."""

    def __init__(self, forker: Connection, pid: int) -> None:
        self.pid = pid
        self._forker = forker
        self._status: int | None = None

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status. Raises TimeoutExpired after the time."""
        if self._status is None:
            try:
                if not self._forker.poll(timeout):
                    raise subprocess.TimeoutExpired("cluster", timeout or 0.0)
                self._status = self._forker.recv()
            except (EOFError, OSError):  # the forker was killed, and the cluster with it
                self._status = -signal.SIGKILL
        return self._status

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sig)


def _fork_upon_request(requests: Connection, other_end: Connection) -> None:
    other_end.close()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    follow_parent(signal.SIGKILL)
    with suppress(EOFError, OSError):
        while True:
            cluster = Fork("cluster", partial(run_cluster, requests), requests.recv())
            requests.send(cluster.pid)
            requests.send(cluster.wait())


def run_cluster(unneeded: Connection) -> None:
    """Run django-q2's cluster in this process until SIGTERM."""
    unneeded.close()
    connect_heartbeats()
    with correlation():
        Guard().start()
