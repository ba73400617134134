"""What SimpleTuner has stored moves in: shown first, each thing once, and nothing is changed over there."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.management import CommandError, call_command
from django.utils import timezone

from approvals.models import ApprovalRequest, ApprovalRule
from jobs.models import Invitation, Job, JobEvent, Organization
from jobs.roles import Role
from jobs.simpletuner import source
from queueing.budgets.lefts import read_lefts
from queueing.budgets.sums import all_states
from queueing.budgets.watch import watch
from queueing.models import Budget
from tests import simpletuner_databases as simpletuner
from tests.factories import make_user
from tests.simpletuner_databases import BROKEN, CAPTIONING, LOCAL_JOB, REPLICATE_JOB, WORKER_JOB

pytestmark = pytest.mark.django_db
SAMPLE = [REPLICATE_JOB, LOCAL_JOB, WORKER_JOB, CAPTIONING]


@pytest.fixture
def owner(acme: Organization) -> User:
    return make_user("olga", acme, Role.ADMIN)


def run(path: Path | str, *options: str) -> str:
    """The command's lines, without the runs of spaces of its table."""
    out = StringIO()
    call_command("import_simpletuner", str(path), *options, organization="acme", stdout=out)
    return "\n".join(" ".join(line.split()) for line in out.getvalue().splitlines())


def test_it_shows_first_and_then_does_each_thing_once(owner: User, alice: User, tmp_path: Path) -> None:
    ana = {"id": 1, "email": alice.email.upper(), "username": "ana"}
    jobs = simpletuner.make_jobs_file(tmp_path, [{**one, "user_id": 1} for one in SAMPLE], users=[ana])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    shown = run(jobs)
    assert "jobs new 3" in shown
    assert "jobs skipped 1 it wrote captions and trained nothing" in shown
    assert "Nothing was changed. Add --apply to import." in shown
    assert not Job.objects.exists()

    assert "jobs new 3" in run(jobs, "--apply")
    assert set(Job.objects.values_list("submitted_by", "organization__name")) == {(alice.pk, "acme")}
    assert set(Job.objects.values_list("number", flat=True)) == {1, 2, 3}
    stored = list(Job.objects.order_by("pk").values())
    again = run(jobs, "--apply")
    assert "jobs already there 3" in again
    assert "There are no new jobs." in again
    assert list(Job.objects.order_by("pk").values()) == stored
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("version", range(1, 6))
def test_every_schema_version_is_read(owner: User, tmp_path: Path, version: int) -> None:
    run(simpletuner.make_jobs_file(tmp_path, SAMPLE, version=version), "--apply")
    assert set(Job.objects.values_list("provider", "status", "submitted_by__username")) == {
        ("replicate", "completed", "olga"),
        ("local", "completed", "olga"),
        ("worker", "failed", "olga"),
    }


def test_secrets_are_sealed_and_what_is_not_ours_stays_there(owner: User, tmp_path: Path) -> None:
    run(simpletuner.make_jobs_file(tmp_path, SAMPLE), "--apply")
    job = Job.objects.get(provider="local")
    assert job.config == {"--max_train_steps": 500, "--hub_token": "***"}
    assert job.sealed
    assert job.metadata == {"imported_from": "jobs.db:0a1b2c3d", "env_name": "toys-local"}
    for row in Job.objects.values():
        assert "SECRET" not in str(row)
        assert "never-to-be-read" not in str(row)
    (event,) = JobEvent.objects.filter(job=job)
    assert (event.old, event.new, event.actor) == ("", "completed", "operator")
    assert event.reason == "imported from SimpleTuner, where it was 0a1b2c3d"


def test_broken_rows_are_named_and_stop_it(owner: User, tmp_path: Path) -> None:
    jobs = simpletuner.make_jobs_file(tmp_path, [*BROKEN, LOCAL_JOB])
    with pytest.raises(CommandError, match="4 rows can't be read"):
        run(jobs, "--apply")
    assert not Job.objects.exists()
    lines = run(jobs, "--skip-broken", "--apply")
    assert "job bad-1: 'strange' is not a status." in lines
    assert "job bad-4: cost_usd can't be true: -1.0." in lines
    assert Job.objects.count() == 1


