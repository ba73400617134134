"""`manage.py import_simpletuner PATH --organization NAME`: take over what SimpleTuner has stored."""

from __future__ import annotations

from argparse import ArgumentParser
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from approvals.compatibility.imported import RequestHistories, import_rules
from cloudtrain_site.correlation_ids import command_correlation
from jobs.models import Organization
from jobs.simpletuner.outcome import Fate, Outcome
from jobs.simpletuner.people import People, invite_people
from jobs.simpletuner.source import APPROVALS_FILE, Source, SourceError, find_jobs_file, opened
from jobs.simpletuner.storing import KIND, JobImport
from queueing.compatibility.imported import QuotaImport


class Command(BaseCommand):
    help = "Import SimpleTuner's jobs, users and rules. Without --apply it only shows what it would import."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "path", nargs="?", default="", metavar="PATH", help="the path of jobs.db (default: the usual places)"
        )
        parser.add_argument("--organization", required=True, metavar="NAME", help="the organization that gets the jobs")
        parser.add_argument(
            "--since", metavar="DATE", help="leave out jobs created before this day (UTC), such as 2026-05-01"
        )
        parser.add_argument("--users", action="store_true", help="invite SimpleTuner's users who are not members yet")
        parser.add_argument("--rules", action="store_true", help="import approval rules, and quotas as budgets")
        parser.add_argument("--skip-broken", action="store_true", help="import the rest if some rows can't be read")
        parser.add_argument("--apply", action="store_true", help="import (default: only show)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Raises CommandError, and so exits with 1, when something can't be read."""
        since = _day(options["since"])
        organization = Organization.objects.filter(name=options["organization"]).first()
        if organization is None or organization.is_closed:
            state = "is closed" if organization else "does not exist"
            raise CommandError(f"The organization {options['organization']!r} {state}.")
        with command_correlation(), ExitStack() as stack:
            try:
                self._import(organization, since, options, stack)
            except SourceError as error:
                raise CommandError(str(error)) from error

    def _import(
        self, organization: Organization, since: datetime | None, options: dict[str, Any], stack: ExitStack
    ) -> None:
        source = stack.enter_context(opened(path := find_jobs_file(options["path"])))
        if not source.has("jobs"):
            raise SourceError(f"{path} has no table of jobs: it is not SimpleTuner's jobs.db.")
        beside = path.with_name(APPROVALS_FILE)
        approvals = stack.enter_context(opened(beside)) if beside.is_file() else None
        run = _Run(organization, source, approvals, since, options["users"], options["rules"])
        outcome, jobs = run.go(apply=False)
        is_stopped = bool(outcome.count(Fate.BROKEN)) and not options["skip_broken"]
        if options["apply"] and not is_stopped:
            outcome, jobs = run.go(apply=True)
        for line in (*outcome.lines(), *run.remarks(jobs), *filter(None, [source.warning])):
            self.stdout.write(line)
        if is_stopped:
            broken = outcome.count(Fate.BROKEN)
            raise CommandError(
                f"{broken:,} rows can't be read. Add --skip-broken to import the others. Nothing was changed."
            )
        if not options["apply"]:
            self.stdout.write("Nothing was changed. Add --apply to import.")


@dataclass(frozen=True, slots=True)
class _Run:
    organization: Organization
    source: Source
    approvals: Source | None
    since: datetime | None
    with_users: bool
    with_rules: bool

    def go(self, *, apply: bool) -> tuple[Outcome, JobImport]:
        """Count, or do, all of it."""
        people = People(self.source, self.organization)
        requests = RequestHistories(self.approvals, people) if self.approvals else None
        histories = requests.of if requests else lambda job_ids: {}
        jobs = JobImport(self.source, self.organization, people, histories, self.since)
        outcome = jobs.run(apply=apply)
        if self.with_users:
            outcome.join(invite_people(people.by_id.values(), self.organization, apply=apply))
        if self.with_rules:
            outcome.join(QuotaImport(self.source, self.organization, people).run(apply=apply))
            if self.approvals:
                outcome.join(import_rules(self.approvals, self.organization, apply=apply))
        return outcome, jobs

    def remarks(self, jobs: JobImport) -> list[str]:
        """Return what else there is to know of the jobs."""
        stand_in, remarks = jobs.people.stand_in, list[str]()
        if jobs.without_member:
            whose = f"they go to {stand_in}, the first admin" if stand_in else "they have no owner"
            remarks.append(
                f"{jobs.without_member:,} new jobs have no owner who is a member of {self.organization}: {whose}. "
                "To keep owners apart, invite people with --users, and import the jobs once they have joined."
            )
        if jobs.adopted:
            remarks.append(f"{jobs.adopted:,} jobs are active at Replicate and will be followed to their end.")
        organizations = sum(1 for _ in self.source.rows("organizations"))
        if organizations > 1:
            remarks.append(
                f"The jobs of SimpleTuner's {organizations} organizations are all imported into {self.organization}."
            )
        if not jobs.outcome.count(Fate.NEW, KIND):
            remarks.append("There are no new jobs.")
        return remarks


def _day(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        raise CommandError(f"--since must be a date such as 2026-05-01, not {text!r}.") from None
