"""`manage.py remove_second_factor USER`: for who has lost it, with the recovery codes."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from cloudtrain_site.audit.recording import OPERATOR, record


class Command(BaseCommand):
    """Remove the passkeys, the app and the recovery codes of one person."""

    help = "Remove all second factors of USER, who has lost them. Recorded in the audit record."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER")

    def handle(self, *args: Any, user: str, **options: Any) -> None:
        """Remove them. Raises CommandError for an unknown user and one who has none."""
        owner = User.objects.filter(username=user).first()
        if owner is None:
            raise CommandError(f"There is no user {user!r}.")
        with transaction.atomic():
            factors = Authenticator.objects.select_for_update().filter(user=owner)
            kinds = sorted(factors.values_list("type", flat=True))
            if not kinds:
                raise CommandError(f"{user} has no second factor.")
            factors.delete()
            record("second_factor_removed", owner, by=OPERATOR, before={"kinds": kinds})
        self.stdout.write(f"{user} has no second factors any more. Removed: {', '.join(kinds)}.")
