"""The limits in an organization's settings: its own, and those of the site that cap it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpResponse

from cloudtrain_site.audit.origin import current_source
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.states import Actor
from jobs.dashboard.form_pages import stamp_of
from jobs.dashboard.settings.frame import SettingsPage, settings_page
from jobs.models import Organization
from jobs.permissions import is_superuser
from jobs.providers import label_of, names
from queueing import operations
from queueing.limits import current_limits, queue_state
from queueing.models import QueueEntry
from queueing.operations import ChangedBy, LimitError

LARGEST = 2**31 - 1


class OwnLimitForm(forms.Form):
    max_running = forms.IntegerField(
        min_value=0,
        max_value=LARGEST,
        required=False,
        label="Jobs of the organization that run at once",
        widget=forms.NumberInput(attrs={"class": "input figure", "inputmode": "numeric"}),
    )
    reason = forms.CharField(
        max_length=2000,
        required=False,
        label="Reason",
        help_text="Optional. Recorded with the change.",
        widget=forms.TextInput(attrs={"class": "input"}),
    )


@settings_page("settings-limits")
def limits(page: SettingsPage) -> HttpResponse:
    """Show the limits, and set the organization's own one."""
    form = OwnLimitForm(page.request.POST if page.is_post else None, initial={"max_running": _own(page.organization)})
    if page.is_post and form.is_valid():
        try:
            is_changed = _set_own(page, form.cleaned_data)
        except LimitError as error:
            form.add_error("max_running", str(error))
        else:
            return page.done("Limit saved. It applies from now on." if is_changed else "No changes.")
    return page.render("queueing/settings_limits.html", _context(page, form), status=400 if page.is_post else 200)


def _own(organization: Organization) -> int | None:
    return organization.max_running


def _set_own(page: SettingsPage, values: dict[str, Any]) -> bool:
    """Set the limit. Raises StaleError when another one was set meanwhile, and LimitError."""
    by = ChangedBy(Actor.of(page.user), current_source(), values["reason"])
    with unit_of_work():
        current = Organization.objects.select_for_update(no_key=True).get(pk=page.organization.pk)
        page.check_stamp(current.max_running)
        may_exceed = is_superuser(page.user)
        return bool(operations.set_organization(current, values["max_running"], by, may_exceed=may_exceed))


def _context(page: SettingsPage, form: OwnLimitForm) -> dict[str, Any]:
    state = queue_state()
    limits = current_limits(state, [page.organization])
    form.fields["max_running"].help_text = f"Leave empty for the general limit of {limits.per_organization}. " + (
        "You can set a higher limit." if is_superuser(page.user) else "Only superusers can set a higher limit."
    )
    return {
        "form": form,
        "stamp": stamp_of(page.organization.max_running),
        "running": QueueEntry.objects.taking_slots().filter(organization=page.organization).count(),
        "limits": limits,
        "providers": [
            {"label": label_of(name), "limit": limits.providers.get(name), "note": _note(limits, name)}
            for name in names()
        ],
        "runs_site": is_superuser(page.user),
    }


def _note(limits: Any, provider: str) -> str:
    if provider in limits.switched_off:
        return "switched off"
    return "drained: no new jobs start there" if provider in limits.drained else ""
