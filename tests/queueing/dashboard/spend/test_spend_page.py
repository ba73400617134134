"""The page of what was spent, without a browser."""

from __future__ import annotations

import re
from datetime import date, timedelta
from decimal import Decimal
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from jobs.models import Job, Membership, Organization
from jobs.roles import Role
from queueing.models import Budget
from tests.factories import make_user
from tests.spending import run, spend
from tests.web import queries_of, read_page

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
NOVEMBER = "/spend?month=2025-11"
DAY = date(2025, 11, 12)


def lines_of(page: str) -> list[str]:
    """The rows of the tables as plain text."""
    rows = re.findall(r"<tr>(.*?)</tr>", page)
    return [unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", row)).strip()) for row in rows]


def main_of(page: str) -> str:
    return page[page.index("<main") : page.index("</main>")]


def month_budget(amount: str, organization: Organization | None = None, **fields: object) -> Budget:
    scope = "organization" if organization else "site"
    return Budget.objects.create(scope=scope, organization=organization, amount=Decimal(amount), **fields)


def test_nobody_is_sent_to_the_login_and_a_script_is_told(client: Client) -> None:
    assert client.get("/spend")["Location"] == "/login?next=/spend"
    assert client.get("/spend/now").status_code == 401


def test_the_navigation_leads_there(alice: User) -> None:
    link = re.compile('<a href="/spend"([^>]*)>Spend</a>')
    assert [here.strip() for here in link.findall(read_page(alice, "/"))] == [""]
    assert [here.strip() for here in link.findall(read_page(alice, "/spend"))] == ['aria-current="page"']


def test_an_empty_month_says_so(alice: User) -> None:
    page = read_page(alice, NOVEMBER)
    assert "Nothing spent in November 2025." in page
    assert "Spend by day" not in page
    nowhere = "You aren’t in an organization yet."
    assert nowhere not in page and nowhere in read_page(User.objects.create_user("lone"), NOVEMBER)


@pytest.mark.parametrize("role", list(Role))
def test_every_member_sees_what_their_organization_spent(acme: Organization, alice: User, role: Role) -> None:
    reader = make_user("reader", acme, role)
    spend(DAY, "12.34", organization=acme, submitted_by=alice, config_name="flux")
    page = read_page(reader, NOVEMBER)
    lines = lines_of(page)
    assert "alice $12.34 100 %" in lines
    assert "12 November 2025 $12.34 $12.34" in lines
    assert "flux alice CPU $12.34 –" in lines
    assert "<span>22 Nov</span>" in page and "<span>29 Nov</span>" not in page, "a phone would cut it off"
    assert '<span class="figure">$0.00</span>' in page


def test_a_stranger_sees_nothing_whatever_they_choose(acme: Organization, alice: User, charlie: User) -> None:
    spend(DAY, "12.34", organization=acme, submitted_by=alice)
    for query in ("", "&organization=acme", "&group=organization&organization=acme"):
        page = main_of(read_page(charlie, NOVEMBER + query))
        assert not [name for name in ("12.34", "alice", "acme") if name in page]
    # One that isn't theirs is as one that is not.
    pages = [main_of(read_page(charlie, f"{NOVEMBER}&organization={name}")) for name in ("acme", "nowhere")]
    assert pages[0] == pages[1]


def test_a_superuser_sees_all_and_chooses_one(acme: Organization, alice: User, charlie: User, root: User) -> None:
    other = Organization.objects.get(name="other")
    spend(DAY, "10", organization=acme, submitted_by=alice)
    spend(DAY, "30", organization=other, submitted_by=charlie)
    spend(DAY, "60", organization=None)
    lines = lines_of(read_page(root, NOVEMBER))
    assert lines[1:4] == ["No organization $60.00 60 %", "other $30.00 30 %", "acme $10.00 10 %"]
    assert "Nobody (created at the provider) $60.00 60 %" in lines
    of_acme = lines_of(read_page(root, f"{NOVEMBER}&organization=acme"))
    assert "acme $10.00 100 %" in of_acme
    assert "other $30.00 30 %" not in of_acme


def test_the_days_are_those_of_the_organization(acme: Organization, alice: User) -> None:
    Organization.objects.filter(pk=acme.pk).update(time_zone="Pacific/Auckland")
    acme.refresh_from_db()
    spend(date(2025, 11, 30), "5", organization=acme, submitted_by=alice)
    page = read_page(alice, NOVEMBER)
    assert "30 November 2025 $5.00 $5.00" in lines_of(page)
    assert "Days are those of Pacific/Auckland." in page


@pytest.mark.parametrize(
    ("group", "line", "address"),
    [
        ("organization", "acme $4.00 100 %", "/?organization=acme&"),
        ("user", "alice $4.00 100 %", "/?person=alice&"),
        ("provider", "This machine $4.00 100 %", "/?provider=local&"),
        ("hardware", "CPU $4.00 100 %", "/?hardware=cpu&"),
    ],
)
def test_each_group_leads_to_its_jobs(acme: Organization, alice: User, group: str, line: str, address: str) -> None:
    second = Organization.objects.create(name="second")
    Membership.objects.create(user=alice, organization=second, role=Role.VIEWER)
    mine = spend(DAY, "4", organization=acme, submitted_by=alice)
    spend(date(2025, 10, 1), "9", organization=acme, submitted_by=alice, config_name="earlier")
    page = read_page(alice, f"{NOVEMBER}&group={group}")
    assert line in lines_of(page)
    led_to = next(found for found in map(unescape, re.findall('href="([^"]*)"', page)) if found.startswith(address))
    jobs = read_page(alice, led_to)
    assert f"job-{mine.pk}" in jobs and "earlier" not in jobs
    assert "from 2025-11-01 to 2025-11-30" in jobs, "the filter that it came with"


def test_more_than_seven_have_no_colour_of_their_own(acme: Organization, root: User) -> None:
    for number in range(25):
        person = make_user(f"person-{number:02}", acme)
        spend(DAY, str(100 - number), organization=acme, submitted_by=person)
    page = read_page(root, f"{NOVEMBER}&group=user")
    assert page.count('class="series-7" width') == 14 and page.count('class="series-6" width') == 1
    assert "5 other people $390.00 18 %" in lines_of(page)
    day = next(line for line in lines_of(page) if line.startswith("12 November"))
    assert day == "12 November 2025 $2,200.00 $100.00 $99.00 $98.00 $97.00 $96.00 $95.00 $94.00 $1,521.00"


def test_many_days_are_bars_of_months_and_lead_into_them(acme: Organization, alice: User) -> None:
    spend(DAY, "4", organization=acme, submitted_by=alice)
    spend(date(2025, 6, 30), "2", organization=acme, submitted_by=alice)
    page = read_page(alice, "/spend?from=2025-06-15&to=2025-11-20")
    lines = lines_of(page)
    assert "15 to 30 June 2025 $2.00 $2.00" in lines and "1 to 20 November 2025 $4.00 $4.00" in lines
    assert "?from=2025-06-15&amp;to=2025-06-30&amp;group=user" in page
    assert "?month=2025-08&amp;group=user" in page


def test_jobs_of_unknown_cost_are_counted_and_are_no_zero(acme: Organization, alice: User) -> None:
    this_month = timezone.now().date()
    spend(this_month, "0", organization=acme, submitted_by=alice, cost_doubt="there is no price.")
    assert "1 job of unknown cost is not included" in read_page(alice, "/spend")
    run(None, organization=acme, submitted_by=alice)
    page = read_page(alice, "/spend")
    assert "2 jobs of unknown cost are not included" in page
    assert "Nothing spent" not in page
    assert "unknown cost" not in read_page(alice, NOVEMBER)


def test_the_committed_bar_says_what_is_spent_held_and_free(acme: Organization, alice: User) -> None:
    today = timezone.now().date()
    spend(today, "20", organization=acme, submitted_by=alice)
    run("30", organization=acme, submitted_by=alice)
    assert 'class="committed"' not in read_page(alice, "/spend")
    budget = month_budget("100", acme)
    page = read_page(alice, "/spend")
    assert f'<a href="/budgets/{budget.pk}">Budget of acme for' in page
    assert 'class="committed"' in page and 'aria-label="$20.00 spent, $30.00 reserved, $50.00 free"' in page
    assert "$50.00 of $100.00 committed." in page
    assert "a day uses up the budget of $100.00" in page
    Budget.objects.update(amount=Decimal(40))
    assert "Over the budget" in (page := read_page(alice, "/spend")) and "$10.00" in page


def test_a_budget_fits_its_own_month_and_its_own_scope(acme: Organization, alice: User, root: User) -> None:
    spend(timezone.now().date(), "20", organization=acme, submitted_by=alice)
    month_budget("1000")
    month_budget("77", acme, period="lifetime")
    assert "Budget of the site" in read_page(root, "/spend")
    for reader, address in ((alice, "/spend"), (root, "/spend?organization=acme"), (root, NOVEMBER)):
        assert "Budget of" not in read_page(reader, address)


def test_estimates_are_compared_by_hardware(acme: Organization, alice: User) -> None:
    for estimate, cost in (("10", "8"), ("10", "12"), ("10", "30")):
        spend(DAY, cost, organization=acme, hardware_profile="h100", estimated_cost_usd=Decimal(estimate))
    spend(DAY, "1", organization=acme, hardware_profile="t4")
    spend(DAY, "0", organization=acme, hardware_profile="own", estimated_cost_usd=Decimal(0))
    lines = lines_of(read_page(alice, NOVEMBER))
    assert "h100 This machine 3 1.20" in lines
    assert not [line for line in lines if line.startswith(("t4 This", "own This"))]


def test_a_deleted_job_is_named_and_leads_nowhere(acme: Organization, alice: User) -> None:
    job = spend(DAY, "8", organization=acme, submitted_by=alice, config_name="gone")
    Job.objects.filter(pk=job.pk).update(deleted_at=timezone.now())
    page = read_page(alice, NOVEMBER)
    assert "gone (deleted) alice CPU $8.00 –" in lines_of(page)
    assert job.pk not in page


def test_names_are_shown_as_they_are_and_never_run(acme: Organization, alice: User) -> None:
    spend(DAY, "8", organization=acme, submitted_by=alice, config_name="<script>", hardware_profile="<b>")
    page = read_page(alice, f"{NOVEMBER}&group=hardware")
    assert "<script>" not in page.replace("<script defer", "").replace("<script type", "") and "<b>" not in page


def test_the_csv_files_are_of_the_same_days(acme: Organization, alice: User, client: Client) -> None:
    spend(DAY, "8", organization=acme, submitted_by=alice)
    client.force_login(alice)
    page = client.get(NOVEMBER).content.decode()
    costs, entries = (unescape(found) for found in re.findall('href="(/api/cloud/[^"]*csv[^"]*)"', page))
    assert costs == "/api/cloud/costs.csv?from=2025-11-01&to=2025-11-30&group=day%2Cuser"
    assert entries == "/api/cloud/ledger.csv?from=2025-11-01&to=2025-11-30"
    assert client.get(costs).status_code == client.get(entries).status_code == 200


def test_more_jobs_cost_no_more_queries(acme: Organization, alice: User, client: Client) -> None:
    client.force_login(alice)
    counts = []
    # More than seven people are more than have colours, and then it is one query more for any number of them.
    for number in range(1, 28, 9):
        for day in range(number, number + 9):
            spend(date(2025, 11, day), "3", organization=acme, submitted_by=make_user(f"u-{day}", acme))
        counts.append(queries_of(client, NOVEMBER))
    assert len(set(counts)) == 1


def test_earlier_and_later_months(alice: User) -> None:
    page = read_page(alice, NOVEMBER)
    assert '?month=2025-10&amp;group=user" title="October 2025"' in page
    assert '?month=2025-12&amp;group=user" title="December 2025"' in page
    assert ">Later<" not in read_page(alice, "/spend")
    today = timezone.now().date()
    assert f"{today - timedelta(days=today.day):%B %Y}" in read_page(alice, "/spend")
