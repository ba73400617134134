"""`manage.py create_api_key USER`: a key for the API, shown once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.models import ApiKey
from cloudtrain_site.names import readable_name


class Command(BaseCommand):
    """Print a new key, alone on its line."""

    help = "Make an API key for USER and print it, once: only a digest of it is kept."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER")
        parser.add_argument("--name", default="", help="what the key is for")
        parser.add_argument("--days", type=int, default=None, help="how long it is valid; left out: 365")

    def handle(self, *args: Any, user: str, name: str, days: int | None, **options: Any) -> None:
        """Make the key. Raises CommandError for an unknown user, a name that isn't plain, and less than one day."""
        owner = get_user_model().objects.filter(username=user).first()
        if owner is None:
            raise CommandError(f"There is no user {user!r}. Make one: {COMMAND} add_member {user} ORG ROLE --create")
        if days is not None and days < 1:
            raise CommandError("--days must be at least 1.")
        try:
            readable_name(name)
        except ValidationError as error:
            raise CommandError(f"--name: {error.messages[0]}") from None
        expiry = {} if days is None else {"expiry": timedelta(days=days)}
        _, key = ApiKey.objects.create(user=owner, name=name, **expiry)
        self.stdout.write(key)
