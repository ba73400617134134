"""Redis as the broker of the tasks: faster, optional, and never the only memory of anything."""
# ruff: noqa: F401, F811 - fixtures are imported, and then named again by the tests that want them

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cloudtrain_site.process_stacks import Stack, migrated, stack
from tests.servers import RedisServer
from tests.wait import wait_until

# Redis is for several machines, and these share a PostgreSQL server.
pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.postgresql]


class Broker:
    """A private Redis server that can be stopped and started again on its port."""

    def __init__(self) -> None:
        self.server = RedisServer.start()

    def restart(self) -> None:
        self.server = RedisServer.start(self.server.port)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """Everything that a stack starts uses it."""
    made = Broker()
    monkeypatch.setenv("REDIS_URL", made.server.url)
    yield made
    made.server.stop()


def test_the_loops_run_over_redis_and_go_on_when_it_comes_back(broker: Broker, stack: Stack) -> None:
    background = stack.start("background")
    stack.wait_for_ticks(2)
    assert stack.query("SELECT count(*) FROM django_q_ormq") == [(0,)]
    assert errors(stack) == []
    broker.server.stop()
    wait_until(lambda: errors(stack), 30)
    broker.restart()
    stack.wait_for_ticks(seconds=45)
    background.send_signal(signal.SIGINT)
    stack.wait_until_gone(10)
    assert background.wait() == 0


def errors(stack: Stack) -> list[dict[str, Any]]:
    return [line for line in stack.lines() if line["level"] in ("ERROR", "CRITICAL")]
