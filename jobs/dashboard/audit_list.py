"""The audit record as a list with filters: of one organization, or of the whole site."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.db.models import QuerySet
from django.http import QueryDict
from django.http.response import HttpResponseBase
from django.utils.http import urlencode

from cloudtrain_site.audit.export import export
from cloudtrain_site.audit.models import AuditRecord, AuditSource
from cloudtrain_site.audit.queries import AuditFilter, actions_in, page_of
from cloudtrain_site.audit.words import action_in_words, changes

SOURCES = {**dict(AuditSource.choices), AuditSource.PAGE: "pages"}
_DATE = forms.DateInput(attrs={"type": "date", "class": "input"})


class AuditForm(forms.Form):
    """The filters. All are optional."""

    actor = forms.CharField(
        max_length=150, required=False, label="Changed by", widget=forms.TextInput(attrs={"class": "input"})
    )
    action = forms.ChoiceField(required=False, label="Change", widget=forms.Select(attrs={"class": "input"}))
    source = forms.ChoiceField(
        choices=[("", "any"), *SOURCES.items()],
        required=False,
        label="Source",
        widget=forms.Select(attrs={"class": "input"}),
    )
    since = forms.DateField(required=False, label="From", widget=_DATE)
    until = forms.DateField(required=False, label="To", widget=_DATE)
    cursor = forms.IntegerField(min_value=1, max_value=2**63 - 1, required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, actions: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [("", "any"), *((name, action_in_words(name)) for name in actions)]
        self.fields["action"].choices = choices  # type: ignore[attr-defined]


class AuditList:
    """What the query asks for. `zone` is the time zone of its dates."""

    def __init__(self, query: QueryDict, organization_id: int | None = None, zone: str = "UTC") -> None:
        self._scope = AuditFilter(organization_id=organization_id)
        self._zone = ZoneInfo(zone)
        self.form = AuditForm(query, actions=actions_in(self._scope.apply()))
        self.is_valid = self.form.is_valid()
        self._query = query

    def export(self, filename: str) -> HttpResponseBase:
        """Return all records that the filters let through as a CSV file."""
        return export(self._records(), filename)

    def context(self) -> dict[str, Any]:
        """Return the context of `dashboard/_audit.html`."""
        page = page_of(self._records(), cursor=self.form.cleaned_data.get("cursor")) if self.is_valid else None
        return {
            "form": self.form,
            "zone": str(self._zone),
            "records": [item_of(record) for record in page.records] if page else [],
            "older": self._address(cursor=page.next_cursor) if page and page.next_cursor else "",
            "newest": self._address(cursor=None) if self._query.get("cursor") else "",
            "filters": self._address(cursor=None),
            "is_filtered": any(self._query.get(name) for name in ("actor", "action", "source", "since", "until")),
        }

    def _records(self) -> QuerySet[AuditRecord]:
        values = self.form.cleaned_data if self.is_valid else {}
        until: date | None = values.get("until")
        return AuditFilter(
            actor=values.get("actor", ""),
            action=values.get("action", ""),
            source=values.get("source", ""),
            since=self._start_of(values.get("since")),
            until=self._start_of(until + timedelta(days=1) if until and until < date.max else None),
        ).apply(self._scope.apply())

    def _start_of(self, day: date | None) -> datetime | None:
        # The first and the last day of the calendar have no moment in UTC that Python can name.
        if day is None or not date.min < day < date.max:
            return None
        return datetime.combine(day, time(), self._zone).astimezone(UTC)

    def _address(self, *, cursor: int | None) -> str:
        values = {**self._query.dict(), "cursor": str(cursor or "")}
        return f"?{urlencode({name: str(values[name]) for name in self.form.fields if values.get(name)})}"


def item_of(record: AuditRecord) -> dict[str, Any]:
    return {
        "record": record,
        "action": action_in_words(record.action),
        "source": SOURCES.get(record.source, record.source),
        "changes": list(changes(record)),
    }
