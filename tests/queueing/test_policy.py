"""Who goes next, and what keeps the others."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing.policy import (
    Blocker,
    BlockerKind,
    Candidate,
    Limits,
    Usage,
    blockers,
    can_go,
    choose,
    in_queue_order,
    share_taken,
    turn_of,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOMY = Limits(total=100, per_user=100, per_organization=100)


def candidate(entry_id: int = 1, user_id: int = 1, organization_id: int = 1, **more: Any) -> Candidate:
    return Candidate(entry_id, user_id, organization_id, more.pop("provider", "local"), **more)


def usage_of(*holders: Candidate) -> Usage:
    usage = Usage()
    for holder in holders:
        usage.add(holder)
    return usage


def test_whose_turn_is_the_earliest_goes_first_and_of_equals_the_oldest() -> None:
    waiting = [candidate(3, turn=5.0), candidate(2, turn=9.0), candidate(1, turn=9.0)]
    assert choose(waiting, Usage(), ROOMY, NOW) == [3, 1, 2]


def test_priority_comes_before_age() -> None:
    assert turn_of(NOW + timedelta(minutes=5), 11) < turn_of(NOW, 10)


def test_ten_points_are_worth_an_hour_of_waiting() -> None:
    lead, researcher = turn_of(NOW, 20), turn_of(NOW - timedelta(minutes=59), 10)
    assert lead < researcher
    assert lead > turn_of(NOW - timedelta(minutes=61), 10)


def test_nobody_is_passed_by_those_who_came_five_hours_later() -> None:
    assert turn_of(NOW, 0) < turn_of(NOW + timedelta(hours=5, seconds=1), 50)


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


@pytest.mark.parametrize(
    "limits",
    [
        Limits(100, 100, 100, drained=frozenset({"local"})),
        Limits(100, 100, 100, switched_off=frozenset({"local"})),
        Limits(100, 100, 100, existing=frozenset({"replicate"})),
    ],
)
def test_nothing_goes_to_a_provider_that_is_closed(limits: Limits) -> None:
    waiting = [candidate(1), candidate(2, provider="replicate")]
    assert choose(waiting, Usage(), limits, NOW) == [2]


def test_an_entry_waits_out_its_pause() -> None:
    waiting = [candidate(1, not_before=NOW + timedelta(seconds=9)), candidate(2, not_before=NOW)]
    assert choose(waiting, Usage(), ROOMY, NOW) == [2]


def test_with_fair_share_the_organization_that_runs_least_for_its_share_goes_first() -> None:
    waiting = [candidate(n, user_id=n, organization_id=1) for n in (1, 2, 3)]
    waiting += [candidate(n, user_id=n, organization_id=2) for n in (4, 5)]
    limits = Limits(total=100, per_user=100, per_organization=10, organizations={2: 5}, fair_share=True)
    running = [candidate(90, organization_id=1), candidate(91, organization_id=1)]
    # 2 of 10 run of the first, 0 of 5 of the second: each of the second's takes twice as much of its share.
    assert choose(waiting, usage_of(*running), limits, NOW) == [4, 1, 5, 2, 3]


def test_with_fair_share_the_line_is_in_the_order_of_the_shares() -> None:
    waiting = [candidate(n, user_id=n, organization_id=1) for n in (1, 2, 3)]
    waiting += [candidate(n, user_id=n, organization_id=2) for n in (4, 5)]
    limits = Limits(total=1, per_user=100, per_organization=10, organizations={2: 5}, fair_share=True)
    running = usage_of(candidate(90, organization_id=1), candidate(91, organization_id=1))
    line = in_queue_order(waiting, running, limits, NOW)
    assert [entry.entry_id for entry in line] == [4, 1, 5, 2, 3]
    assert running.total == 2, "looking at the line takes no slot"


def test_the_choice_ends_where_a_lane_was_not_seen_to_its_end() -> None:
    waiting = [candidate(1), candidate(2), candidate(9, user_id=2)]
    assert choose(waiting, Usage(), ROOMY, NOW, depth=2) == [1, 2]


def test_a_lane_that_is_at_its_limit_was_seen_to_its_end() -> None:
    waiting = [candidate(1), candidate(2, user_id=2), candidate(3, user_id=3)]
    limits = Limits(total=100, per_user=1, per_organization=100)
    assert choose(waiting, Usage(), limits, NOW, depth=1) == [1, 2, 3]


def test_without_fair_share_the_line_is_in_the_order_of_the_turns() -> None:
    waiting = [
        candidate(n, turn=float(n), organization_id=organization) for n, organization in ((1, 1), (2, 1), (3, 2))
    ]
    line = in_queue_order(waiting, usage_of(candidate(90, organization_id=1)), ROOMY, NOW)
    assert [entry.entry_id for entry in line] == [1, 2, 3]


def test_with_fair_share_a_pause_changes_no_place() -> None:
    waiting = [candidate(n, user_id=n, organization_id=1) for n in (1, 2)] + [candidate(3, organization_id=2)]
    for paused in (False, True):
        limits = Limits(total=100, per_user=100, per_organization=10, fair_share=True, paused=paused)
        assert [entry.entry_id for entry in in_queue_order(waiting, Usage(), limits, NOW)] == [1, 3, 2]


@pytest.mark.parametrize(
    ("limit", "running", "share"), [(4, 1, 0.25), (2, 2, 1.0), (1, 1, 1.0), (0, 1, 1.0), (0, 0, 0.0)]
)
def test_the_share_that_an_organization_takes(limit: int, running: int, share: float) -> None:
    usage = usage_of(*[candidate(n, organization_id=7) for n in range(running)])
    assert share_taken(7, usage, Limits(100, 100, 9, organizations={7: limit})) == share


def test_an_entry_that_waits_out_its_pause_says_until_when() -> None:
    until = NOW + timedelta(seconds=9)
    assert blockers(candidate(not_before=until), Usage(), ROOMY, NOW) == [Blocker(BlockerKind.RETRY, until=until)]
    assert blockers(candidate(not_before=NOW), Usage(), ROOMY, NOW) == []


def test_no_more_are_chosen_than_asked_for() -> None:
    assert choose([candidate(n) for n in range(5)], Usage(), ROOMY, NOW, at_most=2) == [0, 1]


@pytest.mark.parametrize(
    ("limits", "kind"),
    [
        (Limits(1, 100, 100), BlockerKind.TOTAL),
        (Limits(100, 1, 100), BlockerKind.USER),
        (Limits(100, 100, 1), BlockerKind.ORGANIZATION),
        (Limits(100, 100, 100, providers={"local": 1}), BlockerKind.PROVIDER),
        (Limits(100, 100, 100, paused=True), BlockerKind.PAUSED),
        (Limits(100, 100, 100, drained=frozenset({"local"})), BlockerKind.DRAINED),
        (Limits(100, 100, 100, switched_off=frozenset({"local"})), BlockerKind.SWITCHED_OFF),
        (Limits(100, 100, 100, existing=frozenset({"replicate"})), BlockerKind.GONE),
    ],
)
def test_the_blocker_names_the_limit(limits: Limits, kind: BlockerKind) -> None:
    assert [found.kind for found in blockers(candidate(2), usage_of(candidate(1)), limits, NOW)] == [kind]


def test_all_that_blocks_is_told_what_is_closest_first() -> None:
    found = blockers(candidate(2), usage_of(candidate(1)), Limits(1, 1, 1), NOW)
    assert [item.kind for item in found] == [BlockerKind.USER, BlockerKind.ORGANIZATION, BlockerKind.TOTAL]


def test_who_can_go_is_not_blocked() -> None:
    assert blockers(candidate(), Usage(), ROOMY, NOW) == []


entries = st.builds(
    candidate,
    entry_id=st.integers(1, 10_000),
    user_id=st.integers(1, 4),
    organization_id=st.integers(1, 3),
    provider=st.sampled_from(["local", "replicate"]),
    turn=st.integers(0, 5).map(float),
)
limit = st.integers(0, 6)
any_limits = st.builds(
    Limits,
    total=limit,
    per_user=limit,
    per_organization=limit,
    providers=st.fixed_dictionaries({"local": limit}),
    fair_share=st.booleans(),
)


@given(
    waiting=st.lists(entries, max_size=30, unique_by=lambda entry: entry.entry_id),
    running=st.lists(entries, max_size=8),
    limits=any_limits,
)
def test_no_limit_is_ever_exceeded_by_what_is_chosen_and_nothing_that_could_go_is_left(
    waiting: list[Candidate], running: list[Candidate], limits: Limits
) -> None:
    chosen = set(choose(waiting, usage_of(*running), limits, NOW))
    gone = [entry for entry in waiting if entry.entry_id in chosen]
    users = Counter(entry.user_id for entry in [*gone, *running])
    assert not gone or len(gone) + len(running) <= limits.total
    assert all(users[entry.user_id] <= limits.per_user for entry in gone)
    left = [entry for entry in waiting if entry.entry_id not in chosen]
    assert not any(can_go(entry, usage_of(*gone, *running), limits, NOW) for entry in left)
    assert all(blockers(entry, usage_of(*gone, *running), limits, NOW) for entry in left)


@given(waiting=st.lists(entries, max_size=30, unique_by=lambda entry: entry.entry_id), limits=any_limits)
def test_looking_at_the_first_of_each_lane_chooses_as_looking_at_all(waiting: list[Candidate], limits: Limits) -> None:
    expected, usage, chosen = choose(waiting, Usage(), limits, NOW), Usage(), list[int]()
    left = sorted(waiting, key=lambda entry: entry.order)
    while True:
        seen: Counter[object] = Counter()
        first = []
        for entry in left:
            seen[entry.lane] += 1
            if seen[entry.lane] <= 2:
                first.append(entry)
        picked = choose(first, usage, limits, NOW, depth=2)
        if not picked:
            break
        chosen += picked
        left = [entry for entry in left if entry.entry_id not in picked]
    assert chosen == expected


@given(
    waiting=st.lists(entries, max_size=30, unique_by=lambda entry: entry.entry_id),
    running=st.lists(entries, max_size=8),
    limits=any_limits,
)
def test_who_goes_next_is_the_first_in_the_line_that_can(
    waiting: list[Candidate], running: list[Candidate], limits: Limits
) -> None:
    line = list(in_queue_order(waiting, usage_of(*running), limits, NOW))
    assert sorted(line, key=lambda entry: entry.order) == sorted(waiting, key=lambda entry: entry.order)
    gone = choose(waiting, usage_of(*running), limits, NOW)
    places = [entry.entry_id for entry in line]
    assert gone == sorted(gone, key=places.index)
    usage = usage_of(*running)
    able = next((entry.entry_id for entry in line if can_go(entry, usage, limits, NOW)), None)
    assert gone[:1] == ([] if able is None else [able])


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 40_000))
def test_an_entry_is_passed_only_by_those_of_more_priority_within_an_hour_for_ten_points(
    priority: int, others: int, seconds: int
) -> None:
    first, later = turn_of(NOW, priority), turn_of(NOW + timedelta(seconds=seconds), others)
    assert (later < first) == (seconds < (others - priority) * 360)
