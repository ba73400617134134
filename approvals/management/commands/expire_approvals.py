"""`manage.py expire_approvals`: one sweep, for cron."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from approvals import expiry
from cloudtrain_site.states import Source


class Command(BaseCommand):
    """Expire the approval requests whose deadline has passed."""

    help = "Expire approval requests whose deadline has passed. Can run several times at once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only print how many are due")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, dry_run: bool, json: bool, **options: Any) -> None:
        count = expiry.due_requests().count() if dry_run else expiry.expire_due(source=Source.COMMAND)
        self.stdout.write(_answer(count, dry_run=dry_run, as_json=json))


def _answer(count: int, *, dry_run: bool, as_json: bool) -> str:
    if as_json:
        return json.dumps({"due": count} if dry_run else {"expired": count})
    return f"{count} approval requests are due" if dry_run else f"Expired {count} approval requests"
