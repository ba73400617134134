"""`manage.py doctor`: checks the deployment, and says what mends it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from cloudtrain_site.doctor.findings import Finding, Status, worst_of
from cloudtrain_site.doctor.runs import Examination, examine_all, examine_mail, is_hanging
from cloudtrain_site.extensions import doctor_checks

EXIT_CODES = {Status.OK: 0, Status.SKIPPED: 0, Status.WARN: 1, Status.BAD: 2}


class Command(BaseCommand):
    """A line for each check, with what mends it, or JSON. Exit code: 0, 1 (warnings) or 2 (faults)."""

    help = "Check the deployment and print a fix for each problem. Changes nothing."
    #: It says itself what they find.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument("--only", action="append", metavar="NAME", help="run only this check; repeatable")
        parser.add_argument("--send-to", metavar="ADDRESS", help="send a test mail there, after the checks")

    def handle(self, *args: Any, json: bool, only: list[str] | None, send_to: str | None, **options: Any) -> None:
        """Exits with 1 or 2 when something was found."""
        found = _examined(_chosen(only), send_to)
        examined = list(self._print_json(found) if json else self._print_lines(found))
        code = EXIT_CODES[worst_of(one.status for one in examined)]
        if is_hanging() and getattr(self, "_called_from_command_line", False):
            # The interpreter would wait for some of its threads. Who called it from Python goes on.
            self.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        if code:
            sys.exit(code)

    def _print_lines(self, found: Iterable[Examination]) -> Iterator[Examination]:
        for one in found:
            self.stdout.write("\n".join(_lines(one)))
            self.stdout.flush()
            yield one

    def _print_json(self, found: Iterable[Examination]) -> Sequence[Examination]:
        examined = list(found)
        status = worst_of(one.status for one in examined)
        self.stdout.write(json.dumps({"status": status, "checks": [asdict(one) for one in examined]}, indent=2))
        return examined


def _examined(names: Iterable[str], send_to: str | None) -> Iterator[Examination]:
    yield from examine_all(names)
    if send_to:
        yield examine_mail(send_to)


def _chosen(only: list[str] | None) -> Sequence[str]:
    for name in only or ():
        if name not in doctor_checks:
            raise CommandError(f"There is no check {name!r}. There are: {', '.join(doctor_checks)}.", returncode=2)
    return only or list(doctor_checks)


def _lines(one: Examination) -> Iterator[str]:
    plain = [finding.message for finding in one.findings if finding.status in (Status.OK, Status.SKIPPED)]
    if one.status in (Status.OK, Status.SKIPPED):
        yield " ".join([f"{one.status:<8} {one.name}: {one.question}", *plain])
        return
    yield f"{one.status:<8} {one.name}: {one.question}"
    for finding in one.findings:
        if finding.status in (Status.WARN, Status.BAD):
            yield from _problem(finding)
    yield f"         More: {one.more}"


def _problem(finding: Finding) -> Iterator[str]:
    yield f"         {finding.message}"
    yield f"         Fix: {finding.remedy}"
