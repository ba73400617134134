"""The event channels that a user may read: those of the user's organizations, or of the one that their key is for."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django_eventstream.channelmanager import DefaultChannelManager

from cloudtrain_site.accounts.api_keys import organization_of_key
from cloudtrain_site.events.publish import ALL_CHANNELS, EVERYONE, person_channel
from cloudtrain_site.events.readers import open_readers
from jobs.channels import organization_channel
from jobs.permissions import is_superuser, organization_ids_of


class ChannelManager(DefaultChannelManager):  # type: ignore[misc]
    """Decides by the memberships which of django-eventstream's channels a user may read."""

    def get_channels_for_request(self, request: HttpRequest, view_kwargs: dict[str, Any]) -> set[str]:
        """Return the user's channels; `ALL_CHANNELS` alone for a superuser, none for an anonymous user."""

        user = request.user
        if not user.is_authenticated or not user.is_active:
            return set()
        if is_superuser(user):
            return {ALL_CHANNELS}
        own = {person_channel(user.pk)} if organization_of_key(user) is None else set()
        return {EVERYONE, *own, *map(organization_channel, organization_ids_of(user))}

    def can_read_channel(self, user: Any, channel: str) -> bool:
        """Whether `user` (None: anonymous) may read `channel` now; nobody asks for a stream's own but that stream."""
        if channel in open_readers:
            return True
        if user is None or not user.is_active:
            return False
        if user.is_superuser or channel in (EVERYONE, person_channel(user.pk)):
            return True
        return any(organization_channel(membership.organization_id) == channel for membership in user.memberships.all())
