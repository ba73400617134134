"""PostgreSQL under two versions at once: 0.1.0 goes on beside this one while a site is upgraded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone
from django_migration_linter.sql_analyser.postgresql import PostgresqlAnalyser

from approvals import decisions
from approvals.intake import SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule, Decision
from cloudtrain_site.notices.models import Notice
from cloudtrain_site.states import Source
from jobs.configs.submission import Submission
from jobs.models import Job, Membership
from tests.old_migrations import VERSION_0_1, drop_retired, models_of_0_1

pytestmark = [pytest.mark.slow, pytest.mark.postgresql, pytest.mark.django_db]

#: What the linter finds in tables that 0.1.0 knows, and why it does no harm there.
HARMLESS = {("jobs", "0048_run_numbers"): "the numbers are empty in what 0.1.0 writes, and empty ones are not compared"}


@pytest.fixture(scope="module")
def old(django_db_setup: None, django_db_blocker: Any) -> Iterator[Any]:
    """The models of 0.1.0, on the tables of a database that was upgraded from it."""
    with django_db_blocker.unblock():
        models = models_of_0_1()
    yield models
    with django_db_blocker.unblock():
        drop_retired()


def commit() -> None:
    """Do what the end of the transaction does."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")


def held_by_0_1(old: Any, alice: User, make_job: Callable[..., Job], **terms: Any) -> ApprovalRequest:
    """Hold a job as the web process of 0.1.0 does."""
    job = make_job(config_name="old")
    now = timezone.now()
    fields = {"rule_name": "dear", "reason": "It is dear.", "expires_at": now + timedelta(hours=6), "requested_at": now}
    request = old.get_model("approvals", "ApprovalRequest").objects.create(
        job_id=job.pk,
        organization_id=job.organization_id,
        requested_by_id=alice.pk,
        config_digest="x",
        **fields | terms,
    )
    commit()
    return ApprovalRequest.objects.get(pk=request.pk)


def test_every_table_and_column_of_0_1_is_there_and_no_new_one_must_be_given(old: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name, is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO' "
            "FROM information_schema.columns WHERE table_schema = 'public'"
        )
        must_be_given: dict[str, dict[str, bool]] = {}
        for table, column, is_required in cursor.fetchall():
            must_be_given.setdefault(table, {})[column] = is_required
    for model in old.get_models():
        columns, now = (
            {field.column for field in model._meta.local_concrete_fields},
            must_be_given[model._meta.db_table],
        )
        assert columns <= now.keys(), model
        assert not [name for name in now.keys() - columns if now[name]], model


def test_a_request_of_0_1_has_its_requirement_and_is_decided_by_this_version(
    old: Any, alice: User, bob: User, make_job: Callable[..., Job]
) -> None:
    request = held_by_0_1(old, alice, make_job, approvals_needed=1, reviewer_role="lead")
    [requirement] = request.requirements.all()
    assert (requirement.approvals_needed, requirement.approvals_given, requirement.reviewer_role) == (1, 0, "lead")
    assert requirement.expires_after_hours == 6
    assert not decisions.approve(request, user=alice, source=Source.API)
    assert decisions.approve(request, user=bob, source=Source.API)


def test_an_approval_of_0_1_counts_for_the_only_requirement_once(
    old: Any, alice: User, bob: User, make_job: Callable[..., Job]
) -> None:
    request = held_by_0_1(old, alice, make_job, approvals_needed=2)
    fields = {"name": "bob", "verdict": "approve", "source": "api", "correlation_id": "", "at": timezone.now()}
    old.get_model("approvals", "Decision").objects.create(request_id=request.pk, user_id=bob.pk, **fields)
    commit()
    requirement = request.requirements.get()
    assert requirement.approvals_given == 1
    assert Decision.objects.get().counted_for.get() == requirement
    assert not decisions.approve(request, user=bob, source=Source.API)


@pytest.mark.parametrize("rules", [1, 2])
def test_0_1_is_no_way_around_the_rules_of_this_version(old: Any, alice: User, rules: int) -> None:
    ApprovalRule.objects.all().delete()
    for number in range(rules):
        ApprovalRule.objects.create(name=f"rule {number}", first_job=True, reviewer_role="admin", approvals_needed=2)
    organization = Membership.objects.get(user=alice).organization
    submission = Submission("local", {"max_train_steps": 1}, "new", "cpu")
    request = submit(SubmissionRequest(alice, organization, submission, Source.API)).approval
    assert request is not None
    commit()
    seen = old.get_model("approvals", "ApprovalRequest").objects.get(pk=request.pk)
    assert (seen.reviewer_role, seen.self_approval) == ("admin", False)
    # Of several rules 0.1.0 knows one: its approvals are never enough.
    assert seen.approvals_needed == (2 if rules == 1 else 32767)
    # A rule that both know can be deleted by this one.
    assert seen.rule_id == request.requirements.earliest("position").rule_id
    ApprovalRule.objects.all().delete()
    seen.refresh_from_db()
    assert seen.rule_id is None


def test_a_mail_that_0_1_stores_is_sent_by_this_version_alone(
    old: Any, alice: User, make_job: Callable[..., Job]
) -> None:
    request = held_by_0_1(old, alice, make_job)
    mails = old.get_model("approvals", "Notice").objects
    mail = mails.create(request_id=request.pk, kind="asked", due_at=timezone.now(), correlation_id="c")
    commit()
    assert mails.get().done_at is not None
    notice = Notice.objects.get(key=f"approval {request.pk} {mail.kind}")
    assert (notice.kind, notice.job_id, notice.correlation_id) == ("approval_requested", request.job_id, "c")
    request.delete()
    commit()
    assert not mails.exists()


def test_migrations_since_0_1_have_nothing_that_stops_it(db: None) -> None:
    loader = MigrationLoader(connection, replace_migrations=False)
    state = loader.project_state(list(VERSION_0_1.items()))
    tables = {model._meta.db_table for model in state.apps.get_models()}
    assert faults_in(['ALTER TABLE "jobs_job" ADD COLUMN "new" integer NOT NULL'], tables)
    assert faults_in(['ALTER TABLE "jobs_job" DROP COLUMN "step" CASCADE'], tables)
    done = {key for released in VERSION_0_1.items() for key in loader.graph.forwards_plan(released)}
    todo = [key for leaf in loader.graph.leaf_nodes() for key in loader.graph.forwards_plan(leaf) if key not in done]
    found = {}
    for key in dict.fromkeys(todo):
        migration = loader.graph.nodes[key]
        if key in loader.replacements:
            continue
        with connection.schema_editor(collect_sql=True, atomic=migration.atomic) as editor:
            state = migration.apply(state, editor, collect_sql=True)
        if key[0] in VERSION_0_1 and (faults := faults_in(editor.collected_sql, tables)):
            found[key] = faults
    assert found.keys() == HARMLESS.keys(), found


def faults_in(statements: list[str], tables: set[str]) -> list[str]:
    """Return what the linter says about the statements that change one of the tables."""
    about = [sql for sql in statements if {*re.findall(r'(?:TABLE|ON) "(\w+)"', sql)[:1]} & tables]
    analyser = PostgresqlAnalyser([])
    analyser.analyse(about)
    return [issue.message for issue in analyser.errors]