def test_since_a_day_older_jobs_are_left_out(owner: User, tmp_path: Path) -> None:
    jobs = simpletuner.make_jobs_file(tmp_path, SAMPLE)
    lines = run(jobs, "--since", "2026-05-05", "--apply")
    assert "jobs skipped 1 made before 2026-05-05" in lines
    assert set(Job.objects.values_list("provider", flat=True)) == {"local", "worker"}


class TestTheFile:
    def test_the_newest_rows_are_in_the_log_beside_it(self, owner: User, tmp_path: Path) -> None:
        jobs = simpletuner.make_jobs_file(tmp_path, [LOCAL_JOB])
        copied = tmp_path / "copied"
        copied.mkdir()
        with closing(sqlite3.connect(jobs)) as running, running:
            simpletuner.insert(running, "jobs", [REPLICATE_JOB])
            running.commit()
            assert (tmp_path / "jobs.db-wal").exists()
            assert "jobs new 2" in run(jobs)
            for name in ("jobs.db", "jobs.db-wal"):
                shutil.copy(tmp_path / name, copied)
            assert "jobs new 2" in run(copied)
            assert {path.name for path in copied.iterdir()} == {"jobs.db", "jobs.db-wal"}
            (copied / "jobs.db-wal").unlink()
            lone = run(copied)
        assert "jobs new 1" in lone
        assert "There is no jobs.db-wal beside it." in lone

    def test_a_wrong_one_is_refused_in_a_sentence(self, owner: User, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match=r"There is no jobs\.db\. Looked for"):
            run(tmp_path)
        (tmp_path / "text").write_text("no database" * 100)
        with pytest.raises(CommandError, match="can't be opened as a database"):
            run(tmp_path / "text")
        with closing(sqlite3.connect(tmp_path / "other")) as connection:
            connection.execute("CREATE TABLE other (id)")
        with pytest.raises(CommandError, match="has no table of jobs"):
            run(tmp_path / "other")

    def test_without_a_path_the_usual_places_are_looked_at(
        self, owner: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "cloud").mkdir()
        simpletuner.make_jobs_file(tmp_path / "cloud", [LOCAL_JOB])
        monkeypatch.setattr(source, "_home_of_state", lambda: str(tmp_path))
        assert "jobs new 1" in run("")

    def test_the_organization_must_be_open(self, acme: Organization, tmp_path: Path) -> None:
        acme.closed_at = timezone.now()
        acme.save()
        with pytest.raises(CommandError, match="'acme' is closed"):
            run(tmp_path)


def test_no_budget_counts_it(owner: User, acme: Organization, tmp_path: Path) -> None:
    ended = timezone.now() - timedelta(minutes=1)
    now = {name: ended.isoformat() for name in ("created_at", "started_at", "completed_at")}
    for period in ("month", "lifetime"):
        Budget.objects.create(scope="organization", organization=acme, amount=5, period=period)
        Budget.objects.create(scope="user", organization=acme, user=owner, amount=5, period=period, action="cancel")
    run(simpletuner.make_jobs_file(tmp_path, [{**LOCAL_JOB, **now, "cost_usd": 100}]), "--apply")
    assert {state.spent for state in all_states()} == {Decimal(0)}
    assert {left for *_, left in read_lefts(timezone.now())} == {Decimal(5)}
    assert watch()["reached"] == 0


