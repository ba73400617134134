"""Ten thousand pending approvals: the desk's list, a decision, the sweep, and the rules.

    python -m bench.bench_approvals [--requests 10000] [--organizations 50]

A site of its own on SQLite in a temporary folder, in this one process. The baseline of each figure is the same thing
with a hundredth of the requests, measured in the same run before the others are made. While the sweep runs, a thread
decides about other requests, one every 20 ms, and how long each of its decisions takes is what the sweep held it up.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from bench.stack import FOREIGN, Figure, percentile, print_table

LIST = "/admin/approvals/approvalrequest/"
ROUNDS = 20
RULES = 200
PAUSE_SECONDS = 0.02


def join(folder: Path) -> None:
    """Become a site with an empty database."""
    for name in FOREIGN:
        os.environ.pop(name, None)
    os.environ.update(
        SIMPLETUNER_DATA_DIR=str(folder),
        SIMPLETUNER_LOG_FILE=str(folder / "bench.log"),
        SIMPLETUNER_LOG_LEVEL="WARNING",
        SECRET_KEY="only-for-the-bench",
        DJANGO_SETTINGS_MODULE="cloudtrain_site.settings",
        ALLOWED_HOSTS="testserver",
    )
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def make_requests(count: int, organizations: int, *, due: bool = False) -> list[int]:
    """Held jobs with their entries and requests, spread over the organizations."""
    from django.contrib.auth.models import User
    from django.utils import timezone

    from approvals.models import ApprovalRequest
    from jobs.models import Job, Membership, Organization
    from queueing.models import QueueEntry

    teams = [Organization.objects.get_or_create(name=f"team-{number}")[0] for number in range(organizations)]
    people = []
    for team in teams:
        person, _ = User.objects.get_or_create(username=f"researcher-of-{team.name}")
        Membership.objects.get_or_create(user=person, organization=team, defaults={"role": "researcher"})
        lead, _ = User.objects.get_or_create(username=f"lead-of-{team.name}")
        Membership.objects.get_or_create(user=lead, organization=team, defaults={"role": "lead"})
        people.append(person)
    config = {"max_train_steps": 1000, "learning_rate": 1e-4, **{f"option_{number}": number for number in range(60)}}
    jobs = [
        Job(organization=teams[n % organizations], submitted_by=people[n % organizations], correlation_id="bench",
            provider="local", hardware_profile="cpu", config_name=f"job-{n}", config=config)
        for n in range(count)
    ]  # fmt: skip
    Job.objects.bulk_create(jobs, batch_size=500)
    QueueEntry.objects.bulk_create(
        [QueueEntry(job=job, organization_id=job.organization_id, user_id=job.submitted_by_id, provider="local",
                    status="blocked", turn=0) for job in jobs], batch_size=500
    )  # fmt: skip
    expires_at = timezone.now() + (timedelta(seconds=-1) if due else timedelta(hours=12))
    made = ApprovalRequest.objects.bulk_create(
        [ApprovalRequest(job=job, organization_id=job.organization_id, requested_by_id=job.submitted_by_id,
                         rule_name="dear", reason="It will cost about $60.00, more than $50.00.", expires_at=expires_at,
                         terms={"config": config}, config_digest="0" * 64) for job in jobs], batch_size=500
    )  # fmt: skip
    return [request.pk for request in made]


def timed(action: Callable[[], Any]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


def list_times(user: Any) -> tuple[float, int]:
    """The median of the desk's list as `user`, and its number of queries."""
    from django.db import connection
    from django.test import Client

    client = Client()
    client.force_login(user)
    assert client.get(LIST).status_code == 200
    statements: list[str] = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        statements.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(note):
        client.get(LIST)
    return median(timed(lambda: client.get(LIST)) for _ in range(ROUNDS)), len(statements)


def decision_times(ids: list[int]) -> list[float]:
    """Approvals, one after the other."""
    from django.contrib.auth.models import User

    from approvals import decisions
    from approvals.models import ApprovalRequest

    times = []
    for pk in ids:
        request = ApprovalRequest.objects.select_related("job", "organization").get(pk=pk)
        lead = User.objects.get(username=f"lead-of-{request.organization.name}")
        times.append(timed(lambda r=request, u=lead: decisions.approve(r, user=u, source="api")))  # type: ignore[misc]
    return times


def sweep(others: list[int]) -> tuple[float, int, list[float]]:
    """Seconds of the sweep, how many it expired, and how long decisions took beside it."""
    from django.db import connection

    from approvals import expiry

    over, beside = threading.Event(), []

    def decide_on() -> None:
        for pk in others:
            if over.wait(PAUSE_SECONDS):
                break
            beside.extend(decision_times([pk]))
        connection.close()

    thread = threading.Thread(target=decide_on)
    thread.start()
    began = time.perf_counter()
    expired = expiry.expire_due(source="command")
    seconds = time.perf_counter() - began
    over.set()
    thread.join()
    return seconds, expired, beside


def rule_time() -> float:
    """The median of judging a submission by all the rules, none of which holds it."""
    from approvals.facts import rules_in_force
    from approvals.models import ApprovalRule
    from approvals.rules import Facts, first_hold
    from jobs.models import Organization
    from jobs.roles import Role

    ApprovalRule.objects.all().delete()
    ApprovalRule.objects.bulk_create(
        ApprovalRule(name=f"rule-{n}", cost_exceeds=5, hardware="gpu-*-large", config_name="*full*finetune*")
        for n in range(RULES)
    )
    rules = rules_in_force(Organization.objects.first())  # type: ignore[arg-type]
    facts = Facts("alice", Role.RESEARCHER, 1, "replicate", "gpu-a100-large", "flux-full-portraits", None, False, 1)
    assert first_hold(rules, facts) is None
    return median(timed(lambda: first_hold(rules, facts)) for _ in range(ROUNDS))


def measure(count: int, organizations: int) -> list[Figure]:
    """Every figure, each beside its baseline."""
    from django.contrib.auth.models import User

    few = make_requests(max(organizations, count // 100), organizations)
    lead, root = User.objects.get(username="lead-of-team-0"), User.objects.create_superuser("root")
    lead_before, root_before = list_times(lead)[0], list_times(root)[0]
    decision_before = median(decision_times(few[:ROUNDS]))
    many = make_requests(count, organizations)
    (lead_after, lead_queries), (root_after, root_queries) = list_times(lead), list_times(root)
    decided = decision_times(many[:100])
    make_requests(count, organizations, due=True)
    seconds, expired, beside = sweep(many[100:])
    return [
        Figure("the list, as a lead", lead_after, "ms", lead_before, 150),
        Figure("its queries", lead_queries, target=15),
        Figure("the list, as a superuser", root_after, "ms", root_before, 150),
        Figure("its queries", root_queries, target=15),
        Figure("a decision, p50", median(decided), "ms", decision_before, 50),
        Figure("a decision, p99", percentile(decided, 99), "ms", None, 50),
        Figure("due requests that the sweep left", count - expired, target=0),
        Figure("the sweep", seconds, "s", None, 30),
        Figure("a decision beside the sweep, p50", median(beside), "ms", median(decided)),
        Figure("a decision beside the sweep, longest", max(beside), "ms", max(decided), 100),
        Figure(f"a submission judged by {RULES} rules", rule_time(), "ms", None, 5),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--organizations", type=int, default=50)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cloudtrain-bench-"))
    try:
        join(folder)
        found = measure(options.requests, options.organizations)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    title = (
        f"{options.requests} pending requests in {options.organizations} organizations; baseline: a hundredth of them"
    )
    return print_table(title, found)


if __name__ == "__main__":
    sys.exit(main())
