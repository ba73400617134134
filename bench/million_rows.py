"""A large site: a year of 50 organizations and 500 people, as the verbs would have left it.

One organization has three of ten jobs. Jobs are made here, all that follows from them in the database itself.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jobs.identifiers import first_id_at

ORGANIZATIONS, PEOPLE, TAGS_EACH = 50, 500, 20
#: Of a hundred jobs, how many are the first organization's.
OF_THE_LARGEST = 30
YEAR = timedelta(days=365)
BATCH = 5000
#: Of a hundred ended jobs.
ENDS = ["completed"] * 80 + ["failed"] * 14 + ["cancelled"] * 6
PLACES = [
    ("replicate", "gpu-a100"),
    ("replicate", "gpu-h100"),
    ("replicate", "gpu-t4"),
    ("slurm", "a100"),
    ("local", "cpu"),
]
MODELS = ("sdxl", "flux", "sd3", "pixart", "auraflow", "wan", "kolors", "hidream")
SUBJECTS = (
    "portraits",
    "textures",
    "logo",
    "kitchen",
    "anime",
    "products",
    "faces",
    "interiors",
    "catalogue",
    "sketches",
)
CONFIG = {f"option_{number}": "a value as configs have" for number in range(18)} | {"max_train_steps": 1000}
#: The lines of a job's history: subject, old and new state, source; the last two only of an ended one, "" its own end.
HISTORY = (
    ("job", "", "pending", "api"),
    ("queue_entry", "", "pending", "api"),
    ("queue_entry", "pending", "dispatching", "dispatcher"),
    ("job", "pending", "uploading", "dispatcher"),
    ("job", "uploading", "queued", "dispatcher"),
    ("queue_entry", "dispatching", "running", "dispatcher"),
    ("job", "queued", "running", "webhook"),
    ("job", "running", "running", "poll"),
    ("job", "running", "", "webhook"),
    ("queue_entry", "running", "completed", "loop"),
)
WAITING_LINES = 2


@dataclass(frozen=True)
class Size:
    """How many of a site's jobs wait, run and were asked about; of a small site the same shares."""

    jobs: int

    @property
    def waiting(self) -> int:
        return max(20, self.jobs // 200)

    @property
    def running(self) -> int:
        return max(10, self.jobs * 3 // 10_000)

    @property
    def audit_records(self) -> int:
        return self.jobs // 10


def make_site(count: int, say: Callable[[str], None] = lambda text: None) -> None:
    """Write a site with `count` jobs, ten lines of history each, as many ledger entries, and a tenth of requests."""
    size, chance = Size(count), random.Random(1)
    teams, people = _organizations_and_people(chance)
    say("people")
    _jobs(size, teams, people, chance)
    say("jobs")
    for statement in _following(size):
        _execute(statement)
    say("history, ledger, requests, queue")
    _tags(size, chance)
    _counters()
    say("tags")


def _organizations_and_people(chance: random.Random) -> tuple[list[int], dict[int, list[int]]]:
    """Return the organizations' ids, and by each its members."""
    from django.contrib.auth.models import User

    from jobs.models import Membership, Organization

    organizations = Organization.objects.bulk_create(Organization(name=f"team-{n}") for n in range(ORGANIZATIONS))
    users = User.objects.bulk_create(User(username=f"user-{n}", email=f"user-{n}@example.org") for n in range(PEOPLE))
    User.objects.create_superuser("root", "root@example.org")
    members: dict[int, list[int]] = defaultdict(list)
    roles = ["admin", "lead", "researcher", "researcher", "researcher", "viewer"]
    rows = []
    for number, user in enumerate(users):
        own = organizations[number % ORGANIZATIONS if number % 3 else 0]
        others = chance.sample(organizations, chance.choice([0, 0, 1, 2]))
        for organization in dict.fromkeys([own, *others]):
            rows.append(Membership(user=user, organization=organization, role=roles[len(members[organization.pk]) % 6]))
            members[organization.pk].append(user.pk)
    Membership.objects.bulk_create(rows)
    return [one.pk for one in organizations], members


def _jobs(size: Size, teams: Sequence[int], members: dict[int, list[int]], chance: random.Random) -> None:
    """Write the jobs: what differs from one to the other goes into a table of its own first, the rest is the same."""
    from django.db import connection
    from django.utils import timezone

    now, numbers = timezone.now(), dict.fromkeys(teams, 0)
    weights = [1.0 / (place + 1) for place in range(len(teams) - 1)]
    others = chance.choices(teams[1:], weights, k=size.jobs)
    _execute(f"CREATE TEMPORARY TABLE made ({', '.join(f'{name} {kind}' for name, kind in MADE.items())})")
    marks = ", ".join(["%s"] * len(MADE))
    for first in range(0, size.jobs, BATCH):
        rows = []
        for number in range(first, min(first + BATCH, size.jobs)):
            team = teams[0] if chance.random() * 100 < OF_THE_LARGEST else others[number]
            numbers[team] += 1
            rows.append(_job(number, size, team, numbers[team], now, chance, members[team]))
        with connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO made VALUES ({marks})", rows)
            cursor.execute(_INSERT_JOBS, [json.dumps(CONFIG)])
            cursor.execute("DELETE FROM made")


#: The columns that differ from job to job, and their types on both databases.
MADE = {
    "id": "varchar(26)", "n": "integer", "organization_id": "bigint", "user_id": "integer", "number": "bigint",
    "provider": "varchar(40)", "hardware": "varchar(40)", "name": "varchar(120)", "status": "varchar(20)",
    "created_at": "timestamp with time zone", "started_at": "timestamp with time zone",
    "completed_at": "timestamp with time zone", "duration_ms": "bigint", "cost": "decimal", "is_deleted": "bool",
}  # fmt: skip
_ERROR = "'RuntimeError: CUDA out of memory'"
#: By column of the jobs, what it is made of.
_COLUMNS = {
    "id": "id", "organization_id": "organization_id", "submitted_by_id": "user_id", "number": "number",
    "correlation_id": "'request-' || n", "provider": "provider", "hardware_profile": "hardware",
    "external_id": "CASE WHEN started_at IS NOT NULL THEN 'external-' || n END", "config_name": "name",
    "name_key": "name", "config": "%s", "dataloader_config": "'[]'", "sealed": "''", "tracker_run_name": "''",
    "webhook_url": "''", "status": "status", "error_message": f"CASE WHEN status = 'failed' THEN {_ERROR} ELSE '' END",
    "error_line": f"CASE WHEN status = 'failed' THEN {_ERROR} END", "output_url": "''", "cancel_requested_by": "''",
    "submission_marker": "CASE WHEN started_at IS NOT NULL THEN 'ct-' || n END", "created_at": "created_at",
    "queued_at": "CASE WHEN started_at IS NOT NULL THEN created_at END", "started_at": "started_at",
    "completed_at": "completed_at", "duration_ms": "duration_ms", "sync_error": "''", "log_size": "0",
    "deleted_at": "CASE WHEN is_deleted THEN completed_at END", "metadata": "'{}'", "attempt": "1",
    "stage": "CASE WHEN status = 'running' THEN 'Training' END", "cost_usd": "cost", "estimated_cost_usd": "cost",
    "progress": "CASE WHEN status = 'running' THEN 40 END",
    "cost_doubt": "CASE WHEN n %% 211 = 0 THEN 'The provider named no price.' END",
    "note": "CASE WHEN n %% 40 = 0 THEN 'Looks good; keep the checkpoint.' END",
    "last_synced_at": "CASE WHEN status = 'running' THEN created_at END",
    # Nobody reads their curves; no log of a cluster told a loss.
    "last_loss": "CASE WHEN status IN ('completed', 'failed') AND provider <> 'slurm' AND n %% 2 = 0 "
    "THEN n %% 9967 * 7919 %% 9973 / 9973.0 END",
}  # fmt: skip
_INSERT_JOBS = (
    f"INSERT INTO jobs_job ({', '.join(_COLUMNS)}) SELECT {', '.join(_COLUMNS.values())} FROM made ORDER BY n"
)


def _job(
    number: int, size: Size, team: int, in_team: int, now: datetime, chance: random.Random, people: Sequence[int]
) -> tuple[Any, ...]:
    """Return a row of `made`."""
    age = size.jobs - number
    status = _status(age, size, chance)
    # The newest within the last days, as what runs and waits is.
    at = now - YEAR * (age / size.jobs) if age > size.waiting + size.running else now - timedelta(minutes=age / 2)
    provider, hardware = PLACES[0] if age <= size.waiting else chance.choice(PLACES)
    begun = ended = took = None
    if status != "pending" and not (status == "cancelled" and number % 3 == 0):
        begun = at + timedelta(minutes=1)
    if status not in ("pending", "running"):
        # Hardly two for as long.
        took = 29 * 60_000 + number * 7919 % 5_400_000
        ended = (begun or at) + timedelta(milliseconds=took)
    cost = 0.0 if begun is None or provider == "local" else round(chance.random() ** 3 * 60, 4)
    name = f"{chance.choice(MODELS)}-{chance.choice(SUBJECTS)}-{number % 5000}"
    person = people[min(int(chance.expovariate(0.1)), len(people) - 1)]
    whose = (team, person, in_team, provider, hardware, name, status)
    # As Django writes moments to SQLite; PostgreSQL's sessions are in UTC.
    moments = (None if moment is None else str(moment.replace(tzinfo=None)) for moment in (at, begun, ended))
    is_deleted = ended is not None and number % 50 == 0
    return (_id_at(at, number), number, *whose, *moments, took if begun else None, cost, is_deleted)


def _id_at(at: datetime, number: int) -> str:
    """Return an id as `new_job_id` makes them, whose random part is a number: a million are made in seconds."""
    return f"{first_id_at(at)[:10]}{number:016d}"


def _status(age: int, size: Size, chance: random.Random) -> str:
    if age <= size.waiting:
        return "pending"
    return "running" if age <= size.waiting + size.running else chance.choice(ENDS)


def _following(size: Size) -> Iterator[str]:
    """Yield the statements that write what follows from the jobs."""
    from django.db import connection

    is_sqlite = connection.vendor == "sqlite"
    day = "substr({0}, 1, 10)" if is_sqlite else "({0} AT TIME ZONE 'UTC')::date"
    no, yes = ("0", "1") if is_sqlite else ("false", "true")
    ended_day = day.format("completed_at")
    # The number of a job among all, which its correlation id ends with.
    number = "CAST(substr(correlation_id, 9) AS INTEGER)"
    lines = " UNION ALL ".join(f"SELECT {n} n, '{s}' subject, '{o}' old, '{w}' new, '{c}' source"
                               for n, (s, o, w, c) in enumerate(HISTORY))  # fmt: skip
    yield (
        "INSERT INTO jobs_jobevent "
        "(job_id, subject, old, new, actor, actor_user_id, source, reason, correlation_id, at) "
        "SELECT id, subject, old, CASE WHEN line.new = '' THEN status ELSE line.new END, "
        "CASE WHEN n < 2 THEN 'someone' ELSE 'system' END, CASE WHEN n < 2 THEN submitted_by_id END, source, '', "
        "correlation_id, CASE WHEN n < 8 THEN created_at ELSE completed_at END "
        f"FROM jobs_job CROSS JOIN ({lines}) line "
        f"WHERE n < {WAITING_LINES} OR status <> 'pending' AND (n < 8 OR completed_at IS NOT NULL) ORDER BY id, n"
    )
    of_job = "organization_id, user_id, provider, hardware"
    from_job = "organization_id, submitted_by_id, provider, hardware_profile"
    yield (
        f'INSERT INTO jobs_ledgerentry (job_id, {of_job}, sequence, kind, amount, at, day, source, "by", reason) '
        f"SELECT id, {from_job}, 1, 'settle', cost_usd, completed_at, {ended_day}, 'provider', '', '' "
        "FROM jobs_job WHERE completed_at IS NOT NULL ORDER BY id"
    )
    yield (
        f'INSERT INTO jobs_ledgerentry (job_id, {of_job}, sequence, kind, amount, at, day, source, "by", reason) '
        f"SELECT id, {from_job}, 2, 'correct', 0.5, completed_at, {ended_day}, 'person', 'root', 'The invoice.' "
        f"FROM jobs_job WHERE completed_at IS NOT NULL AND {number} % 150 = 0 ORDER BY id"
    )
    yield (
        f"INSERT INTO jobs_jobaccount (job_id, {of_job}, spent, held, entries, settled_at, is_unpriced) "
        f"SELECT id, {from_job}, cost_usd, CASE WHEN completed_at IS NULL THEN 5 ELSE 0 END, 1, completed_at, {no} "
        "FROM jobs_job WHERE status <> 'pending' ORDER BY id"
    )
    yield (
        f"INSERT INTO jobs_daycost (job_id, {of_job}, day, config_name, spent, is_unpriced, is_further) "
        f"SELECT id, {from_job}, {ended_day}, config_name, cost_usd, {no}, {no} "
        "FROM jobs_job WHERE completed_at IS NOT NULL AND cost_usd > 0 ORDER BY id"
    )
    yield (
        f"INSERT INTO jobs_daycost (job_id, {of_job}, day, config_name, spent, is_unpriced, is_further) "
        f"SELECT id, {from_job}, {day.format('created_at')}, config_name, 1, {no}, {yes} FROM jobs_job "
        f"WHERE cost_usd > 0 AND {ended_day} <> {day.format('created_at')} AND {number} % 2 = 0 ORDER BY id"
    )
    entry = "job_id, organization_id, user_id, provider, status, priority, turn, claim_token, claimed_on, attempts"
    turn = "strftime('%s', created_at)" if is_sqlite else "EXTRACT(EPOCH FROM created_at)"
    yield (
        f"INSERT INTO queueing_queueentry ({entry}, last_error, enqueued_at, dispatched_at, finished_at, needs_usd) "
        "SELECT id, organization_id, submitted_by_id, provider, CASE WHEN status IN ('pending', 'running') THEN status "
        f"ELSE 'completed' END, 10, {turn}, CASE WHEN status = 'running' THEN {_text('id')} END, '', "
        "1, '', created_at, started_at, completed_at, estimated_cost_usd "
        f"FROM jobs_job WHERE completed_at IS NULL OR {number} > {size.jobs * 49 // 50} ORDER BY jobs_job.id"
    )
    yield from _requests(number, no)
    yield (
        "INSERT INTO cloudtrain_site_auditrecord (at, action, actor, actor_user_id, subject_kind, subject_id, subject, "
        "organization_id, organization, source, address, correlation_id) "
        "SELECT created_at, CASE WHEN id < 'm' AND provider = 'local' THEN 'limit_changed' WHEN status = 'failed' THEN "
        f"'rule_changed' ELSE 'member_role_changed' END, 'user-' || ({number} % {PEOPLE}), submitted_by_id, 'user', "
        f"{_text('submitted_by_id')}, 'user-' || ({number} % 77), organization_id, 'team', 'page', '192.0.2.1', "
        f"correlation_id FROM jobs_job WHERE {number} % {size.jobs // size.audit_records} = 0 ORDER BY id"
    )
    yield from _notices(size, number, yes, is_sqlite)


def _requests(number: str, no: str) -> Iterator[str]:
    ends = "CASE WHEN {0} % 100 < 85 THEN 'approved' WHEN {0} % 100 < 93 THEN 'rejected' ELSE 'expired' END"
    # Not the number's own last digits, which choose the jobs.
    status = f"CASE WHEN status = 'pending' THEN 'pending' ELSE {ends.format(f'({number} / 10)')} END"
    yield (
        "INSERT INTO approvals_approvalrequest (job_id, organization_id, rule_name, reason, status, requested_by_id, "
        "requested_at, expires_at, reviewed_by, reviewed_at, review_notes, config_digest, terms, bypassed) "
        f"SELECT id, organization_id, 'expensive-' || ({number} / 10 % 7), 'It may cost more than $20.', {status}, "
        "submitted_by_id, created_at, CASE WHEN completed_at IS NULL THEN "
        f"{_in_a_day()} ELSE created_at END, CASE WHEN status = 'pending' THEN '' ELSE 'lea' END, "
        f"CASE WHEN status = 'pending' THEN NULL ELSE started_at END, '', '', '{{}}', {no} "
        f"FROM jobs_job WHERE {number} % 9 = 0 AND (status = 'pending' OR started_at IS NOT NULL) ORDER BY id"
    )
    requirement = "rule_name, reason, reviewer_role, approvals_needed, approvals_given, self_approval"
    yield (
        f"INSERT INTO approvals_requirement (request_id, position, {requirement}, expires_after_hours) "
        f"SELECT id, 0, rule_name, reason, 'lead', 1, 0, {no}, 24 FROM approvals_approvalrequest ORDER BY id"
    )
    yield (
        "INSERT INTO approvals_decision "
        "(request_id, user_id, name, verdict, reason, bypass, source, correlation_id, at) "
        "SELECT id, NULL, 'lea', CASE WHEN status = 'approved' THEN 'approve' ELSE 'reject' END, '', "
        f"{no}, 'api', '', reviewed_at FROM approvals_approvalrequest "
        "WHERE status IN ('approved', 'rejected') ORDER BY id"
    )


def _notices(size: Size, number: str, yes: str, is_sqlite: bool) -> Iterator[str]:
    yield (
        "INSERT INTO notices_notice (kind, key, subject, text, link, data, users, emails, organization_id, job_id, "
        "sealed_address, created_at, due_at, addressed_at, correlation_id) "
        "SELECT 'job_' || status, 'job ' || id, config_name, '', '/jobs/' || id, '{}', '[]', '[]', "
        "organization_id, id, '', completed_at, completed_at, completed_at, correlation_id "
        f"FROM jobs_job WHERE completed_at IS NOT NULL AND {number} > {size.jobs * 9 // 10} ORDER BY id"
    )
    yield (
        "INSERT INTO notices_delivery (notice_id, kind, user_id, organization_id, recipient, shown, receiver, "
        "message_id, tries, created_at, next_attempt_at, lease_token, done_at, is_sent, reason) "
        "SELECT n.id, 'mail', j.submitted_by_id, NULL, 'mail ' || j.submitted_by_id, 'someone@example.org', 'mail', "
        f"'m' || n.id, 1, n.created_at, n.created_at, '', n.created_at, {yes}, '' "
        "FROM notices_notice n JOIN jobs_job j ON j.id = n.job_id ORDER BY n.id"
    )


def _tags(size: Size, chance: random.Random) -> None:
    from jobs.models import Organization, Tag

    names = [f"tag-{number}" for number in range(TAGS_EACH)]
    Tag.objects.bulk_create(
        Tag(organization_id=pk, name=name, name_key=name)
        for pk in Organization.objects.values_list("pk", flat=True) for name in names
    )  # fmt: skip
    # Each job carries the tag of its number's remainder; every third a second one. The last tags are rare.
    number = "CAST(substr(j.correlation_id, 9) AS INTEGER)"
    for divisor, remainder in ((3, 0), (2, 1)):
        _execute(
            "INSERT INTO jobs_jobtag (job_id, tag_id) SELECT j.id, t.id FROM jobs_job j JOIN jobs_tag t "
            "ON t.organization_id = j.organization_id AND t.name_key = "
            f"'tag-' || (CASE WHEN {number} % 997 = 0 THEN 19 ELSE {number} / {divisor} % 15 + {remainder} END) "
            f"WHERE {number} % {divisor} = {remainder} ORDER BY j.id ON CONFLICT DO NOTHING"
        )


def _counters() -> None:
    from queueing.models import QueueState

    QueueState.objects.get_or_create(pk=1, defaults={"max_running": 400, "max_running_per_organization": 400})
    _execute(
        "INSERT INTO jobs_runcounter (organization_id, last) "
        "SELECT organization_id, MAX(number) FROM jobs_job GROUP BY organization_id"
    )


def _text(column: str) -> str:
    return f"CAST({column} AS VARCHAR(32))"


def _in_a_day() -> str:
    from django.db import connection

    return "datetime('now', '+1 day')" if connection.vendor == "sqlite" else "now() + interval '1 day'"


def _execute(statement: str) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement.replace("%", "%%"), [])
