"""The arithmetic of the ledger: from what happens to a job to its entries. Pure but for the rows that it fills."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from jobs.models.ledger import ZERO, CostSource, EntryKind
from jobs.providers.figures import Basis

MICRODOLLAR = Decimal("0.000001")
#: Of a running job: between two entries at least. Its end writes the rest.
ACCRUE_PAUSE = timedelta(seconds=55)
#: A longer training has the days before these in one entry.
MAX_DAYS = 400
A_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Reserved:
    """The queue has claimed the job. `amount` is what it will cost in US dollars; None: nobody can tell."""

    at: datetime
    amount: Decimal | None


@dataclass(frozen=True, slots=True)
class Released:
    """The job waits again: nothing is held for it."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Counted:
    """What a job has cost by now, in US dollars, as its row has it; with `ended_at`, in all."""

    at: datetime
    cost: Decimal
    started_at: datetime | None
    ended_at: datetime | None
    #: Why the cost is not known, or only a part of it; empty: it is known.
    doubt: str
    basis: Basis
    #: Who corrects the cost of a job that is settled.
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What a job has cost, in US dollars, that ended before it came here."""

    at: datetime
    cost: Decimal
    ended_at: datetime
    basis: Basis
    by: str
    reason: str


@dataclass(slots=True)
class Entry:
    """A ledger entry that is about to be written, as LedgerEntry has it: an object of a model takes longer to make."""

    job_id: str
    organization_id: int | None
    user_id: int | None
    provider: str
    hardware: str
    sequence: int
    kind: str
    amount: Decimal
    at: datetime
    day: date
    seconds: float | None = None
    per_second: Decimal | None = None
    priced_on: date | None = None
    source: str = ""
    by: str = ""
    reason: str = ""


@dataclass(slots=True)
class Account:
    """A job's row of JobAccount. No model, for the reason of `Entry`: an object of one takes longer to make."""

    job_id: str
    organization_id: int | None = None
    user_id: int | None = None
    provider: str = ""
    hardware: str = ""
    spent: Decimal = ZERO
    held: Decimal = ZERO
    entries: int = 0
    counted_until: datetime | None = None
    settled_at: datetime | None = None
    is_unpriced: bool = False


COLUMNS_OF_ACCOUNT = tuple(field.name for field in fields(Account))
Happening: TypeAlias = Reserved | Released | Counted | Imported


@dataclass(frozen=True, slots=True)
class Share:
    """A part of an amount, on one day. Both `at` and `day` are within the time that it is for."""

    amount: Decimal
    at: datetime
    day: date


def split_by_day(amount: Decimal, begin: datetime, end: datetime, zone: ZoneInfo) -> list[Share]:
    """Share `amount` among the days of `zone` between `begin` and `end`, by their time; the sum stays `amount`.

    A negative one, and one of no time, is of the day of `end`.
    """
    last_day = end.astimezone(zone).date()
    if amount <= 0 or end <= begin or begin.astimezone(zone).date() == last_day:
        return [Share(amount, end, last_day)]
    total, shares, rest, since = end - begin, list[Share](), amount, begin
    for midnight in _midnights(begin, end, zone):
        part = (amount * Decimal((midnight - since) / total)).quantize(MICRODOLLAR)
        last = midnight - A_MICROSECOND
        shares.append(Share(part, last, last.astimezone(zone).date()))
        rest, since = rest - part, midnight
    return [share for share in (*shares, Share(rest, end, last_day)) if share.amount]


