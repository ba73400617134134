"""What people and programs read of a large site: the addresses of lists, pages and figures, by kind, and who asks.

`bench_million.py` times them, and tests/test_query_plans.py looks at how the database finds what each shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import Any

#: Of one, the largest, organization; of two; and of all.
ONE, TWO, ALL = "one", "two", "root"
SORTS = ("newest", "oldest", "name", "status", "cost", "duration", "loss")
#: As they stand in an address.
SEARCHES = ("portraits", "sdxl-logo-77", "9999", "nothing-is-called-this", "external-40", "user-7", "x", "ab", "%2312")
#: More than one filter at once.
PAIRS = (
    "status=failed&provider=local",
    "status=completed&tag=tag-3",
    "search=portraits&status=failed",
    "search=nothing-is-called-this&provider=slurm",
    "tag=tag-3&period=30d",
    "person=user-9&status=completed",
    "person=user-9&provider=slurm",
    "hardware=gpu-h100&status=failed",
    "job_type=local&status=cancelled",
    "organization=team-1&status=failed",
    "organization=team-1&search=logo",
    "mine=true&status=completed",
    "mine=true&search=logo",
    "cost_from={long_ago}&cost_to={long_ago_end}&provider=replicate",
)


@dataclass(frozen=True)
class Visit:
    """`reader` asks for `address`; `kind` is what figures are grouped by."""

    kind: str
    reader: str
    address: str


def people() -> dict[str, Any]:
    """Return a member of the largest organization alone, a lead of two organizations, and a superuser, by reader."""
    from django.contrib.auth.models import User

    from jobs.models import Membership, Organization

    largest, second, *_ = Organization.objects.order_by("pk")
    one, _ = User.objects.get_or_create(username="rachel")
    two, _ = User.objects.get_or_create(username="lea")
    for user, organization, role in ((one, largest, "researcher"), (two, largest, "lead"), (two, second, "lead")):
        Membership.objects.get_or_create(user=user, organization=organization, defaults={"role": role})
    return {ONE: one, TWO: two, ALL: User.objects.get(username="root")}


def visits() -> Iterator[Visit]:
    """Yield every visit: of the pages, of the API and of the admin."""
    yield from _lists()
    for reader, address in product((ONE, TWO, ALL), _others()):
        yield Visit(_kind_of(address), reader, address)
    for reader, address in product((TWO, ALL), _admin()):
        yield Visit("admin", reader, address)
    yield from (Visit("admin", ALL, address) for address in _audit())


def _filters() -> list[str]:
    days = _days()
    single = (
        *("", "status=failed", "status=completed", "status=cancelled", "status=waiting"),
        *("status=uploading&status=queued&status=running", "provider=local", "provider=replicate", "provider=nowhere"),
        *("job_type=local", "job_type=cloud", "organization=team-0", "organization=team-1", "tag=tag-3", "tag=tag-19"),
        *("tag=no-such-tag", "mine=true", "person=user-9", "person=nobody", "hardware=gpu-h100", "hardware=cpu"),
        *("period=today", "period=7d", "period=30d", "period=last-month", "created_to={long_ago}"),
        *("created_from={long_ago}&created_to={long_ago_end}", "cost_from={long_ago}&cost_to={long_ago}"),
        *("cost_from={long_ago}&cost_to={long_ago_end}", *(f"search={text}" for text in SEARCHES)),
    )
    return [text.format(**days) for text in (*single, *PAIRS)]


def _days() -> dict[str, str]:
    from django.utils import timezone

    today = timezone.now().date()
    first, year = today - timedelta(days=200), today - timedelta(days=364)
    ends = {"long_ago": first, "long_ago_end": first + timedelta(days=30), "a_year_ago": year, "today": today}
    return {name: f"{day}" for name, day in ends.items()}


def _lists() -> Iterator[Visit]:
    """Yield the list of jobs with each filter in each order, its totals, its deep pages, and the same over the API."""
    from jobs.models import Job

    for reader, filters, sort in product((ONE, TWO, ALL), _filters(), SORTS):
        yield Visit("list: search" if "search" in filters else "list", reader, f"/jobs/rows?{filters}&sort={sort}")
    for reader, filters in product((ONE, TWO, ALL), _filters()):
        yield Visit("list: totals", reader, f"/jobs/totals?{filters}")
        if not any(name in filters for name in ("mine", "person", "hardware", "period", "created", "cost_", "waiting")):
            yield Visit("list: API", reader, f"/api/cloud/jobs?{filters}")
            yield Visit("list: API", reader, f"/api/cloud/jobs?{filters}&limit=20&offset=100")
    jobs = Job.objects.filter(organization__name="team-0").order_by("id")
    cursors = jobs.values_list("pk", flat=True)[jobs.count() // 2 :: max(1, jobs.count() // 8)]
    for reader, cursor, sort in product((ONE, TWO, ALL), cursors, SORTS):
        yield Visit("list: deep page", reader, f"/jobs/rows?sort={sort}&cursor={cursor}")
        yield Visit("list: deep page", reader, f"/jobs/rows?sort={sort}&cursor={cursor}&status=failed")
        yield Visit("list: API", reader, f"/api/cloud/jobs?cursor={cursor}")
    for reader, text in product((ONE, TWO, ALL), SEARCHES):
        yield Visit("list: palette", reader, f"/palette?q={text}")
    for reader in (ONE, TWO, ALL):
        yield Visit("list: the whole page", reader, "/")
        yield Visit("list: the whole page", reader, "/jobs/filters")


def _others() -> Iterator[str]:
    """Yield what everybody may ask for."""
    from jobs.models import Job

    days = _days()
    jobs = Job.objects.filter(organization__name="team-0", deleted_at=None).order_by("id").values_list("pk", flat=True)
    for job in [*jobs[:: max(1, jobs.count() // 6)], *jobs.filter(status="pending")[:2]]:
        yield from (f"/jobs/{job}{tab}" for tab in ("", "/log", "/curves", "/config", "/history", "/results"))
        yield from (f"/api/cloud/jobs/{job}{part}" for part in ("", "/events", "/runs", "/next-run", "/outputs"))
        yield f"/api/queue/position/{job}"
    for number in (7, 30, 90):
        yield from (f"/metrics?days={number}", f"/metrics?days={number}&organization=team-0")
        yield f"/api/cloud/metrics?days={number}"
    yield "/api/cloud/metrics?days=365"
    for group in ("organization", "user", "provider", "hardware"):
        yield from (f"/spend?group={group}", f"/spend?group={group}&organization=team-0")
        yield f"/spend?group={group}&from={days['long_ago']}&to={days['long_ago_end']}"
        yield f"/spend?group={group}&from={days['a_year_ago']}&to={days['today']}"
    yield "/spend?from={}&to={}".format(*(days["long_ago"][:4] + end for end in ("-01-01", "-12-31")))
    for group in ("day", "user", "provider", "hardware", "config"):
        yield f"/api/cloud/costs?group={group}"
    for group in ("day", "organization", "user", "provider,hardware", "day,provider"):
        yield f"/api/cloud/costs?group={group}&from={days['a_year_ago']}&to={days['today']}"
    yield from _queries("/approvals", "mine=yes", "organization=team-0", "person=user-9", "rule=expensive-3")
    yield from ("/approvals?rule=no-such-rule", "/approvals?organization=team-1&person=user-9", "/api/approvals/rules")
    yield from _queries("/api/approvals", *(f"status={one}" for one in REQUEST_STATUSES))
    yield from _queries("/queue", "page=2", "page=30")
    yield from _queries("/api/queue", "status=pending&limit=500", "status=running")
    yield from ("/api/queue/me", "/api/queue/stats", "/api/queue/concurrency")
    yield from ("/budgets", "/notices", "/notices/deliveries", "/api/notices/deliveries", "/api/cloud/budgets")
    yield from ("/account", "/jobs/new", "/api/cloud/uploads", "/api/configs", "/api/organizations")
    yield from ("/api/metrics/costs", "/api/metrics/usage", "/api/metrics/prometheus")
    yield from ("/api/quotas", "/api/quotas/status")
    yield from ("/organizations/team-0/settings/tags", "/organizations/team-0/settings/members")
    yield from ("/organizations/team-0/settings/results", "/organizations/team-0/settings/budgets")


REQUEST_STATUSES = ("pending", "approved", "rejected", "expired", "cancelled")


def _kind_of(address: str) -> str:
    parts = address.split("?", 1)[0].strip("/").split("/")
    if parts[:3] == ["api", "cloud", "jobs"] or parts[0] == "jobs":
        return "job"
    if "queue" in parts:
        return "queue"
    for kind in ("metrics", "approvals", "spend"):
        if kind in parts:
            return kind
    return "spend" if "costs" in parts else "other pages"


def _queries(address: str, *queries: str) -> Iterator[str]:
    """Yield the address alone, and with each of the queries."""
    yield address
    yield from (f"{address}?{query}" for query in queries)


def _admin() -> Iterator[str]:
    searches = [f"q={text}" for text in SEARCHES]
    of_jobs = ("status__exact=failed", "provider=local", "status__exact=running", "q=request-4000")
    yield from _queries("/admin/jobs/job/", *of_jobs, *searches, "p=20", "status__exact=failed&q=logo")
    of_ledger = ("kind__exact=correct", "kind__exact=accrue", "days=31", "p=50", "provider=local", "q=01no-such-job")
    yield from _queries("/admin/jobs/ledgerentry/", *of_ledger, "provider=slurm&kind__exact=settle")
    of_requests = [f"status__exact={one}" for one in REQUEST_STATUSES]
    of_requests += [f"age={age}" for age in ("hour", "day", "week", "older")]
    of_requests += ["rule=expensive-3", "q=request-4000", "o=2", "o=-2", *searches]
    yield from _queries("/admin/approvals/approvalrequest/", *of_requests)
    of_queue = ("status__exact=pending", "status__exact=completed", "provider=slurm", *searches)
    yield from _queries("/admin/queueing/queueentry/", *of_queue)


def _audit() -> Iterator[str]:
    of_admin = ("source__exact=page", "action__exact=rule_changed", "action__exact=nothing", "p=50")
    searches = ("q=user-7", "q=nobody-of-this-name", "q=request-4000")
    yield from _queries("/admin/cloudtrain_site/auditrecord/", *of_admin, *searches)
    of_site = ("actor=user-7", "action=rule_changed", "source=sso", "actor=nobody")
    yield from _queries("/site/audit", *of_site, "since=2026-01-01&until=2026-01-31&actor=user-7")
    yield from _queries("/organizations/team-0/settings/history", "action=rule_changed")
    yield from ("/site/people", "/site/organizations", "/api/audit", "/api/audit/security", "/api/audit/stats")
    yield from _queries("/admin/auth/user/", "q=user-7")
    yield from ("/api/audit/types", "/admin/jobs/organization/", "/admin/", "/admin/jobs/webhookdelivery/")
    yield from ("/admin/cloudtrain_site/looprun/", "/admin/jobs/datasetupload/?q=x")
