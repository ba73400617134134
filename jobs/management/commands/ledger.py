"""manage.py ledger: prove the ledger, or mend a wrong price."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from jobs.costs.correction import Correction, CorrectionError
from jobs.costs.cost_sums import sum_again
from jobs.costs.verification import verify

SHOWN = 50


class Command(BaseCommand):
    help = (
        "Compare the ledger with the jobs (--verify), correct a wrong price of past jobs (--correct), or have the sums "
        "of past days and months made anew (--sum-again)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        action = parser.add_mutually_exclusive_group(required=True)
        action.add_argument("--verify", action="store_true", help="print what differs; the exit code is then 1")
        action.add_argument("--correct", action="store_true", help="show what another price changes; --apply stores it")
        action.add_argument(
            "--sum-again", action="store_true", help="have the job upkeep add up all days and months anew"
        )
        parser.add_argument("--provider", help="the provider with the wrong price")
        parser.add_argument("--hardware", default="", help="the hardware profile with the wrong price")
        parser.add_argument("--price", help="the correct price, in US dollars per second")
        parser.add_argument("--since", help="the first day of the wrong price, such as 2026-11-01 (UTC)")
        parser.add_argument("--by", help="the user name of the person who corrects it")
        parser.add_argument("--reason", help="why, as a sentence; stored with each entry")
        parser.add_argument("--apply", action="store_true", help="store the correction")
        parser.add_argument("--json", action="store_true")

    def handle(self, **options: Any) -> None:
        """Raises CommandError, and so exits with 1, when something differs or can't be corrected."""
        if options["verify"]:
            self._verify(options["json"])
        elif options["sum_again"]:
            self.stdout.write(f"The job upkeep adds up {sum_again():,} days and months anew; until then rows are read.")
        else:
            self._correct(options)

    def _verify(self, as_json: bool) -> None:
        outcome = verify()
        if as_json:
            differences = [{"job_id": one.job_id, "sentence": one.sentence} for one in outcome.differences]
            self.stdout.write(
                json.dumps({"jobs": outcome.jobs, "entries": outcome.entries, "differences": differences})
            )
        else:
            for difference in outcome.differences[:SHOWN]:
                self.stdout.write(str(difference))
        if outcome.differences:
            raise CommandError(f"The ledger differs in {len(outcome.differences):,} places.")
        if not as_json:
            self.stdout.write(f"The ledger agrees: {outcome.jobs:,} jobs, {outcome.entries:,} entries.")

    def _correct(self, options: dict[str, Any]) -> None:
        try:
            correction = Correction(
                provider=_required(options, "provider"),
                hardware=options["hardware"],
                per_second=_price(_required(options, "price")),
                since=_moment(_required(options, "since")),
                by=_person(_required(options, "by")),
                reason=_required(options, "reason"),
            )
            changes = correction.apply() if options["apply"] else correction.preview()
        except CorrectionError as error:
            raise CommandError(str(error)) from error
        total = sum((change.difference for change in changes), Decimal(0))
        for change in changes[:SHOWN]:
            self.stdout.write(f"{change.job_id}: ${change.old:f} -> ${change.new:f}")
        jobs = "1 job" if len(changes) == 1 else f"{len(changes):,} jobs"
        ending = "." if options["apply"] else "; nothing was written, --apply does it."
        self.stdout.write(f"{'Corrected' if options['apply'] else 'Would correct'} {jobs} by ${total:f} in all{ending}")


def _required(options: dict[str, Any], name: str) -> str:
    text = (options[name] or "").strip()
    if not text:
        raise CommandError(f"--correct needs --{name}.")
    return str(text)


def _price(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise CommandError(f"--price {text!r} is not a number.") from None


def _moment(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        raise CommandError(f"--since {text!r} is not a date. Write it as 2026-11-01.") from None


def _person(name: str) -> str:
    if not User.objects.filter(username=name, is_active=True).exists():
        raise CommandError(f"There is no active user {name!r}.")
    return name
