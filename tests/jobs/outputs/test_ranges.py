"""The parts of a file that a request asks for."""

from __future__ import annotations

import pytest

from jobs.outputs.ranges import UnsatisfiableError, range_of


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=10-19", (10, 20)),
        ("bytes=90-", (90, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        ("", None),
        ("bytes=5-2", None),
        ("bytes=0-1,5-6", None),
        ("lines=0-1", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
    ],
)
def test_a_header_asks_for_a_part(header: str, part: tuple[int, int] | None) -> None:
    assert range_of(header, 100) == part


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_behind_the_end_is_refused(header: str) -> None:
    with pytest.raises(UnsatisfiableError):
        range_of(header, 100)


def test_an_empty_file_has_no_part() -> None:
    with pytest.raises(UnsatisfiableError):
        range_of("bytes=0-", 0)
