"""The web's connections to a PostgreSQL server that is restarted, away, full or slow, with the settings of the site."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import OperationalError
from django.db.utils import ConnectionHandler

from cloudtrain_site.conf.database import database_settings
from cloudtrain_site.conf.environment import Environment
from cloudtrain_site.database.failures import AWAY, failure_of
from cloudtrain_site.database.postgresql import base
from tests.servers import PostgresServer
from tests.wait import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.postgresql, pytest.mark.django_db]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    started = PostgresServer.start()
    yield started
    started.stop()


@pytest.fixture
def web(server: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ConnectionHandler]:
    """Connections as the web process makes them; each thread has one of its own."""
    monkeypatch.setenv("DATABASE_URL", server.url)
    handler = ConnectionHandler({"default": database_settings(Environment(), data_dir=tmp_path, role="web")})
    pools: dict[str, Any] = {}
    monkeypatch.setattr(base.DatabaseWrapper, "_connection_pools", pools)
    yield handler
    for pool in pools.values():
        pool.close()
    base.outage.end()


@contextmanager
def lent(web: ConnectionHandler) -> Iterator[int]:
    """As a request has a connection: the number of its backend."""
    connection = web["default"]
    connection.inc_thread_sharing()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            yield cursor.fetchone()[0]
    finally:
        connection.close()


def request(web: ConnectionHandler) -> int:
    with lent(web) as backend:
        return backend


def figures(web: ConnectionHandler) -> dict[str, int]:
    connection: Any = web["default"]
    return dict(connection.pool.get_stats())


def timed_refusal(web: ConnectionHandler) -> float:
    """The seconds until a request learns that there is no database."""
    began = time.monotonic()
    with pytest.raises(OperationalError) as refusal:
        request(web)
    assert failure_of(refusal.value) is AWAY
    return time.monotonic() - began


def fill_pool(web: ConnectionHandler) -> set[int]:
    """Ten requests at the same time, each of which holds a connection."""
    barrier = threading.Barrier(10)

    def hold() -> int:
        with lent(web) as backend:
            barrier.wait(20)
            return backend

    with ThreadPoolExecutor(10) as threads:
        return {future.result() for future in [threads.submit(hold) for _ in range(10)]}


def test_no_request_gets_a_connection_that_a_restart_has_cut(server: PostgresServer, web: ConnectionHandler) -> None:
    before = fill_pool(web)
    assert len(before) == 10
    server.halt()
    server.resume()
    began = time.monotonic()
    for _ in range(20):
        assert request(web) > 0
    assert time.monotonic() - began < 5


def test_nor_one_that_was_ended_alone(server: PostgresServer, web: ConnectionHandler) -> None:
    backend = request(web)
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])
    assert request(web) != backend


def test_requests_fail_at_once_while_the_server_is_away(
    server: PostgresServer, web: ConnectionHandler, caplog: pytest.LogCaptureFixture
) -> None:
    request(web)
    server.halt()
    try:
        assert timed_refusal(web) < 5  # this one finds out
        refusals = [timed_refusal(web) for _ in range(20)]
        assert sorted(refusals)[10] < 0.1
        with caplog.at_level(logging.WARNING):
            wait_until(lambda: timed_refusal(web) > 0.1)  # one that tries again
    finally:
        server.resume()
    wait_until(lambda: _works(web))
    assert len([record for record in caplog.records if "error connecting" in record.msg]) <= 1


def _works(web: ConnectionHandler) -> bool:
    try:
        return request(web) > 0
    except OperationalError:
        return False


def test_a_full_server_is_not_taken_for_one_that_is_away(server: PostgresServer, web: ConnectionHandler) -> None:
    """Some connections are there, and more can't be made: then requests take turns."""
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute("CREATE ROLE few LOGIN SUPERUSER")
        admin.execute("ALTER ROLE few NOSUPERUSER CONNECTION LIMIT 2")
    web.settings["default"]["USER"] = "few"
    with ThreadPoolExecutor(10) as threads:
        backends = {future.result() for future in [threads.submit(request, web) for _ in range(100)]}
    assert len(backends) <= 3
    assert base.outage.began_at is None


def test_requests_wait_for_a_busy_pool(web: ConnectionHandler) -> None:
    """For longer than one slice of the wait."""
    done = threading.Event()

    def hold() -> None:
        with lent(web):
            done.wait(30)

    with ThreadPoolExecutor(10) as holders:
        held = [holders.submit(hold) for _ in range(10)]
        wait_until(lambda: figures(web)["pool_size"] == 10)
        with ThreadPoolExecutor(1) as last:
            late = last.submit(request, web)
            wait_until(lambda: figures(web).get("requests_errors", 0) >= 2)
            assert not late.done()
            done.set()
            assert late.result(20) > 0
        assert all(future.result() is None for future in held)


def test_options_of_the_address_reach_the_web_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They were lost there: a connection was made without the encryption that was asked for."""
    monkeypatch.setenv("DATABASE_URL", "postgres://bob@host/db?sslmode=require&connect_timeout=7")
    for role in ("web", "worker"):
        options = database_settings(Environment(), data_dir=tmp_path, role=role)["OPTIONS"]
        assert (options["sslmode"], int(options["connect_timeout"])) == ("require", 7)
