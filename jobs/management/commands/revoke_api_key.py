"""`manage.py revoke_api_key ID` or `--user USER`: the end of keys for the API."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from cloudtrain_site.accounts.api_keys import revoke_all_keys, revoke_key
from cloudtrain_site.audit.recording import OPERATOR
from cloudtrain_site.models import ApiKey


class Command(BaseCommand):
    """Revoke one key, by what it begins with, or all keys of a user."""

    help = "Revoke the API key that begins with ID, or every key of a user. The key stops working at once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "id", metavar="ID", nargs="?", help="the beginning of the key, as its owner's account page shows it"
        )
        parser.add_argument("--user", metavar="USER", help="revoke all keys of this user instead")

    def handle(self, *args: Any, **options: Any) -> None:
        """Revoke them. Raises CommandError for a key or a user that isn't there, and for both or neither."""
        key_id, user = options["id"], options["user"]
        if bool(key_id) == bool(user):
            raise CommandError("Enter the beginning of a key, or --user for all keys of a user.")
        if user:
            self.stdout.write(_revoke_all(user))
            return
        key = ApiKey.objects.filter(token_key=key_id).select_related("user").first()
        if key is None or not revoke_key(key.user, key_id, by=OPERATOR):
            raise CommandError(f"There is no key that begins with {key_id!r}.")
        self.stdout.write(f"The key {key_id} of {key.user} is revoked.")


def _revoke_all(name: str) -> str:
    owner = User.objects.filter(username=name).first()
    if owner is None:
        raise CommandError(f"There is no user {name!r}.")
    count = revoke_all_keys(owner, by=OPERATOR)
    return f"{count} {'key' if count == 1 else 'keys'} of {name} revoked."
