"""What happens to a job that reaches its fuse. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_CEILING, Decimal

from jobs.statuses import FuseAction

#: An approval, and a raise that is asked for, leave so much room above what is expected.
MARGIN = Decimal("1.25")
CENT = Decimal("0.01")
#: What the columns of limits hold, in US dollars.
HIGHEST = Decimal(99_999_999)


def strictest(actions: Iterable[str | None]) -> str | None:
    """Return the strictest of the actions that were chosen; None: nobody chose one."""
    chosen = {FuseAction(action) for action in actions if action}
    return min(chosen, key=list(FuseAction).index, default=None)


def with_margin(amount: Decimal) -> Decimal:
    """Return `amount` and a quarter of it, in whole cents."""
    return min((amount * MARGIN).quantize(CENT, ROUND_CEILING), HIGHEST)
