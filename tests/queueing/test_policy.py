"""Who goes next, and why the others wait."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing.policy import Candidate, Limits, Usage, choose, reason_to_wait

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOMY = Limits(total=100, per_user=100, per_organization=100)


def candidate(entry_id: int = 1, user_id: int = 1, organization_id: int = 1, **more: Any) -> Candidate:
    return Candidate(entry_id, user_id, organization_id, more.pop("provider", "local"), **more)


def usage_of(*holders: Candidate) -> Usage:
    usage = Usage()
    for holder in holders:
        usage.add(holder)
    return usage


def test_entries_go_in_the_order_that_they_are_given_in() -> None:
    assert choose([candidate(3), candidate(1), candidate(2)], Usage(), ROOMY, NOW) == [3, 1, 2]


def test_no_more_go_than_the_general_limit_allows() -> None:
    waiting = [candidate(n, user_id=n) for n in range(10)]
    limits = Limits(total=3, per_user=100, per_organization=100)
    assert choose(waiting, usage_of(candidate(99)), limits, NOW) == [0, 1]


def test_a_user_at_the_limit_does_not_block_those_behind() -> None:
    waiting = [candidate(1, user_id=1), candidate(2, user_id=1), candidate(3, user_id=2)]
    limits = Limits(total=100, per_user=1, per_organization=100)
    assert choose(waiting, Usage(), limits, NOW) == [1, 3]


def test_an_organizations_own_number_wins_over_the_general_one() -> None:
    waiting = [candidate(n, user_id=n, organization_id=7) for n in range(4)]
    limits = Limits(total=100, per_user=100, per_organization=1, organizations={7: 3})
    assert choose(waiting, Usage(), limits, NOW) == [0, 1, 2]


def test_a_provider_takes_no_more_than_it_has_places() -> None:
    waiting = [candidate(1, user_id=1), candidate(2, user_id=2), candidate(3, user_id=3, provider="replicate")]
    limits = Limits(total=100, per_user=100, per_organization=100, providers={"local": 1})
    assert choose(waiting, Usage(), limits, NOW) == [1, 3]


def test_nothing_goes_from_a_paused_queue() -> None:
    assert choose([candidate()], Usage(), Limits(100, 100, 100, paused=True), NOW) == []


def test_an_entry_waits_out_its_pause() -> None:
    waiting = [candidate(1, not_before=NOW + timedelta(seconds=9)), candidate(2, not_before=NOW)]
    assert choose(waiting, Usage(), ROOMY, NOW) == [2]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(1, 100, 100), "1 of 1 jobs are running; the next one starts when one ends."),
        (Limits(100, 1, 100), "1 of 1 jobs that one person may run are running"),
        (Limits(100, 100, 1), "1 of 1 jobs that the organization may run"),
        (Limits(100, 100, 100, providers={"local": 1}), "1 of 1 places at local are taken"),
        (Limits(100, 100, 100, paused=True), "The queue is paused"),
    ],
)
def test_the_reason_names_the_limit(limits: Limits, words: str) -> None:
    assert words in str(reason_to_wait(candidate(2), usage_of(candidate(1)), limits, NOW))


def test_the_reason_says_when_the_next_try_is() -> None:
    waiting = candidate(not_before=NOW + timedelta(seconds=20))
    assert "next try is in 20 s" in str(reason_to_wait(waiting, Usage(), ROOMY, NOW))


def test_who_can_go_has_no_reason() -> None:
    assert reason_to_wait(candidate(), Usage(), ROOMY, NOW) is None


entries = st.builds(
    candidate,
    entry_id=st.integers(1, 10_000),
    user_id=st.integers(1, 4),
    organization_id=st.integers(1, 3),
    provider=st.sampled_from(["local", "replicate"]),
)
limit = st.integers(0, 6)


@given(
    waiting=st.lists(entries, max_size=30, unique_by=lambda entry: entry.entry_id),
    running=st.lists(entries, max_size=8),
    limits=st.builds(
        Limits, total=limit, per_user=limit, per_organization=limit, providers=st.fixed_dictionaries({"local": limit})
    ),
)
def test_no_limit_is_ever_exceeded_by_what_is_chosen(
    waiting: list[Candidate], running: list[Candidate], limits: Limits
) -> None:
    chosen = set(choose(waiting, usage_of(*running), limits, NOW))
    gone = [entry for entry in waiting if entry.entry_id in chosen]
    users = Counter(entry.user_id for entry in [*gone, *running])
    assert not gone or len(gone) + len(running) <= limits.total
    assert all(users[entry.user_id] <= limits.per_user for entry in gone)
    left = [entry for entry in waiting if entry.entry_id not in chosen]
    assert all(reason_to_wait(entry, usage_of(*gone, *running), limits, NOW) for entry in left)
