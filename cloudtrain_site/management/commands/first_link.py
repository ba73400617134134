"""`manage.py first_link`: print the link that makes the site's first account."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from cloudtrain_site.accounts.first_link import LIFETIME_MINUTES, make_first_link
from cloudtrain_site.conf.public_address import full_link
from cloudtrain_site.enterprise import get_enterprise_config
from cloudtrain_site.errors import Conflict


class Command(BaseCommand):
    """Print a new link; the one before ends."""

    help = (
        "Print a link that creates the first account, a superuser. It works once, within an hour, if there is none yet."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print it. Raises CommandError when somebody has an account, and where passwords let nobody in."""
        if not get_enterprise_config().sign_in.has_local_passwords:
            raise CommandError("Passwords are switched off: create the first superuser with createsuperuser.")
        try:
            path = make_first_link()
        except Conflict as problem:
            raise CommandError(str(problem.detail)) from None
        self.stderr.write(f"Open this address within {LIFETIME_MINUTES} minutes. It works once.")
        self.stdout.write(full_link(path))
