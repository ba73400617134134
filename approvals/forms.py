"""The form behind the two buttons."""

from __future__ import annotations

from typing import Any

from django import forms

from approvals.decisions import NOTES_LIMIT


class DecisionForm(forms.Form):
    """Approve or reject, and why."""

    decision = forms.ChoiceField(choices=[("approve", "approve"), ("reject", "reject")], widget=forms.HiddenInput)
    reason = forms.CharField(
        max_length=NOTES_LIMIT,
        required=False,
        label="Reason",
        help_text="The requester reads it. Needed for a rejection.",
        widget=forms.Textarea(attrs={"rows": 3, "cols": 60}),
    )

    bypass = forms.BooleanField(
        required=False,
        label="Decide past the other reviewers",
        help_text="Your approval alone is enough. Say why: it is put on record.",
    )

    def clean(self) -> dict[str, Any]:
        """A rejection says why."""
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("decision") == "reject" and not cleaned.get("reason"):
            self.add_error("reason", "Say why: the requester will read it.")
        return cleaned

    def sentences(self) -> list[str]:
        """What is wrong, for a message."""
        return [str(message) for messages in self.errors.values() for message in messages]
