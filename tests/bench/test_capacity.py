"""The model of what a load costs, and its simulation."""

from __future__ import annotations

import pytest

from bench.capacity import FULL, MOST_MS, Costs, Load, forecast, holds, most, processes_for, web_p99_ms

COSTS = Costs(
    rest_web=2,
    rest_background=18,
    submission_web=10,
    submission_background=5,
    delivery=0.05,
    reading=8,
    poll=0.5,
)


def test_costs_are_added_up() -> None:
    load = Load(submissions=10, jobs=600, viewers=100)
    assert COSTS.web(load) == pytest.approx((2 + 10 * (10 + 100 * 0.05) + 10 * 8) / 1000)
    assert COSTS.background(load) == pytest.approx((18 + 10 * 5 + 600 * 0.5 / 30) / 1000)
    further = Load(submissions=10, jobs=600, viewers=100, providers=4)
    assert COSTS.background(further) == pytest.approx(COSTS.background(load) + 3 * 10 / 30 / 1000)


def test_a_request_that_never_waits_takes_its_own_time() -> None:
    assert web_p99_ms(COSTS, Load(0.01, 0, 0), processes=4) == pytest.approx(10)


def test_requests_wait_the_longer_the_fuller_it_is_and_for_ever_when_it_is_too_full() -> None:
    loads = [Load(submissions, 0, 0) for submissions in (10, 50, 90, 120)]
    times = [web_p99_ms(COSTS, load, processes=1) for load in loads]
    assert times == sorted(times)
    assert times[-1] == float("inf")
    assert web_p99_ms(COSTS, loads[-1], processes=2) < MOST_MS


def test_the_most_is_held_and_a_little_more_is_not() -> None:
    usual = Load(1, 100, 20)
    factor = most(COSTS, usual)
    assert holds(COSTS, usual.times(factor))
    assert not holds(COSTS, usual.times(factor * 1.05))
    assert COSTS.background(usual.times(factor)) <= FULL


def test_more_processes_answer_ten_times_as_much() -> None:
    load = Load(80, 0, 0).times(10)
    assert processes_for(COSTS, load) > 8
    assert web_p99_ms(COSTS, load, processes_for(COSTS, load)) <= MOST_MS


def test_the_forecast_has_a_row_for_each_factor() -> None:
    assert [line.split("|")[1].strip() for line in forecast(COSTS, Load(1, 100, 20))][2:] == ["1x", "10x", "100x"]
