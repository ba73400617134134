"""Shapes of organizations, members, invitations and audit records over HTTP."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from cloudtrain_site.api import StrictSerializer, SuccessField, UtcField
from cloudtrain_site.audit.models import AuditRecord, AuditSource
from cloudtrain_site.audit.queries import MAX_PAGE_SIZE, PAGE_SIZE
from jobs.models import Invitation, Membership, Organization
from jobs.organizations.endings import RunningJobs
from jobs.organizations.invitations import DEFAULT_DAYS, MAX_DAYS
from jobs.organizations.members import JobsOfMember
from jobs.roles import Role

MAX_LIMIT = 2**31 - 1


class OrganizationSerializer(serializers.Serializer[Organization]):
    """An organization, and your role in it."""

    name = serializers.CharField()
    role = serializers.ChoiceField(choices=Role.choices)
    created_at = UtcField()
    closed_at = UtcField(allow_null=True, help_text="When it was closed; null: it is open.")
    time_zone = serializers.CharField()
    default_provider = serializers.CharField(help_text="The provider of jobs that name none. Empty: local.")
    default_hardware = serializers.CharField(help_text="The hardware profile of jobs at that provider that name none.")
    second_factor_required = serializers.BooleanField()
    max_running = serializers.IntegerField(
        allow_null=True, help_text="How many of its jobs can run at once. Null: the general limit."
    )


class OrganizationListSerializer(serializers.Serializer[Any]):
    """Your organizations by name; for superusers, all of them."""

    organizations = OrganizationSerializer(many=True)


class OrganizationDetailSerializer(serializers.Serializer[Any]):
    organization = OrganizationSerializer()


class NewOrganizationBody(StrictSerializer):
    name = serializers.CharField(max_length=100)


class OrganizationBody(StrictSerializer):
    """The settings to change; a missing field stays unchanged. A superuser may change the name too."""

    name = serializers.CharField(max_length=100, required=False)
    time_zone = serializers.CharField(max_length=60, required=False)
    default_provider = serializers.CharField(max_length=40, required=False, allow_blank=True)
    default_hardware = serializers.CharField(max_length=40, required=False, allow_blank=True)
    second_factor_required = serializers.BooleanField(required=False)
    max_running = serializers.IntegerField(min_value=0, max_value=MAX_LIMIT, required=False, allow_null=True)


class CloseBody(StrictSerializer):
    """What happens to its running jobs. Its waiting jobs are cancelled."""

    running = serializers.ChoiceField(choices=RunningJobs.choices, default=RunningJobs.FINISH)


class ClosedSerializer(OrganizationDetailSerializer):
    cancelled = serializers.IntegerField(help_text="How many jobs were cancelled.")


class DeletionSerializer(serializers.Serializer[Any]):
    """What deleting an organization would remove, by kind."""

    takes = serializers.DictField(child=serializers.IntegerField())
    kept_by = serializers.DictField(
        child=serializers.IntegerField(), help_text="What prevents its deletion, counted by kind."
    )
    objection = serializers.CharField(help_text="Why it can't be deleted now; empty if it can.")


class MemberSerializer(serializers.Serializer[Membership]):
    """A member. Mail address, last use and second factor are for the organization's admins: others get "" and null."""

    user = serializers.CharField(source="user.username")
    email = serializers.SerializerMethodField()
    role = serializers.ChoiceField(choices=Role.choices)
    since = UtcField(source="joined_at", allow_null=True, help_text="Null: they joined before this was recorded.")
    last_seen = serializers.SerializerMethodField()
    second_factor = serializers.SerializerMethodField(
        help_text="Whether they have set up a second factor on this site."
    )

    def get_email(self, membership: Membership) -> str:
        return membership.user.email if self.context.get("administers") else ""

    def get_last_seen(self, membership: Membership) -> str | None:
        seen = getattr(membership, "last_seen", None) if self.context.get("administers") else None
        return UtcField().to_representation(seen) if seen else None

    def get_second_factor(self, membership: Membership) -> bool | None:
        return membership.has_second_factor if self.context.get("administers") else None  # type: ignore[attr-defined]


class MemberListSerializer(serializers.Serializer[Any]):
    """The members by name."""

    members = MemberSerializer(many=True)


class MemberDetailSerializer(serializers.Serializer[Any]):
    member = MemberSerializer()


class NewMemberBody(StrictSerializer):
    user = serializers.CharField(max_length=150)
    role = serializers.ChoiceField(choices=Role.choices)


class RoleBody(StrictSerializer):
    role = serializers.ChoiceField(choices=Role.choices)


class LeavingQuery(StrictSerializer):
    """What happens to the member's jobs that have not ended."""

    jobs = serializers.ChoiceField(choices=JobsOfMember.choices, default=JobsOfMember.STAY)


class LeftSerializer(serializers.Serializer[Any]):
    success = SuccessField()
    user = serializers.CharField()
    cancelled = serializers.IntegerField(help_text="How many of the member's jobs were cancelled.")


class InvitationSerializer(serializers.Serializer[Invitation]):
    """An open invitation, without its link."""

    id = serializers.IntegerField()
    email = serializers.CharField(help_text="Only this address can accept it. Empty: anybody with the link.")
    role = serializers.ChoiceField(choices=Role.choices)
    invited_by = serializers.CharField(source="invited_by.username", default=None, allow_null=True)
    created_at = UtcField()
    expires_at = UtcField()


class InvitationListSerializer(serializers.Serializer[Any]):
    """The open invitations, newest first."""

    invitations = InvitationSerializer(many=True)


class NewInvitationSerializer(serializers.Serializer[Any]):
    """A new invitation. No other response shows its link."""

    invitation = InvitationSerializer()
    link = serializers.CharField()
    mailed = serializers.BooleanField(help_text="Whether the link was sent to the mail address.")


class InvitationBody(StrictSerializer):
    email = serializers.EmailField(max_length=254, default="", allow_blank=True)
    role = serializers.ChoiceField(choices=Role.choices)
    expires_in_days = serializers.IntegerField(min_value=1, max_value=MAX_DAYS, default=DEFAULT_DAYS)


class WithdrawnSerializer(serializers.Serializer[Any]):
    success = SuccessField()
    id = serializers.IntegerField()


class AuditQuery(StrictSerializer):
    """Which records, and which page of them."""

    cursor = serializers.IntegerField(min_value=1, max_value=2**63 - 1, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE_SIZE, default=PAGE_SIZE)
    actor = serializers.CharField(max_length=150, default="")
    action = serializers.CharField(max_length=60, default="")
    subject_kind = serializers.CharField(max_length=40, default="")
    subject_id = serializers.CharField(max_length=100, default="")
    source = serializers.ChoiceField(choices=AuditSource.choices, default="")  # type: ignore[assignment]
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)


class AuditRecordSerializer(serializers.Serializer[AuditRecord]):
    """One change: who, what, before and after, from where."""

    id = serializers.IntegerField()
    at = UtcField()
    actor = serializers.CharField()
    action = serializers.CharField()
    subject_kind = serializers.CharField()
    subject_id = serializers.CharField()
    subject = serializers.CharField()
    before = serializers.DictField(allow_null=True)
    after = serializers.DictField(allow_null=True)
    source = serializers.ChoiceField(choices=AuditSource.choices)  # type: ignore[assignment]
    address = serializers.CharField()
    correlation_id = serializers.CharField()


class AuditListSerializer(serializers.Serializer[Any]):
    """A page of records, newest first."""

    records = AuditRecordSerializer(many=True)
    next_cursor = serializers.IntegerField(allow_null=True)
