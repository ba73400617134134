"""What a room above registered is found in its order, and is there once."""

from __future__ import annotations

import pytest

from cloudtrain_site.registry import Registry


@pytest.fixture
def registry() -> Registry[str]:
    return Registry()


def test_small_orders_come_first(registry: Registry[str]) -> None:
    registry.register("late", "b", order=20)
    registry.register("early", "a", order=10)
    assert list(registry.items()) == [("early", "a"), ("late", "b")]


def test_equal_orders_keep_the_order_in_which_they_came(registry: Registry[str]) -> None:
    registry.register("z", "first")
    registry.register("a", "second")
    assert list(registry.values()) == ["first", "second"]


def test_a_second_one_under_a_name_replaces_the_first(registry: Registry[str]) -> None:
    registry.register("one", "old", order=1)
    registry.register("two", "between", order=2)
    registry.register("one", "new", order=3)
    assert list(registry.items()) == [("two", "between"), ("one", "new")]


def test_what_nobody_registered_is_not_there(registry: Registry[str]) -> None:
    assert registry.get("nothing") is None
    assert "nothing" not in registry
    assert len(registry) == 0


def test_it_may_grow_while_somebody_goes_through_it(registry: Registry[str]) -> None:
    registry.register("one", "a")
    for name in registry:
        registry.register(f"{name}, again", "b")
    assert len(registry) == 2
