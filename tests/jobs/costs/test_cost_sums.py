"""Sums of past costs: reports are the same with them and without, whatever is added, corrected or removed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from itertools import combinations
from math import inf
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db.models import F
from django.utils import timezone

from cloudtrain_site.database.unit_of_work import unit_of_work
from jobs.costs import cost_sums, kept_sums, ledger
from jobs.costs.cost_sums import DAYS, MONTHS, last_day, last_month, sum_up_costs
from jobs.costs.report import breakdown, count_unpriced, dearest_jobs, shares
from jobs.costs.spending import GROUPS, Spending
from jobs.costs.verification import verify
from jobs.models import ChangedCosts, CostSum, DayCost, Job, JobAccount, LedgerEntry, Organization
from jobs.models.cost_sums import SumOf
from tests.factories import make_user
from tests.spending import spend

pytestmark = pytest.mark.django_db
TODAY = timezone.now().astimezone(UTC).date()
BEGIN = (TODAY - timedelta(days=130)).replace(day=1)
#: Whole months, parts of them, one day, and all.
TIMES = ((BEGIN, TODAY), (BEGIN + timedelta(days=9), TODAY - timedelta(days=9)), (date.min, date.max))
OF_PAGE = ("organization", "user", "provider", "hardware")
ASKED = [[*some] for number in (1, 2) for some in combinations(GROUPS, number)] + [["hardware", "day", "provider"]]


@pytest.fixture
def people(acme: Organization, alice: User, root: User) -> list[Any]:
    """Who may own a job: organizations with people, and nobody."""
    other = Organization.objects.create(name="other", time_zone="Pacific/Auckland")
    return [(None, None), (acme, alice), (acme, make_user("bob", acme)), (other, make_user("eve", other))]


@pytest.fixture
def history(people: list[Any]) -> random.Random:
    """Jobs of five months, some of several days and months."""
    chance = random.Random(7)
    for _ in range(45):
        add(chance, people)
    return chance


def add(chance: random.Random, people: list[Any]) -> None:
    organization, person = chance.choice(people)
    begun = datetime.combine(BEGIN, datetime.min.time(), UTC) + timedelta(
        hours=chance.randrange((TODAY - BEGIN).days * 24)
    )
    spend(
        begun.date(),
        f"{chance.randrange(1, 90_000)}e-4",
        started_at=begun,
        completed_at=begun + timedelta(hours=chance.choice((1, 2, 30, 900))),
        organization=organization,
        submitted_by=person,
        provider=chance.choice(("local", "replicate")),
        hardware_profile=chance.choice(("", "h100")),
        cost_doubt=chance.choice((None, None, "no price")),
    )


def change(chance: random.Random, people: list[Any]) -> None:
    """Change costs as the product does, and as a person with a database shell might."""
    kind = chance.randrange(5)
    jobs = list(Job.objects.filter(account__settled_at__isnull=False).order_by("pk"))
    job = chance.choice(jobs)
    if kind == 0:
        add(chance, people)
    elif kind == 1:
        job.cost_usd = Decimal(chance.randrange(90_000)).scaleb(-4)
        job.save()
        with unit_of_work():
            ledger.count([job], by="root", reason="The invoice says so.")
    elif kind == 2:
        nobodies = [job.pk for job in jobs if job.organization is None][:2]
        Job.objects.filter(pk__in=nobodies).update(organization=people[1][0])
        with unit_of_work():
            ledger.assign(nobodies, *people[1])
    elif kind == 3:
        DayCost.objects.filter(job=job).update(
            spent=F("spent") + Decimal("0.000001"), is_unpriced=chance.random() < 0.3
        )
    else:
        DayCost.objects.filter(job=job).delete()


def answers(*users: Any, times: Any = TIMES) -> Iterator[Any]:
    organization = Organization.objects.get(name="acme")
    for user in users:
        for start, end in times:
            for chosen in (None, organization):
                yield answer(user, start, end, chosen)


def answer(user: Any, start: date, end: date, chosen: Organization | None) -> Any:
    def asked() -> Spending:
        return Spending(user, start, end, chosen)

    rows = {",".join(groups): sorted(map(str, asked().rows(groups))) for groups in ASKED}
    by_span = [breakdown(asked(), group, by_month=by_month) for group in OF_PAGE for by_month in (True, False)]
    dearest = [[one.spent for one in dearest_jobs(asked(), count)] for count in (3, 10, 11)]
    return rows, asked().totals(), by_span, shares(asked(), "user"), dearest, count_unpriced(asked(), with_running=True)


def test_reports_are_the_same_by_the_sums_and_by_the_rows(
    history: random.Random, people: list[Any], alice: User, root: User
) -> None:
    by_rows = list(answers(alice, root))
    assert by_rows[0] != by_rows[len(TIMES) * 2]  # one is of alice, the other of root
    assert sum_up_costs(inf) > 100
    assert list(answers(alice, root)) == by_rows
    assert sum_up_costs(inf) == 0
    assert verify().differences == []
    for _ in range(4):
        for _ in range(4):
            change(history, people)
        marked = list(answers(root, times=TIMES[1:2]))
        sum_up_costs(inf)
        assert not ChangedCosts.objects.filter(span__lte=last_day(timezone.now())).exists()
        summed = list(answers(root, times=TIMES[1:2]))
        call_command("ledger", "--sum-again", stdout=StringIO())
        assert summed == list(answers(root, times=TIMES[1:2])) == marked


def test_days_come_in_order_whether_they_are_added_up_or_not(history: random.Random, root: User) -> None:
    sum_up_costs(inf)
    ChangedCosts.objects.create(kind=SumOf.DAY, span=f"{BEGIN + timedelta(days=40)}")
    days = [row["day"] for row in Spending(root, BEGIN, TODAY).rows(["day", "user"])]
    assert days == sorted(days)
    assert all(isinstance(day, date) for day in days)
    rows = [(row["hardware"], row["day"]) for row in Spending(root, BEGIN, TODAY).rows(["hardware", "day"])]
    assert rows == sorted(set(rows))
    assert len(rows) > len({*days}) / 2


def test_sums_are_what_is_read_and_only_while_they_have_no_mark(history: random.Random, root: User) -> None:
    sum_up_costs(inf)
    month = f"{BEGIN:%Y-%m}"
    before = Spending(root, BEGIN, TODAY).totals()["spent_usd"]
    CostSum.objects.filter(span=month, kind=SumOf.PLACE).update(amount=F("amount") + 5)
    assert Spending(root, BEGIN, TODAY).totals()["spent_usd"] > before
    [difference] = verify().differences
    assert str(difference).startswith(f"The sums of {month}, which reports show, are not")
    with pytest.raises(CommandError, match=r"differs in 1 places\."):
        call_command("ledger", "--verify", stdout=StringIO())
    call_command("ledger", "--sum-again", stdout=(out := StringIO()))
    assert "anew; until then rows are read." in out.getvalue()
    assert Spending(root, BEGIN, TODAY).totals()["spent_usd"] == before
    assert verify().differences == []
    assert sum_up_costs(inf) > 100
    assert Spending(root, BEGIN, TODAY).totals()["spent_usd"] == before
    assert verify().differences == []
    assert not verify(until=0).is_complete


def marks() -> list[str]:
    found = list(ChangedCosts.objects.order_by("span").values_list("span", flat=True).distinct())
    ChangedCosts.objects.all().delete()
    return found


def test_triggers_mark_each_past_day_and_its_month(acme: Organization) -> None:
    old, today = BEGIN + timedelta(days=3), TODAY + timedelta(days=1)
    job = spend(old, "2.5", organization=acme)
    of_day = sorted([f"{old}", f"{old:%Y-%m}"])
    assert marks() == of_day
    rows = DayCost.objects.filter(job=job)
    for field, value in (("spent", 3), ("is_unpriced", True), ("user", None), ("provider", "x"), ("is_further", True)):
        before = rows.get()
        rows.update(**{field: value})
        assert marks() == (of_day if getattr(before, field) != value else [])
    rows.update(config_name="another", spent=3)
    assert marks() == []  # no sum is made of it
    rows.update(day=today)
    assert marks() == of_day
    rows.update(spent=4)
    assert marks() == []  # it isn't over
    rows.update(day=old)
    assert marks() == of_day
    rows.delete()
    assert marks() == of_day


def test_a_day_is_added_up_when_it_is_over_everywhere_for_an_hour() -> None:
    noon = datetime(2026, 3, 1, 12, 59, tzinfo=UTC)
    assert (last_day(noon), last_month(noon)) == ("2026-02-27", "2026-01")
    later = noon + timedelta(minutes=1)
    assert (last_day(later), last_month(later)) == ("2026-02-28", "2026-02")


def test_a_round_ends_with_its_time_and_older_sums_take_no_newer_ones_place(history: random.Random, root: User) -> None:
    before = list(answers(root, times=TIMES[:1]))
    assert sum_up_costs(0) == 0
    ChangedCosts.objects.filter(kind=SumOf.MONTH).delete()  # an upgrade leaves none of older costs
    for kept, last in ((DAYS, last_day(timezone.now())), (MONTHS, last_month(timezone.now()))):
        for span, changes in [*kept.due(last)][:3]:
            assert kept.store(span, changes)
            assert not kept.store(span, changes)  # the marks are gone, or the sums are there
    assert list(answers(root, times=TIMES[:1])) == before


def test_a_crash_leaves_the_marks_and_the_older_sums(
    history: random.Random, root: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    sum_up_costs(inf)
    DayCost.objects.filter(day__lte=BEGIN + timedelta(days=60)).update(spent=F("spent") + 1)
    before, marked = Spending(root, BEGIN, TODAY).totals(), ChangedCosts.objects.count()
    monkeypatch.setattr(kept_sums, "insert", lambda rows: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sum_up_costs(inf)
    assert ChangedCosts.objects.count() == marked > 0
    assert Spending(root, BEGIN, TODAY).totals() == before
    monkeypatch.undo()
    assert sum_up_costs(inf)
    assert Spending(root, BEGIN, TODAY).totals() == before


def test_with_many_gaps_the_rows_are_read(history: random.Random, root: User, monkeypatch: pytest.MonkeyPatch) -> None:
    sum_up_costs(inf)
    before = Spending(root, BEGIN, TODAY).totals()
    monkeypatch.setattr(cost_sums, "MOST_GAPS", 0)
    CostSum.objects.update(amount=1)
    assert Spending(root, BEGIN, TODAY).totals() == before


def test_a_job_of_several_months_is_among_the_dearest_by_all_that_it_spent(acme: Organization, root: User) -> None:
    begun = datetime.combine(BEGIN, datetime.min.time(), UTC)
    for number in range(25):
        spend(BEGIN + timedelta(days=5), f"{10 + number}", organization=acme)
        spend(BEGIN + timedelta(days=45), f"{10 + number}", organization=acme)
    long = spend(BEGIN, "36", started_at=begun, completed_at=begun + timedelta(days=95), organization=acme)
    sum_up_costs(inf)
    with_sums = dearest_jobs(Spending(root, BEGIN, TODAY), 10)
    assert with_sums[0].job == long
    assert [one.spent for one in with_sums[1:4]] == [34, 34, 33]
    assert LedgerEntry.objects.filter(job=long).count() > 90
    assert JobAccount.objects.get(job=long).spent == 36
