"""An organization's own settings, which its admins change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError

from cloudtrain_site.audit.recording import differences, record
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.events.publish import rights_changed
from jobs.models import Organization
from jobs.organizations.authority import By, actor_of, check_administers, lock_organization
from jobs.providers import UnknownProviderError, get_provider, names

SETTINGS = ("default_provider", "default_hardware", "time_zone", "second_factor_required")
#: Where a job goes that names no provider, nor does its organization.
FALLBACK_PROVIDER = "local"


def change_organization(organization: Organization, values: Mapping[str, Any], *, by: By) -> bool:
    """Store some of SETTINGS. False: nothing differs.

    Raises PermissionDenied for who is no admin of the organization, and ValidationError, by field, for a value that
    can't be.
    """
    with unit_of_work():
        locked = lock_organization(organization)
        check_administers(by, locked)
        former = {name: getattr(locked, name) for name in SETTINGS}
        for name in SETTINGS:
            setattr(locked, name, values.get(name, former[name]))
        locked.clean_fields(exclude={field.name for field in Organization._meta.fields} - set(SETTINGS))
        _check_defaults(locked)
        before, after = differences(former, {name: getattr(locked, name) for name in SETTINGS})
        if not after:
            return False
        locked.save(update_fields=[*after])
        record("settings_changed", locked, by=actor_of(by), organization=locked, before=before, after=after)
        if after.get("second_factor_required"):
            _end_streams_of_members(locked)
    for name, value in after.items():
        setattr(organization, name, value)
    return True


def _end_streams_of_members(organization: Organization) -> None:
    """Have the members' streams reopened: those of who lacks the second factor are refused by now."""
    for user_id in organization.memberships.order_by("user").values_list("user", flat=True):
        rights_changed(user_id)


def provider_for(organization: Organization, requested: str) -> str:
    """Return the provider of a job that asks for `requested`; "": the organization's default.

    Raises ValidationError when the default is a provider that there is no more.
    """
    provider = requested or organization.default_provider or FALLBACK_PROVIDER
    if provider not in names():
        raise ValidationError({"provider": str(UnknownProviderError(provider))})
    return provider


def hardware_for(organization: Organization, provider: str, requested: str) -> str:
    """Return the hardware of a job at `provider`; "": the provider's default."""
    is_default = provider == (organization.default_provider or FALLBACK_PROVIDER)
    return requested or (organization.default_hardware if is_default else "")


def _check_defaults(organization: Organization) -> None:
    if organization.default_provider and organization.default_provider not in names():
        sentence = f"There is no provider “{organization.default_provider}”. There are: {', '.join(names())}."
        raise ValidationError({"default_provider": sentence})
    provider = organization.default_provider or FALLBACK_PROVIDER
    profiles = get_provider(provider).hardware()
    if organization.default_hardware and organization.default_hardware not in profiles:
        sentence = f"{provider} has no “{organization.default_hardware}”. It has: {', '.join(profiles)}."
        raise ValidationError({"default_hardware": sentence})
