"""What an audit record says to people: the change as a sentence, and the fields with their values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from cloudtrain_site.wording.values import in_words, moment_of, moment_on_page, money

if TYPE_CHECKING:
    from cloudtrain_site.audit.models import AuditRecord

MAX_VALUE_CHARS = 200

#: A change by its code; the subject's name follows. A missing one is shown by its code.
ACTIONS: Mapping[str, str] = {
    "budget_changed": "Changed a budget",
    "budget_made": "Made a budget",
    "budget_removed": "Removed a budget",
    "config_changed": "Changed a stored config",
    "config_made": "Stored a config",
    "config_removed": "Removed a stored config",
    "email_changed": "Changed a mail address",
    "emergency_link_made": "Made an emergency link",
    "emergency_link_used": "Signed in by an emergency link",
    "group_changed": "Changed a group",
    "group_made": "Made a group",
    "group_removed": "Removed a group",
    "invitation_accepted": "Accepted an invitation",
    "invitation_made": "Invited somebody",
    "invitation_withdrawn": "Withdrew an invitation",
    "job_assigned": "Assigned a job",
    "job_fuse_set": "Set a job’s cost limit",
    "key_made": "Made an API key",
    "key_revoked": "Revoked an API key",
    "limit_changed": "Changed a limit",
    "member_added": "Added a member",
    "member_left": "Left the organization",
    "member_removed": "Removed a member",
    "notice channel added": "Added a notice channel",
    "notice channel changed": "Changed a notice channel",
    "notice channel removed": "Removed a notice channel",
    "notice channel's secret replaced": "Replaced a notice channel’s secret",
    "organization_changed": "Changed an organization",
    "organization_closed": "Closed an organization",
    "organization_deleted": "Deleted an organization",
    "organization_made": "Made an organization",
    "organization_removed": "Removed an organization",
    "organization_renamed": "Renamed an organization",
    "organization_reopened": "Reopened an organization",
    "password_changed": "Changed the password",
    "password_reset": "Reset the password",
    "password_set": "Set a password",
    "person_removed": "Removed a person",
    "provider_changed": "Changed a provider",
    "provider_config_changed": "Changed a provider’s settings",
    "provider_config_made": "Made a provider’s settings",
    "provider_config_removed": "Removed a provider’s settings",
    "results pinned": "Pinned results",
    "results released": "Released pinned results",
    "role_changed": "Changed a member’s role",
    "rule_changed": "Changed an approval rule",
    "rule_made": "Made an approval rule",
    "rule_removed": "Removed an approval rule",
    "second_factor_added": "Added a second factor",
    "second_factor_removed": "Removed a second factor",
    "service_account_made": "Made a service account",
    "service_account_removed": "Removed a service account",
    "settings_changed": "Changed the settings",
    "sso_connected": "Connected single sign-on",
    "sso_disconnected": "Disconnected single sign-on",
    "superuser_ended": "Took superuser rights away",
    "superuser_made": "Gave superuser rights",
    "tag_added": "Added a tag",
    "tag_removed": "Removed a tag",
    "tag_renamed": "Renamed a tag",
    "training_config_changed": "Changed a stored config",
    "training_config_made": "Stored a config",
    "training_config_removed": "Removed a stored config",
    "user_changed": "Changed a user",
    "user_deactivated": "Deactivated a user",
    "user_deleted": "Deleted a user",
    "user_made": "Made a user",
    "user_reactivated": "Reactivated a user",
    "user_removed": "Removed a user",
    "view_removed": "Removed a shared view",
    "view_shared": "Shared a view",
}

#: A field by its column's name, where that doesn't say enough.
FIELDS: Mapping[str, str] = {
    "amount_usd": "amount",
    "cost_exceeds": "cost above",
    "dataloader_config": "datasets",
    "email": "mail address",
    "expires_at": "expires",
    "first_job": "until a job has been submitted to a provider",
    "fuse_action": "at the cost limit",
    "fuse_grace_percent": "percent above the cost limit",
    "is_active": "active",
    "is_superuser": "superuser",
    "jobs_in_day_exceed": "jobs of a user in 24 hours above",
    "max_cost_usd": "cost limit",
    "role_at_most": "submitters up to",
}
AMOUNTS = frozenset(("amount_usd", "cost_exceeds", "max_cost_usd"))
#: Left out where they say no more than the name of what was changed.
NAMES = frozenset(("email", "name", "username"))


def action_in_words(code: str) -> str:
    return ACTIONS.get(code) or code.replace("_", " ").capitalize()


def changes(record: AuditRecord) -> Iterator[tuple[str, str, str]]:
    """Yield each field that changed with its former and its new value; "" where there was no such value.

    In the order of their names: PostgreSQL keeps no other.
    """
    before, after = record.before or {}, record.after or {}
    for name in sorted({**before, **after}):
        old, new = _shown(before, name), _shown(after, name)
        if name in NAMES and {old, new} <= {"", record.subject}:
            continue
        yield FIELDS.get(name) or name.replace("_", " "), old, new


def _shown(values: dict[str, Any], name: str) -> str:
    if name not in values:
        return ""
    value = values[name]
    if moment := moment_of(value):
        return moment_on_page(moment)
    text = money(Decimal(str(value))) if value and name in AMOUNTS else in_words(value)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}…"
