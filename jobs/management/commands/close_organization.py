"""`manage.py close_organization ORGANIZATION`: end an organization's work, or let it go on."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from cloudtrain_site.audit.recording import OPERATOR
from cloudtrain_site.errors import Conflict
from jobs.models import Organization
from jobs.organizations.endings import RunningJobs, close, reopen


class Command(BaseCommand):
    """Close an organization, or reopen it."""

    help = (
        "Close ORGANIZATION: its members still see its jobs but can't submit, and its waiting jobs are cancelled. "
        "--reopen opens it again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """ORGANIZATION, --running and --reopen."""
        parser.add_argument("organization", metavar="ORGANIZATION")
        parser.add_argument(
            "--running", choices=RunningJobs.values, default=RunningJobs.FINISH, help="what happens to running jobs"
        )
        parser.add_argument("--reopen", action="store_true", help="reopen it instead")

    def handle(self, *args: Any, organization: str, running: str, reopen: bool, **options: Any) -> None:
        """Do it. Raises CommandError for an unknown organization, and one that is closed or open already."""
        found = Organization.objects.filter(name=organization).first()
        if found is None:
            raise CommandError(f"There is no organization {organization!r}.")
        try:
            self.stdout.write(_reopen(found) if reopen else _close(found, RunningJobs(running)))
        except Conflict as problem:
            raise CommandError(str(problem.detail)) from None


def _close(organization: Organization, running: RunningJobs) -> str:
    cancelled = close(organization, by=OPERATOR, running=running)
    return f"{organization} is closed. Cancelled jobs: {cancelled}."


def _reopen(organization: Organization) -> str:
    reopen(organization, by=OPERATOR)
    return f"{organization} is open again."
