"""Durations as people read them."""

from __future__ import annotations

import pytest

from jobs.notices.durations import rough_duration


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
