"""Costs over HTTP: grouped, as CSV, and the ledger's raw entries."""

from __future__ import annotations

from datetime import date
from itertools import islice
from typing import Any

from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.api import StrictSerializer, rendered, takes
from cloudtrain_site.serving.csv_streams import csv_response
from cloudtrain_site.strict_views import StrictView
from jobs.costs.spending import ENTRY_COLUMNS, GROUP_COLUMNS, GROUPS, Spending, zone_of
from jobs.permissions import organizations_of

#: More rows than anybody reads at once: those are for the CSV file.
MAX_ROWS = 10_000
CSV = {(200, "text/csv"): OpenApiTypes.STR}


class PeriodQuery(StrictSerializer):
    """The days of the organization, both included (left out: this month until today), and its name."""

    to = serializers.DateField(required=False)
    organization = serializers.CharField(max_length=100, default="", allow_blank=True)

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Add `from`, which is no name in Python."""
        return {"from": serializers.DateField(required=False), **super().get_fields()}


class CostsQuery(PeriodQuery):
    """The same, and the groups, separated by commas."""

    group = serializers.CharField(max_length=100, default="day")

    def validate_group(self, text: str) -> list[str]:
        """Return the groups once each."""
        names = list(dict.fromkeys(part.strip() for part in text.split(",")))
        unknown = [name for name in names if name not in GROUPS]
        if unknown:
            raise ValidationError(f"There is no group “{unknown[0]}”. There are: {', '.join(GROUPS)}.")
        return names


class CostRowSerializer(serializers.Serializer[Any]):
    """The sum of one combination of groups. Groups that were not requested are left out."""

    day = serializers.DateField(required=False)
    organization = serializers.CharField(required=False)
    user = serializers.CharField(required=False)
    provider = serializers.CharField(required=False)
    hardware = serializers.CharField(required=False)
    config = serializers.CharField(required=False)
    job = serializers.CharField(required=False)
    spent_usd = serializers.FloatField()
    unpriced_jobs = serializers.IntegerField(
        help_text="How many days of jobs have an unknown cost, which is not in the sum."
    )


class TotalsSerializer(serializers.Serializer[Any]):
    """What was spent in the time, and what is reserved for jobs now."""

    spent_usd = serializers.FloatField()
    held_usd = serializers.FloatField()
    committed_usd = serializers.FloatField()


class CostsSerializer(serializers.Serializer[Any]):
    rows = CostRowSerializer(many=True)
    totals = TotalsSerializer()


class Costs(StrictView):
    @extend_schema(operation_id="costs", responses=CostsSerializer)
    @takes(CostsQuery)
    def get(self, request: Request) -> Response:
        """Add up costs.

        By day, organization, user, provider, hardware, config or job.

        At most 10,000 rows. The CSV file has all rows.
        """
        spending, groups = _spending(request, self.query), self.query["group"]
        has_more = spending.has_more_rows(groups, MAX_ROWS)
        rows = [] if has_more else list(islice(spending.rows(groups), MAX_ROWS + 1))
        if has_more or len(rows) > MAX_ROWS:
            raise ValidationError({"group": f"More than {MAX_ROWS:,} rows. Use fewer groups, or the CSV."})
        return rendered(CostsSerializer, {"rows": rows, "totals": spending.totals()})


class CostsCsv(StrictView):
    @extend_schema(operation_id="costs_csv", responses=CSV)
    @takes(CostsQuery)
    def get(self, request: Request) -> StreamingHttpResponse:
        """Download costs as a CSV file.

        Its columns are named as in FOCUS; amounts are US dollars.
        """
        groups = self.query["group"]
        header = [*(GROUP_COLUMNS[name] for name in groups), "BilledCost", "BillingCurrency", "x_UnpricedJobs"]
        rows = (
            [*(row[name] for name in groups), row["spent_usd"], "USD", row["unpriced_jobs"]]
            for row in _spending(request, self.query).rows(groups)
        )
        return csv_response("costs.csv", header, rows)


class LedgerCsv(StrictView):
    @extend_schema(operation_id="ledger_csv", responses=CSV)
    @takes(PeriodQuery)
    def get(self, request: Request) -> StreamingHttpResponse:
        """Download the ledger as a CSV file.

        The entries of the chosen days, oldest first.
        """
        return csv_response("ledger.csv", ENTRY_COLUMNS, _spending(request, self.query).entries())


def _spending(request: Request, query: dict[str, Any]) -> Spending:
    """Raises ValidationError, the same for one that isn't the asker's as for one that doesn't exist."""
    organizations, organization = list(organizations_of(request.user)), None
    if query["organization"]:
        organization = next((one for one in organizations if one.name == query["organization"]), None)
        if organization is None:
            raise exceptions.ValidationError({"organization": "You aren't a member of an organization with this name."})
    zone = zone_of([organization] if organization else organizations)
    end: date = query.get("to") or timezone.now().astimezone(zone).date()
    start: date = query.get("from") or end.replace(day=1)
    if start > end:
        raise ValidationError({"from": f"It is after the last day, {end}."})
    return Spending(request.user, start, end, organization)
