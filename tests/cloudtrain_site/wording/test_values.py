"""Values as people read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cloudtrain_site.wording.values import in_words, moment_on_page, rough_duration, took, with_moments


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "10 s"),
        (47, "50 s"),
        (200, "3 min"),
        (38 * 60 + 47, "40 min"),
        (72 * 60, "1 h 10 min"),
        (2.99 * 3600, "3 h"),
        (9.3 * 3600, "9 h 30 min"),
        (53.4 * 3600, "2 d 5 h"),
    ],
)
def test_an_estimate_has_the_precision_that_it_has(seconds: float, text: str) -> None:
    assert rough_duration(seconds) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(0.4, "0 ms"), (999.4, "999 ms"), (2345, "2.3 s"), (200_000, "3 min 20 s")]
)
def test_a_run_took_as_long_as_one_can_tell(milliseconds: float, text: str) -> None:
    assert took(milliseconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"role": "admin", "max_running": None}, "role: admin, max running: none"),
        ([50, 80], "50, 80"),
        ({"on": True, "muted": []}, "on: yes, muted: none"),
        ("2026-12-07T04:28:16.590Z", "7 Dec 2026, 04:28 UTC"),
        (0, "0"),
    ],
)
def test_values_have_no_signs_of_json(value: Any, text: str) -> None:
    assert in_words(value) == text


def test_moments_in_a_text_are_written_in_the_readers_zone() -> None:
    shown = with_moments("<b> expires 2026-12-01 10:37 UTC; intended: 1 Dec 2026, 10:37 UTC; 2026-12-01")
    moment = moment_on_page(datetime(2026, 12, 1, 10, 37, tzinfo=UTC))
    assert shown == f"&lt;b&gt; expires {moment}; intended: {moment}; 2026-12-01"
