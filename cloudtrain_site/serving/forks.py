"""Processes forked from one that has loaded all that they need: they share its memory, and begin at once.

Only a process with one thread and no open connection may fork: a lock that another thread holds stays locked for ever.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import import_module

from django.conf import settings
from django.db import connections
from django.urls import get_resolver

from cloudtrain_site import extensions
from cloudtrain_site.conf.database import database_settings
from cloudtrain_site.conf.environment import Environment
from cloudtrain_site.conf.occupancy import hold
from cloudtrain_site.conf.places import with_import_path
from cloudtrain_site.serving.lean_imports import load_lean_httpx
from cloudtrain_site.serving.processes import PARENT_VARIABLE, name_process, share_one_heap

ROLE_VARIABLE = "CLOUDTRAIN_ROLE"
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_context = multiprocessing.get_context("fork")


def load_background() -> None:
    """Import what the loops, the watchers and the tasks need, and keep the collector from looking through it again."""
    load_lean_httpx()
    paths = {spec.task for spec in extensions.loops.values()} | {one.task for one in extensions.watchers.values()}
    for path in paths:
        import_module(path.rpartition(".")[0])
    _keep()


def load_web() -> None:
    """Do the same for the web."""
    import_module("cloudtrain_site.asgi")
    _ = get_resolver().url_patterns  # which imports the views
    _keep()


def _keep() -> None:
    gc.collect()
    gc.freeze()


class Fork:
    """A process that was forked to call `run`, in a session of its own; it should call `follow_parent`."""

    def __init__(self, name: str, run: Callable[[], int | None], env: Mapping[str, str] | None = None) -> None:
        connections.close_all()
        process = _context.Process(target=_become, args=(name, run, {**(env or {})}, os.getpid()))
        # A signal that came before the child has its own handlers would be lost in one of ours.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._process = process
        assert process.pid is not None
        self.pid = process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status, negative for a signal. Raises TimeoutExpired after the time."""
        self._process.join(timeout)
        if (status := self._process.exitcode) is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0.0)
        return status

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)


def _become(name: str, run: Callable[[], int | None], env: Mapping[str, str], parent: int) -> None:
    share_one_heap()
    os.setsid()
    for number in _STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    os.environ.update({**with_import_path(os.environ), **env, PARENT_VARIABLE: str(parent)})
    name_process(name)
    _take_role(os.environ.get(ROLE_VARIABLE, settings.ROLE))
    hold(settings.DATA_DIR)
    sys.exit(run())


def _take_role(role: str) -> None:
    """Keep database connections as the settings have it for that role."""
    settings.ROLE = role
    settings.DATABASES["default"].update(database_settings(Environment(), data_dir=settings.DATA_DIR, role=role))