class TestPeople:
    USERS = (
        {"id": 1, "email": "ana@example.org", "username": "ana"},
        {"id": 2, "email": "ben@example.org", "username": "ben", "is_admin": 1},
        {"id": 3, "email": "cora@example.org", "username": "alice"},
        {"id": 4, "email": "dan@example.org", "username": "dan", "is_active": 0},
        {"id": 5, "email": "nowhere", "username": "eve"},
        {"id": 6, "email": "finn@example.org", "username": "finn"},
    )
    LEVELS = ({"id": 7, "name": "lead"},)

    def test_the_others_are_invited_once(self, owner: User, alice: User, tmp_path: Path) -> None:
        jobs = simpletuner.make_jobs_file(
            tmp_path, [{**LOCAL_JOB, "user_id": 3}, {**REPLICATE_JOB, "user_id": 1}],
            users=self.USERS, levels=self.LEVELS, user_levels=[{"user_id": 6, "level_id": 7}],
        )  # fmt: skip
        shown = run(jobs, "--users")
        assert "users new 1 to be invited as admin" in shown
        assert not Invitation.objects.exists()
        lines = run(jobs, "--users", "--apply")
        assert "users already there 1 members" in lines
        assert "users skipped 1 switched off in SimpleTuner" in lines
        assert "1 new jobs have no owner who is a member of acme: they go to olga" in lines
        assert dict(Invitation.objects.values_list("email", "role")) == {
            "ana@example.org": "researcher",
            "ben@example.org": "admin",
            "finn@example.org": "lead",
        }
        assert sorted(one.to[0] for one in mail.outbox) == ["ana@example.org", "ben@example.org", "finn@example.org"]
        submitters = dict(Job.objects.values_list("provider", "submitted_by__username"))
        assert submitters == {"local": "alice", "replicate": "olga"}
        assert Job.objects.get(provider="replicate").metadata["imported_user"] == "ana"
        assert "users already there 3 invited" in run(jobs, "--users", "--apply")
        assert Invitation.objects.count() == 3


