"""The forms of budgets."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from django import forms
from django.db.models import QuerySet

from cloudtrain_site.accounts.preferences import time_zones
from jobs.models import Organization
from queueing.budgets import editing
from queueing.models import LARGEST_BUDGET, Action, Budget, Period

ACTIONS = {
    Action.HOLD: "Hold: no new job starts, running jobs continue",
    Action.FINISH: "Finish: no new job starts, submitters of running jobs are warned",
    Action.CANCEL: "Cancel: no new job starts, running jobs are cancelled",
}


class ThresholdsField(forms.CharField):
    """Percents, separated by commas or blanks."""

    def to_python(self, value: Any) -> list[int]:  # type: ignore[override]
        """Return the percents once each, the lowest first."""
        parts = [part for part in re.split(r"[\s,;%]+", super().to_python(value) or "") if part]
        percents = [int(part) for part in parts if part.isascii() and part.isdigit() and len(part) <= 4]
        if len(percents) < len(parts) or not all(1 <= percent <= editing.MAX_PERCENT for percent in percents):
            raise forms.ValidationError(f"Enter whole percents from 1 to {editing.MAX_PERCENT}, such as 50, 80, 100.")
        if len(percents) > editing.MAX_THRESHOLDS:
            raise forms.ValidationError(f"Enter at most {editing.MAX_THRESHOLDS} percents.")
        return editing.checked_thresholds(percents)

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list) else value


class ChangeForm(forms.Form):
    """What can be changed of a budget. `version` is the one that the page showed."""

    amount = forms.DecimalField(
        max_digits=11,
        decimal_places=2,
        min_value=Decimal(0),
        max_value=LARGEST_BUDGET,
        label="Amount, in US dollars",
        widget=forms.TextInput(attrs={"class": "input figure", "inputmode": "decimal", "autocomplete": "off"}),
    )
    action = forms.ChoiceField(
        choices=list(ACTIONS.items()),
        label="When spent",
        help_text="No new job starts once the budget is spent or reserved for running jobs.",
        widget=forms.RadioSelect,
        initial=Action.HOLD,
    )
    thresholds = ThresholdsField(
        max_length=100,
        required=False,
        label="Thresholds, in percent",
        help_text="Each sends one notice a period: from 80 % on to admins by mail, and to members on their pages.",
        widget=forms.TextInput(attrs={"class": "input"}),
        initial=[50, 80, 100],
    )
    site_zone = forms.ChoiceField(
        choices=lambda: [(name, name) for name in time_zones()],
        label="Time zone",
        help_text="Days and months begin in this time zone.",
        widget=forms.Select(attrs={"class": "input"}),
        initial="UTC",
    )
    version = forms.IntegerField(min_value=0, max_value=2**31 - 1, required=False, widget=forms.HiddenInput)
    confirm = forms.DecimalField(required=False, widget=forms.HiddenInput)

    def __init__(self, data: Any, budget: Budget) -> None:
        values = {name: getattr(budget, name) for name in ("amount", "action", "thresholds", "version")}
        super().__init__(data, initial={**values, "site_zone": budget.time_zone})
        if budget.organization is not None:
            del self.fields["site_zone"]

    def values(self) -> dict[str, Any]:
        """Return the columns to change."""
        return {name: self.cleaned_data[name] for name in editing.CHANGEABLE if name in self.cleaned_data}


class NewForm(ChangeForm):
    """A new budget of the site, an organization, or one person in it."""

    organization = forms.ModelChoiceField(
        queryset=Organization.objects.none(),
        to_field_name="name",
        label="Of",
        widget=forms.Select(attrs={"class": "input"}),
    )
    person = forms.CharField(
        max_length=150,
        required=False,
        label="Person",
        help_text="A member’s user name limits only their jobs. Leave empty for all jobs.",
        widget=forms.TextInput(attrs={"class": "input", "autocomplete": "off", "spellcheck": "false"}),
    )
    period = forms.ChoiceField(
        choices=[(Period.MONTH, "Month"), (Period.DAY, "Day"), (Period.LIFETIME, "Once, with no end")],
        label="Period",
        widget=forms.Select(attrs={"class": "input"}),
        initial=Period.MONTH,
    )
    field_order = ("organization", "person", "amount", "period", "site_zone", "action", "thresholds")

    def __init__(self, data: Any, organizations: QuerySet[Organization], chosen: str, *, may_set_sites: bool) -> None:
        super().__init__(data, Budget())
        self.initial = {"organization": chosen}
        field: Any = self.fields["organization"]
        field.queryset = organizations
        field.empty_label = "The whole site" if may_set_sites else None
        field.required = not may_set_sites
        if not may_set_sites:
            del self.fields["site_zone"]
        else:
            self.fields["site_zone"].help_text = "Only for the site’s budget. Organizations have their own time zone."

    def clean(self) -> dict[str, Any]:
        """Find the person among the members."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        organization, name = cleaned.get("organization"), cleaned.get("person", "")
        if "organization" not in cleaned:
            return cleaned
        cleaned["person"] = None
        if name and organization is None:
            self.add_error("person", "Choose an organization for a person’s budget.")
        elif name and organization is not None:
            cleaned["person"] = editing.find_member(organization, name)
            if cleaned["person"] is None:
                self.add_error("person", f"{organization} has no member “{name}”.")
        return cleaned

    def terms(self) -> editing.Terms:
        """Return what the new budget says."""
        data = self.cleaned_data
        zone = "" if data["organization"] else data.get("site_zone", "")
        return editing.Terms(data["amount"], data["period"], data["thresholds"], data["action"], zone)
