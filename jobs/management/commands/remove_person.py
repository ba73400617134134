"""`manage.py remove_person NAME`: put a pseudonym in a person's place, and remove what was theirs alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from cloudtrain_site.audit.recording import OPERATOR
from cloudtrain_site.errors import Conflict
from jobs.organizations.removal import Removal, remove_person, what_removal_takes


class Command(BaseCommand):
    """List what a removal would do; with --apply, do it."""

    help = "Remove the person NAME. Without --apply it only lists what would be removed. It can't be undone."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME")
        parser.add_argument(
            "--apply", action="store_true", help="remove the person (default: only list what would be removed)"
        )
        parser.add_argument("--cancel-jobs", action="store_true", help="cancel their active jobs instead of refusing")

    def handle(self, *args: Any, name: str, apply: bool, cancel_jobs: bool, **options: Any) -> None:
        """Raises CommandError for a name that no user has, and for somebody who can't be removed now."""
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no user {name!r}.")
        if not apply:
            self.stdout.write("\n".join(lines_of(name, what_removal_takes(user))))
            return
        try:
            pseudonym = remove_person(user, by=OPERATOR, cancel=cancel_jobs)
        except Conflict as problem:
            raise CommandError(str(problem.detail)) from None
        self.stdout.write(f"{name} was removed and is now called {pseudonym}.")


def lines_of(name: str, removal: Removal) -> Iterator[str]:
    """Yield what a removal would do, as sentences."""
    yield f"{name} would be called {removal.pseudonym}, without mail address, password and memberships."
    yield f"Removed: {_listed(removal.takes)}."
    yield f"Renamed in: {_listed(removal.renames)}."
    yield f"Kept under the pseudonym: {_listed(removal.keeps)}."
    if removal.objection:
        yield f"Not now: {removal.objection}"
    elif removal.active_jobs:
        yield f"Active jobs: {removal.active_jobs}. Wait until they end, or add --cancel-jobs."
    yield "Nothing was changed. Add --apply to remove the person; it can't be undone."


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items()) or "nothing"
