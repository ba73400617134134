"""`manage.py export_person NAME`: what is stored about a person, as JSON."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from cloudtrain_site.people.export import document


class Command(BaseCommand):
    """Write the document to the standard output, as it is read."""

    help = "Print all data stored about the person NAME as JSON."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME")

    def handle(self, *args: Any, name: str, **options: Any) -> None:
        """Raises CommandError for a name that no user has."""
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no user {name!r}.")
        for piece in document(user):
            self.stdout.write(piece, ending="")
