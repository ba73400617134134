"""`manage.py emergency_sign_in USER`: a superuser's way in while the identity provider is the only door and away."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from cloudtrain_site.accounts.sso.emergency import LIFETIME_SECONDS, make_link
from cloudtrain_site.accounts.sso.linking import is_active_superuser
from cloudtrain_site.conf.public_address import full_link
from cloudtrain_site.enterprise import get_enterprise_config


class Command(BaseCommand):
    """Print a link that signs in one superuser, once."""

    help = "Print a link that signs in the superuser USER once, within ten minutes. Recorded in the audit record."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER")

    def handle(self, *args: Any, user: str, **options: Any) -> None:
        """Print it. Raises CommandError for who is no superuser, and where passwords let people in anyway."""
        if get_enterprise_config().sign_in.has_local_passwords:
            raise CommandError("Passwords are switched on: sign in with one, or set one with `changepassword`.")
        owner = User.objects.filter(username=user).first()
        if owner is None or not is_active_superuser(owner):
            raise CommandError(f"{user!r} is not an active superuser.")
        self.stderr.write(f"Open this address within {LIFETIME_SECONDS // 60} minutes. It works once.")
        self.stdout.write(full_link(make_link(owner)))
