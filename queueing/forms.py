"""What an admin action asks for before it acts."""

from __future__ import annotations

from django import forms

from queueing.models import MAX_PRIORITY


class ReasonForm(forms.Form):
    """Why."""

    reason = forms.CharField(
        max_length=2000,
        label="Reason",
        help_text="It goes on record with the change.",
        widget=forms.Textarea(attrs={"rows": 3, "cols": 60}),
    )


class PriorityForm(ReasonForm):
    """A new priority, and why."""

    priority = forms.IntegerField(
        min_value=0,
        max_value=MAX_PRIORITY,
        label="Priority",
        help_text=f"0 to {MAX_PRIORITY}; ten points are worth one hour of waiting.",
    )
    field_order = ("priority", "reason")
