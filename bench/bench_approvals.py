"""Ten thousand pending approvals: the review queue, a decision, the sweep, and the rules.

    python -m bench.bench_approvals [--requests 10000] [--organizations 50]

A site of its own on SQLite in a temporary folder, in this one process. The baseline of each figure is the same thing
with a hundredth of the requests, measured in the same run before the others are made. While the sweep runs, another
process of the site, as a web server would be, decides about other requests, one every 20 ms: how much longer its
decisions take than without a sweep is what the sweep held them up.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from bench.stack import FOREIGN, Figure, percentile, print_table

LIST = "/admin/approvals/approvalrequest/"
ROUNDS = 20
RULES = 200
PAUSE_SECONDS = 0.02
READY = "ready\n"


@dataclass(frozen=True)
class Sweep:
    """What a sweep did, and what it took, in seconds."""

    expired: int
    seconds: float
    cpu_seconds: float


def become(folder: Path) -> None:
    """Become a process of the site in `folder`."""
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

    django.setup()


def join(folder: Path) -> None:
    """Become a site with an empty database."""
    become(folder)
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def make_requests(count: int, organizations: int, *, due: bool = False) -> list[int]:
    """Held jobs with their entries and requests, each of two rules, spread over the organizations."""
    from django.contrib.auth.models import User
    from django.utils import timezone

    from approvals.models import ApprovalRequest, Requirement
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
                         rule_name="dear", reason="Estimated $60.00, above the $50.00 limit.", expires_at=expires_at,
                         terms={"config": config}, config_digest="0" * 64) for job in jobs], batch_size=500
    )  # fmt: skip
    Requirement.objects.bulk_create(
        [Requirement(request=request, position=position, rule_name=name, reason=request.reason, reviewer_role="lead",
                     approvals_needed=1, self_approval=False, expires_after_hours=12)
         for request in made for position, name in enumerate(("dear", "large"))], batch_size=500
    )  # fmt: skip
    return [request.pk for request in made]


def timed(action: Callable[[], Any]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


def cpu_timed(action: Callable[[], Any]) -> float:
    """Milliseconds of this process's CPU: what a busy machine changes less."""
    began = time.process_time()
    action()
    return (time.process_time() - began) * 1000


def list_times(user: Any) -> tuple[float, float, int]:
    """The review queue as `user`: the medians of its time and of its CPU time, and its number of queries."""
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
    cpu = median(cpu_timed(lambda: client.get(LIST)) for _ in range(ROUNDS))
    return median(timed(lambda: client.get(LIST)) for _ in range(ROUNDS)), cpu, len(statements)


def decision_times(ids: list[int]) -> list[float]:
    """Approvals, one after the other."""
    from django.contrib.auth.models import User

    from approvals import decisions
    from approvals.models import ApprovalRequest

    times = []
    for pk in ids:
        request = ApprovalRequest.objects.select_related("job", "organization").get(pk=pk)
        assert request.organization is not None
        lead = User.objects.get(username=f"lead-of-{request.organization.name}")
        times.append(timed(lambda r=request, u=lead: decisions.approve(r, user=u, source="api")))  # type: ignore[misc]
    return times


def sweep(folder: Path, others: list[int]) -> tuple[Sweep, list[float]]:
    """One sweep, and the milliseconds of the decisions that another process makes meanwhile."""
    from approvals import expiry

    command = [sys.executable, "-m", "bench.bench_approvals", "--beside", str(folder), *map(str, others)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == READY
        began, cpu = time.perf_counter(), time.process_time()
        expired = expiry.expire_due(source="command")
        done = Sweep(expired, time.perf_counter() - began, time.process_time() - cpu)
        process.stdin.close()
        return done, json.loads(process.stdout.readline())


def decide_beside(folder: Path, ids: list[int]) -> None:
    """Another process of the same site: a decision every 20 ms, until its input is closed."""
    become(folder)
    over = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    decision_times(ids[:5])  # the first ones load what there is to load
    times: list[float] = []
    print(READY, end="", flush=True)
    for pk in ids[5:]:
        if over.wait(PAUSE_SECONDS):
            break
        times += decision_times([pk])
    print(json.dumps(times), flush=True)


def rule_time() -> float:
    """The median of judging a submission by all the rules, every other one of which holds it."""
    from approvals.models import ApprovalRule
    from approvals.rules.evaluation import Facts, all_holds
    from approvals.rules.facts import rules_in_force
    from jobs.models import Organization
    from jobs.roles import Role

    ApprovalRule.objects.all().delete()
    ApprovalRule.objects.bulk_create(
        ApprovalRule(
            name=f"rule-{n}", cost_exceeds=5, hardware="gpu-*-large", config_name=("*full*finetune*", "*full*")[n % 2]
        )
        for n in range(RULES)
    )
    rules = rules_in_force(Organization.objects.first())  # type: ignore[arg-type]
    facts = Facts("alice", Role.RESEARCHER, 1, "replicate", "gpu-a100-large", "flux-full-portraits", None, False, 1)
    assert len(all_holds(rules, facts)) == RULES / 2
    return median(timed(lambda: all_holds(rules, facts)) for _ in range(ROUNDS))


def measure(folder: Path, count: int, organizations: int) -> list[Figure]:
    """Every figure, each beside its baseline."""
    from django.contrib.auth.models import User

    few = make_requests(max(organizations, count // 100), organizations)
    lead, root = User.objects.get(username="lead-of-team-0"), User.objects.create_superuser("root")
    (lead_before, lead_cpu_before, _), (root_before, root_cpu_before, _) = list_times(lead), list_times(root)
    decision_before = median(decision_times(few[:ROUNDS]))
    many = make_requests(count, organizations)
    (lead_after, lead_cpu, lead_queries), (root_after, root_cpu, root_queries) = list_times(lead), list_times(root)
    decided = decision_times(many[:100])
    make_requests(count, organizations, due=True)
    swept, beside = sweep(folder, many[100:])
    return [
        Figure("the list, as a lead", lead_after, "ms", lead_before, 150),
        Figure("its CPU time", lead_cpu, "ms", lead_cpu_before),
        Figure("its queries", lead_queries, target=15),
        Figure("the list, as a superuser", root_after, "ms", root_before, 150),
        Figure("its CPU time", root_cpu, "ms", root_cpu_before),
        Figure("its queries", root_queries, target=15),
        Figure("a decision, p50", median(decided), "ms", decision_before, 50),
        Figure("a decision, p99", percentile(decided, 99), "ms", None, 50),
        Figure("due requests that the sweep left", count - swept.expired, target=0),
        Figure("the sweep", swept.seconds, "s", None, 30),
        Figure("its CPU time", swept.cpu_seconds, "s"),
        Figure("a decision beside the sweep, p50", median(beside), "ms", median(decided)),
        Figure("a decision beside the sweep, longest", max(beside), "ms", max(decided), 100),
        Figure(f"a submission judged by {RULES} rules", rule_time(), "ms", None, 5),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--organizations", type=int, default=50)
    parser.add_argument("--beside", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.beside:
        decide_beside(Path(options.beside[0]), [int(pk) for pk in options.beside[1:]])
        return 0
    folder = Path(tempfile.mkdtemp(prefix="cloudtrain-bench-"))
    try:
        join(folder)
        found = measure(folder, options.requests, options.organizations)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    title = (
        f"{options.requests} pending requests in {options.organizations} organizations; baseline: a hundredth of them"
    )
    return print_table(title, found)


if __name__ == "__main__":
    sys.exit(main())
