"""The event channels that a user may read: those of the user's organizations, or of the one that their key is for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest
from django_eventstream.channelmanager import DefaultChannelManager

from cloudtrain_site.accounts.api_keys import organization_of_key
from cloudtrain_site.accounts.second_factor.demand import with_second_factor
from cloudtrain_site.database.prepared import Prepared, padded
from cloudtrain_site.events.publish import ALL_CHANNELS, EVERYONE, person_channel
from cloudtrain_site.events.readers import open_readers
from jobs.channels import organization_channel
from jobs.models import Membership
from jobs.permissions import is_superuser, organization_ids_of

_MEMBERSHIPS = Prepared(
    lambda *users: Membership.objects.filter(user__in=users).values_list(
        "user_id", "organization_id", "organization__second_factor_required"
    )
)


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

    def get_channels_of_users(self, users: Iterable[User]) -> dict[int, set[str]]:
        """Return by their ids what up to 25 active users may read by their sessions, in one query for all of them.

        Those who lack a second factor that an organization demands are left out.
        """
        channels = {
            user.pk: {ALL_CHANNELS} if user.is_superuser else {EVERYONE, person_channel(user.pk)} for user in users
        }
        demanded = set()
        for user_id, organization_id, is_demanded in _MEMBERSHIPS(*padded(channels)):
            if ALL_CHANNELS not in channels[user_id]:
                channels[user_id].add(organization_channel(organization_id))
            if is_demanded:
                demanded.add(user_id)
        for user_id in demanded - with_second_factor(demanded):
            del channels[user_id]
        return channels

    def can_read_channel(self, user: Any, channel: str) -> bool:
        """Whether `user` (None: anonymous) may read `channel` now; nobody asks for a stream's own but that stream."""
        if channel in open_readers:
            return True
        if user is None or not user.is_active:
            return False
        if user.is_superuser or channel in (EVERYONE, person_channel(user.pk)):
            return True
        return any(organization_channel(membership.organization_id) == channel for membership in user.memberships.all())
