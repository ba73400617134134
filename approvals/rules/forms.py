"""The forms in which rules are written, in the admin and in an organization's settings."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib.auth.models import Group
from django.db.models import Q, QuerySet

from approvals.models import ApprovalRule
from approvals.rules.editing import check_group, groups_of
from cloudtrain_site.wording.values import CENT
from jobs.models import Organization
from jobs.permissions import AnyUser, organizations_of
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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["role_at_most"].choices = [("", "Any role"), *Role.choices]  # type: ignore[attr-defined]
        self.fields["fuse_action"].choices = [("", "Use the default"), *FuseAction.choices]  # type: ignore[attr-defined]
        self.fields["reviewer_group"].empty_label = "No group"  # type: ignore[attr-defined]
        for name in ("cost_exceeds", "max_cost_usd"):
            amount = self.initial.get(name)
            if amount and amount == (in_cents := amount.quantize(CENT)):
                self.initial[name] = in_cents

    def clean(self) -> dict[str, Any]:
        """Refuse a group that is not the organization's. The rule's present one stays, whoever has joined it since."""
        cleaned = super().clean() or self.cleaned_data
        organization = cleaned.get("organization", self.instance.organization)
        check_group(self.author, self.instance, cleaned.get("reviewer_group"), organization)
        return cleaned


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