def _midnights(begin: datetime, end: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Yield the beginnings of the days after `begin` and before `end`, at most the last MAX_DAYS."""
    day = max(begin.astimezone(zone).date(), end.astimezone(zone).date() - timedelta(days=MAX_DAYS))
    while True:
        day += timedelta(days=1)
        midnight = datetime.combine(day, time(), zone).astimezone(UTC)
        if midnight >= end:
            return
        if midnight > begin:
            yield midnight


class Bookkeeper:
    """Turns what happens to one job into entries, and keeps its account."""

    def __init__(self, account: Account, zone: ZoneInfo) -> None:
        self.account = account
        self.zone = zone
        self.entries: list[Entry] = []
        #: Whether it had spent something before.
        self.had_days = account.counted_until is not None
        self._before = self._state()

    @property
    def has_changed(self) -> bool:
        """Whether the account differs from the stored one."""
        return self._state() != self._before

    def _state(self) -> tuple[object, ...]:
        return self.account.entries, self.account.settled_at, self.account.is_unpriced

    def note(self, happening: Happening) -> None:
        """Write what `happening` changes; nothing when the account has it already."""
        if isinstance(happening, Reserved):
            self._reserve(happening)
        elif isinstance(happening, Released):
            self._hold(ZERO, happening.at)
        elif isinstance(happening, Imported):
            self._import(happening)
        elif happening.ended_at is None:
            self._accrue(happening)
        else:
            self._settle(happening, happening.ended_at)

    def _reserve(self, claim: Reserved) -> None:
        account = self.account
        account.is_unpriced = claim.amount is None
        if claim.amount is None:
            self._write(EntryKind.RESERVE, ZERO, claim.at, Basis(source=CostSource.UNPRICED))
        else:
            self._hold(max(ZERO, claim.amount - account.spent), claim.at)

    def _hold(self, amount: Decimal, at: datetime) -> None:
        """Bring what is held to `amount`."""
        change = amount - self.account.held
        if change:
            kind = EntryKind.RESERVE if change > 0 else EntryKind.RELEASE
            self._write(kind, change, at, Basis(source=CostSource.ESTIMATE))

    def _accrue(self, news: Counted) -> None:
        """Move what has been spent since the last entry from held to spent. What a running job costs only grows."""
        account, begin = self.account, self._counted_until(news)
        added = news.cost - account.spent
        account.is_unpriced = bool(news.doubt)
        if added <= 0 or (account.counted_until and news.at - begin < ACCRUE_PAUSE and self._is_one_day(begin, news)):
            return
        self._spend(EntryKind.ACCRUE, added, begin, news.at, news.basis)
        self._hold(max(ZERO, account.held - added), news.at)

    def _is_one_day(self, begin: datetime, news: Counted) -> bool:
        return begin.astimezone(self.zone).date() == news.at.astimezone(self.zone).date()

    def _settle(self, news: Counted, ended_at: datetime) -> None:
        account = self.account
        # The provider's clock may be ahead of ours.
        end, added = min(ended_at, news.at), news.cost - account.spent
        was_unpriced, account.is_unpriced = account.is_unpriced, bool(news.doubt)
        if account.settled_at is not None:
            if added or was_unpriced != account.is_unpriced:
                self._correct(added, max(end, account.counted_until or end), news)
            return
        begin = self._counted_until(news)
        if added > 0:
            self._spend(EntryKind.SETTLE, added, begin, end, news.basis)
        elif added or account.is_unpriced:
            self._spend(EntryKind.SETTLE, added, end, end, news.basis)
        self._hold(ZERO, news.at)
        account.settled_at = news.at
        account.counted_until = max(begin, end)

    def _counted_until(self, news: Counted) -> datetime:
        return self.account.counted_until or min(news.started_at or news.at, news.at)

    def _correct(self, amount: Decimal, day_of: datetime, news: Counted) -> None:
        self._write(
            EntryKind.CORRECT,
            amount,
            news.at,
            self._basis(news.basis),
            day=day_of.astimezone(self.zone).date(),
            by=news.by,
            reason=news.reason,
        )

    def _spend(self, kind: EntryKind, amount: Decimal, begin: datetime, end: datetime, basis: Basis) -> None:
        for share in split_by_day(amount, begin, end, self.zone):
            self._write(kind, share.amount, share.at, self._basis(basis), day=share.day)
        self.account.counted_until = max(begin, end)

    def _import(self, news: Imported) -> None:
        day = news.ended_at.astimezone(self.zone).date()
        self._write(EntryKind.CORRECT, news.cost, news.at, news.basis, day=day, by=news.by, reason=news.reason)
        self.account.settled_at, self.account.counted_until = news.at, news.ended_at

    def _basis(self, basis: Basis) -> Basis:
        return replace(basis, source=CostSource.UNPRICED) if self.account.is_unpriced else basis

    def _write(
        self, kind: EntryKind, amount: Decimal, at: datetime, basis: Basis, *, day: date | None = None, **more: Any
    ) -> None:
        account = self.account
        account.entries += 1
        if kind in (EntryKind.RESERVE, EntryKind.RELEASE):
            account.held += amount
        else:
            account.spent += amount
        self.entries.append(
            Entry(
                job_id=account.job_id,
                organization_id=account.organization_id,
                user_id=account.user_id,
                provider=account.provider,
                hardware=account.hardware,
                sequence=account.entries,
                kind=kind.value,
                amount=amount,
                at=at,
                day=day or at.astimezone(self.zone).date(),
                seconds=float(amount / basis.per_second) if basis.per_second else None,
                per_second=basis.per_second,
                priced_on=basis.priced_on,
                source=str(basis.source),
                **more,
            )
        )
