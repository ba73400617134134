"""Redis as the broker of the tasks: faster, optional, and never the only memory of anything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cloudtrain_site.stacks import Stack, migrated, stack, wait_until  # noqa: F401 - fixtures
from tests.servers import RedisServer

pytestmark = [pytest.mark.slow, pytest.mark.redis]


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


def test_the_loops_run_over_redis_and_leave_nothing_in_the_database(broker: Broker, stack: Stack) -> None:  # noqa: F811
    stack.start("background")
    stack.wait_for_ticks(2)
    assert stack.query("SELECT count(*) FROM django_q_ormq") == [(0,)]


def test_the_loops_go_on_when_redis_comes_back(broker: Broker, stack: Stack) -> None:  # noqa: F811
    background = stack.start("background")
    stack.wait_for_ticks()
    broker.server.stop()
    wait_until(lambda: any(line["level"] == "ERROR" for line in stack.lines()), 30)
    broker.restart()
    stack.wait_for_ticks(seconds=45)
    assert background.poll() is None
