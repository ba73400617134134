"""`manage.py sync_jobs`: discovery or a refresh of active jobs, for cron."""

from __future__ import annotations

import json
import logging
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from cloudtrain_site.correlation_ids import command_correlation
from cloudtrain_site.states import Source
from jobs.models import ProviderConfig
from jobs.providers import names
from jobs.providers.base import ProviderError
from jobs.sync import refresh
from jobs.sync.discovery import DEFAULT_LIMIT, discover_at

logger = logging.getLogger("simpletuner.cloud.jobs")

#: Jobs a step of the progress bar.
STEP = 500


class Command(BaseCommand):
    """Any number of them may run at once, and be stopped at any moment: what is written is whole."""

    help = "Discover jobs at a provider, or refresh the active ones."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--provider", choices=names(), default=None, help="default: all providers")
        parser.add_argument("--limit", type=int, default=DEFAULT_LIMIT, help="how many of the newest jobs to look at")
        parser.add_argument("--active", action="store_true", help="refresh the jobs that have not ended")
        parser.add_argument("--json", action="store_true", help="print the result as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """One line on success; a reason on stderr and exit code 1 when a provider failed."""
        if options["limit"] < 1:
            raise CommandError("--limit must be at least 1.")
        with command_correlation():
            answer, line = self._refresh(options["provider"]) if options["active"] else self._discover(options)
        self.stdout.write(json.dumps(answer) if options["json"] else line)

    def _discover(self, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        try:
            outcome = discover_at(options["provider"], limit=options["limit"], source=Source.COMMAND)
        except ProviderError as error:
            raise CommandError(str(error)) from error
        answer: dict[str, Any] = {"synced": outcome.new, "updated": outcome.updated, "message": outcome.message}
        if outcome.warnings:
            answer["warnings"] = outcome.warnings
            logger.warning(outcome.unassigned)
        return answer, outcome.message

    def _refresh(self, provider: str | None) -> tuple[dict[str, Any], str]:
        jobs = refresh.active_jobs(provider)
        total = refresh.RefreshResult()
        # On a terminal alone: cron mails whatever is written.
        with tqdm(total=len(jobs), disable=None, unit="job", leave=False) as bar:
            for first in range(0, len(jobs), STEP):
                total += refresh.refresh(jobs[first : first + STEP], source=Source.COMMAND)
                bar.update(min(STEP, len(jobs) - first))
        names = {job.provider for job in jobs}
        out = ProviderConfig.objects.filter(name__in=names, outage_failures__gt=0).values_list("name", flat=True)
        # One job's failure is no failure of the command; a provider's is.
        if total.failed and (out or not total.refreshed):
            message = f"{total.failed} of {len(jobs)} active jobs could not be refreshed."
            raise CommandError(f"{message} {_who(list(out))}")
        return asdict(total), f"Synced {total.refreshed} active jobs" + (
            f", {total.failed} failed" * bool(total.failed)
        )


def _who(names: list[str]) -> str:
    return f"Not reachable: {', '.join(names)}." if names else "GET /api/cloud/jobs shows why for each."
