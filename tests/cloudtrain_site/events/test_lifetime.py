"""How long an event stream lasts."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from cloudtrain_site.events.readers import StreamReader
from cloudtrain_site.events.stream import LIFETIME_SECONDS, _lifetime


def reader(ends_in: timedelta | None) -> StreamReader:
    ends_at = None if ends_in is None else timezone.now() + ends_in
    return StreamReader(1, frozenset({"everyone"}), joined_at=0, read_to=0, ends_at=ends_at)


def test_a_stream_ends_with_the_key_that_opened_it() -> None:
    shortest, longest = LIFETIME_SECONDS
    assert shortest <= _lifetime(reader(None)) <= longest
    assert shortest <= _lifetime(reader(timedelta(days=1))) <= longest
    assert 50 < _lifetime(reader(timedelta(minutes=1))) <= 60
    assert _lifetime(reader(timedelta(seconds=-1))) < 0
