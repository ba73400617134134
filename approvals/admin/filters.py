"""The filters of the request list. Each offers only values of rows that its user may see."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from approvals.models import ApprovalRequest, Requirement
from jobs.permissions import organizations_of

AGES = {"hour": ("less than an hour", timedelta(hours=1)), "day": ("less than a day", timedelta(days=1)),
        "week": ("less than a week", timedelta(days=7))}  # fmt: skip

#: The filter by rule offers the rules of so many of the newest requests.
NEWEST = 500


class OrganizationFilter(admin.SimpleListFilter):
    """Filters by organization. Django's own filter would name every organization."""

    title = "organization"
    parameter_name = "organization"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        """Return the organizations that have requests in this user's list."""
        rows = model_admin.get_queryset(request).order_by()
        # One EXISTS for each organization: a DISTINCT over ten thousand requests takes longer.
        found = organizations_of(request.user).filter(Exists(rows.filter(organization=OuterRef("pk")))).order_by("name")
        return [(str(pk), name) for pk, name in found.values_list("pk", "name")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApprovalRequest]) -> QuerySet[ApprovalRequest]:
        value = self.value()
        return queryset.filter(organization=int(value)) if value and value.isdecimal() else queryset


class RuleFilter(admin.SimpleListFilter):
    title = "rule"
    parameter_name = "rule"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        """Return the names of the rules behind the newest requests in this user's list: to read all takes seconds."""
        newest = list(model_admin.get_queryset(request).order_by("-pk").values_list("pk", flat=True)[:NEWEST])
        held = Requirement.objects.filter(request__in=newest).order_by()
        return [(name, name) for name in sorted(held.values_list("rule_name", flat=True).distinct())]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApprovalRequest]) -> QuerySet[ApprovalRequest]:
        named = Requirement.objects.filter(request=OuterRef("pk"), rule_name=self.value())
        return queryset.filter(Exists(named)) if self.value() else queryset


class AgeFilter(admin.SimpleListFilter):
    title = "age"
    parameter_name = "age"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [*((key, label) for key, (label, _) in AGES.items()), ("older", "a week or more")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApprovalRequest]) -> QuerySet[ApprovalRequest]:
        value = self.value()
        if value in AGES:
            return queryset.filter(requested_at__gt=timezone.now() - AGES[value][1])
        if value == "older":
            return queryset.filter(requested_at__lte=timezone.now() - AGES["week"][1])
        return queryset