class TestRules:
    def test_what_there_is_here_too_is_taken_over_once(self, owner: User, alice: User, tmp_path: Path) -> None:
        quotas = [
            {"quota_type": "cost_monthly", "limit_value": 500, "org_id": 1},
            {"quota_type": "cost_daily", "limit_value": 20.5, "user_id": 1},
            {"quota_type": "concurrent_jobs", "limit_value": 3, "org_id": 1},
            {"quota_type": "cost_monthly", "limit_value": 5, "user_id": 2},
            {"quota_type": "cost_monthly", "limit_value": 5, "level_id": 2},
            {"quota_type": "cost_daily", "limit_value": 5, "action": "warn", "org_id": 1},
            {"quota_type": "cost_monthly", "limit_value": 5},
            {"quota_type": "jobs_per_hour", "limit_value": 5, "org_id": 1},
        ]
        users = [{"id": 1, "email": alice.email, "username": "a"}, {"id": 2, "email": "b@example.org", "username": "b"}]
        organizations = [{"id": 1, "name": "Studio", "slug": "studio"}]
        jobs = simpletuner.make_jobs_file(tmp_path, [], quotas=quotas, users=users, organizations=organizations)
        rules: list[dict[str, Any]] = [
            {
                "name": "dear",
                "condition": "cost_exceeds",
                "threshold": "50.00",
                "priority": 10,
                "exempt_levels": '["admin"]',
            },
            {"name": "first", "condition": "first_job", "threshold": "true", "is_active": 0},
            {
                "name": "big",
                "condition": "hardware_type",
                "threshold": "H100 (80GB)",
                "applies_to_provider": "replicate",
            },
            {"name": "young", "condition": "user_level", "threshold": "lead", "required_approver_level": "admin"},
            {"name": "many", "condition": "daily_jobs_exceed", "threshold": "9", "applies_to_level": "viewer"},
            {"name": "regular", "condition": "config_pattern", "threshold": "^full"},
            {"name": "away", "condition": "provider", "threshold": "runpod"},
            {"name": "odd", "condition": "cost_exceeds", "threshold": "much"},
            {"name": "boss", "condition": "first_job", "threshold": "", "required_approver_level": "boss"},
        ]
        simpletuner.make_approvals_file(tmp_path, rules, [])
        assert "quotas new 1 a budget for a month of acme, for everybody together" in run(jobs, "--rules")
        assert not Budget.objects.exists()

        lines = run(jobs, "--rules", "--apply")
        for sentence in (
            "quotas new 1 a budget for a day of alice",
            "quotas new 1 acme runs 3 at once",
            "quotas skipped 1 cost_monthly of b, who is not a member here",
            "quotas skipped 1 cost_monthly of a level: not available here",
            "quotas skipped 1 cost_daily with warn: budgets and limits here always hold what is new",
            "quotas skipped 1 cost_monthly for each person: set it here by hand",
            "quotas skipped 1 jobs_per_hour: nothing here counts by the hour; a rule counts by the day",
            "rules skipped 1 regular: '^full' is a regular expression; patterns here are like *full-finetune*",
            "rules skipped 1 away: it is for the provider 'runpod', which does not exist here",
            "rules skipped 1 boss: nobody here decides with the level 'boss'",
            "rules skipped 1 odd: “much” value must be a decimal number.",
        ):
            assert sentence in lines
        budgets = Budget.objects.values_list("scope", "user__username", "period", "amount", "action")
        assert set(budgets) == {
            ("organization", None, "month", Decimal(500), "hold"),
            ("user", "alice", "day", Decimal("20.50"), "hold"),
        }
        assert Organization.objects.get(name="acme").max_running == 3
        stored = {rule.name: rule for rule in ApprovalRule.objects.filter(organization__name="acme")}
        assert {name: rule.condition() for name, rule in stored.items()} == {
            "dear": {"cost_exceeds": Decimal(50)},
            "first": {"first_job": True},
            "big": {"hardware": "h100*", "provider": "replicate"},
            "young": {"role_at_most": "researcher"},
            "many": {"jobs_in_day_exceed": 9},
        }
        assert (stored["dear"].priority, stored["dear"].exempt_roles, stored["first"].enabled) == (90, ["admin"], False)
        assert stored["young"].reviewer_role == "admin"
        assert stored["many"].exempt_roles == ["researcher", "lead", "admin"]

        again = run(jobs, "--rules", "--apply")
        assert "quotas new" not in again
        assert "rules already there 5" in again
        assert (Budget.objects.count(), ApprovalRule.objects.filter(organization__name="acme").count()) == (2, 5)

    def test_requests_are_lines_of_their_jobs_histories(self, owner: User, tmp_path: Path) -> None:
        jobs = simpletuner.make_jobs_file(
            tmp_path, [LOCAL_JOB, {**WORKER_JOB, "status": "pending"}], users=TestPeople.USERS
        )
        decided = {"job_id": "0a1b2c3d", "user_id": 1, "rule_id": 1, "status": "approved", "reason": "It is dear.",
                   "reviewed_by": 2, "reviewed_at": "2026-05-05T10:00:00Z", "review_notes": "ok, token=hf_abcdef123456",
                   "created_at": "2026-05-05T09:00:01Z"}  # fmt: skip
        waiting = {"job_id": "wjob-0123456789ab", "user_id": 9, "status": "pending", "created_at": "never"}
        rule = {"id": 1, "name": "dear", "condition": "cost_exceeds", "threshold": "50"}
        simpletuner.make_approvals_file(tmp_path, [rule], [decided, waiting])
        run(jobs, "--apply")
        run(jobs, "--apply")
        lines = (
            JobEvent.objects.filter(job__provider="local")
            .order_by("id")
            .values_list("subject", "new", "actor", "reason")
        )
        assert list(lines) == [
            ("approval", "pending", "ana", "in SimpleTuner, by the rule dear: It is dear."),
            ("approval", "approved", "ben", "in SimpleTuner: ok, token=***"),
            ("job", "completed", "operator", "imported from SimpleTuner, where it was 0a1b2c3d"),
        ]
        held = JobEvent.objects.filter(job__provider="worker").order_by("id").values_list("subject", "new", "actor")
        assert list(held) == [("approval", "pending", "somebody"), ("job", "failed", "operator")]
        assert not ApprovalRequest.objects.exists()
