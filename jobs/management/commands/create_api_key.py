"""`manage.py create_api_key USER`: a key for the API, shown once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from cloudtrain_site.accounts.api_keys import issue_key
from cloudtrain_site.audit.recording import OPERATOR
from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.models import Scope
from cloudtrain_site.names import readable_name
from jobs.permissions import organizations_of

DEFAULT_DAYS = 365


class Command(BaseCommand):
    """Print a new key, alone on its line."""

    help = "Create an API key for USER and print it once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER")
        parser.add_argument("--name", default="", help="what the key is for")
        parser.add_argument("--days", type=int, default=DEFAULT_DAYS, help="days until the key expires (default: 365)")
        parser.add_argument(
            "--scope",
            action="append",
            choices=Scope.values,
            dest="scopes",
            help="what the key can do; repeatable (default: all of it): " + ", ".join(Scope.values),
        )
        parser.add_argument(
            "--organization", metavar="NAME", help="limit the key to this organization (default: all of the user's)"
        )

    def handle(self, *args: Any, user: str, name: str, days: int, **options: Any) -> None:
        """Make the key. Raises CommandError for an unknown user or organization, a bad name, less than one day."""
        owner = User.objects.filter(username=user).first()
        if owner is None:
            raise CommandError(f"There is no user {user!r}. Make one: {COMMAND} add_member {user} ORG ROLE --create")
        if days < 1:
            raise CommandError("--days must be at least 1.")
        try:
            readable_name(name)
        except ValidationError as error:
            raise CommandError(f"--name: {error.messages[0]}") from None
        organization_id = _organization_id(owner, options["organization"]) if options["organization"] else None
        scopes = options["scopes"] or Scope.values
        _, key = issue_key(
            owner, name, timedelta(days=days), by=OPERATOR, scopes=scopes, organization_id=organization_id
        )
        self.stdout.write(key)


def _organization_id(owner: User, name: str) -> int:
    organization_id = organizations_of(owner).filter(name=name).values_list("pk", flat=True).first()
    if organization_id is None:
        raise CommandError(f"{owner} isn't a member of an organization called {name!r}.")
    return organization_id
