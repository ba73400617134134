"""What became of one attempt to send."""

from __future__ import annotations

from dataclasses import dataclass

REASON_LIMIT = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """`is_final`: no further attempt could end otherwise. `pauses_receiver`: its other deliveries would fail as well.

    `switches_off`: the receiver wants nothing more over this channel. `is_untried`: there was no time to try it.
    """

    is_sent: bool
    reason: str = ""
    is_final: bool = False
    pauses_receiver: bool = False
    switches_off: bool = False
    is_untried: bool = False


SENT = Outcome(is_sent=True)
UNTRIED = Outcome(is_sent=False, is_untried=True)


def failed(reason: str) -> Outcome:
    """Return the outcome of an attempt of which a later one may succeed; the receiver is left alone for a while."""
    return Outcome(is_sent=False, reason=reason[:REASON_LIMIT], pauses_receiver=True)


def refused(reason: str, *, switches_off: bool = False) -> Outcome:
    """Return the outcome of an attempt that needs no further one."""
    return Outcome(is_sent=False, reason=reason[:REASON_LIMIT], is_final=True, switches_off=switches_off)
