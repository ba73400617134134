"""The forms in which rules are written, in the admin and in an organization's settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django import forms
from django.contrib.auth.models import Group
from django.db.models import Q, QuerySet

from approvals.models import ApprovalRule
from approvals.rules.editing import check_group, groups_of
from cloudtrain_site.wording.values import CENT
from jobs.models import Organization
from jobs.permissions import AnyUser, organizations_of
from jobs.providers import label_of, names
from jobs.roles import Role
from jobs.statuses import FuseAction


class RuleForm(forms.ModelForm[ApprovalRule]):
    exempt_roles = forms.MultipleChoiceField(
        choices=Role.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="The rule doesn't hold jobs of submitters with these roles. Other rules may.",
    )

    #: Who fills the form in.
    author: AnyUser

    class Meta:
        model = ApprovalRule
        fields = "__all__"  # noqa: DJ007 - every column of a rule is its author's to set
        labels: ClassVar = {"cost_exceeds": "Estimated cost above, in US dollars"}
        help_texts: ClassVar = {
            "organization": "Whose jobs the rule holds.",
            "fuse_action": "What happens when a job reaches its cost limit. Of several rules the strictest counts.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._name_empty("role_at_most", "Any role", Role.choices)
        self._name_empty("fuse_action", "As submitted, or by default", FuseAction.choices)
        self.fields["provider"] = _provider_choice(self.fields["provider"], self.instance.provider)
        self.fields["reviewer_group"].empty_label = "No group"  # type: ignore[attr-defined]
        if "organization" in self.fields and not self.fields["organization"].required:  # a superuser's form
            self.fields["organization"].empty_label = "Every organization"  # type: ignore[attr-defined]
        for name in ("cost_exceeds", "max_cost_usd"):
            amount = self.initial.get(name)
            if amount and amount == (in_cents := amount.quantize(CENT)):
                self.initial[name] = in_cents

    def _name_empty(self, field: str, empty: str, choices: Iterable[tuple[str, str]]) -> None:
        self.fields[field].choices = [("", empty), *choices]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Refuse a group that is not the organization's. The rule's present one stays, whoever has joined it since."""
        cleaned = super().clean() or self.cleaned_data
        organization = cleaned.get("organization", self.instance.organization)
        check_group(self.author, self.instance, cleaned.get("reviewer_group"), organization)
        return cleaned


def _provider_choice(field: forms.Field, now: str) -> forms.ChoiceField:
    """Return the choice in place of a text field: a rule for a name that no provider has would hold nothing."""
    offered = {name: label_of(name) for name in (*names(), *filter(None, [now]))}
    choices = [("", "Any provider"), *offered.items()]
    return forms.ChoiceField(choices=choices, required=False, label=field.label, help_text=field.help_text)


def groups_offered(user: AnyUser, rule: ApprovalRule | None) -> QuerySet[Group]:
    """Return the groups of the organizations whose admin the user is, and the one that the rule has now."""
    offered = Q(pk=rule.reviewer_group_id if rule else None)
    for organization in organizations_of(user, (Role.ADMIN,)):
        offered |= Q(pk__in=groups_of(user, organization).values("pk"))
    return Group.objects.filter(offered)


class OrganizationRuleForm(RuleForm):
    """The form of a rule whose organization is settled."""

    class Meta(RuleForm.Meta):
        exclude = ("organization",)  # noqa: DJ006 - every other column is its author's to set

    def __init__(self, *args: Any, author: AnyUser, organization: Organization, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.author = author
        self.instance.organization = organization
        now = Q(pk=self.instance.reviewer_group_id)
        groups = Group.objects.filter(now | Q(pk__in=groups_of(author, organization).values("pk")))
        self.fields["reviewer_group"].queryset = groups  # type: ignore[attr-defined]
        for field in self.fields.values():
            if not isinstance(field.widget, forms.CheckboxInput | forms.CheckboxSelectMultiple):
                field.widget.attrs["class"] = "input"
