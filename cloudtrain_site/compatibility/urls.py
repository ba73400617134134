"""The site's own addresses for SimpleTuner's command line."""

from __future__ import annotations

from django.urls import path

from cloudtrain_site.compatibility import channel_views, webhook_views
from cloudtrain_site.compatibility.elsewhere import elsewhere
from cloudtrain_site.conf.places import COMMAND

BACKUPS = f"`{COMMAND} backup` makes a backup and `{COMMAND} restore` puts it back, where the site runs."
DATABASE = (
    f"`{COMMAND} doctor` checks the database and `{COMMAND} migrate` brings it up to date, where the site runs. "
    "GET /api/cloud/health says whether it answers."
)
FIRST_ACCOUNT = f"Create the first account with the link that `{COMMAND} first_link` prints on the site's machine."

PRESETS = "Mail is sent by the site's own mail server, which EMAIL_URL names: docs/notices.md has examples."
PREFERENCES = "Each channel says which kinds it doesn't receive: /notices shows and changes them."
NOTICES = "api/cloud/notifications"

urlpatterns = [
    path(f"{NOTICES}/channels", channel_views.Channels.as_view(), name="notifications-channels"),
    path(f"{NOTICES}/channels/<int:channel_id>", channel_views.OneChannel.as_view(), name="notifications-channel"),
    path(f"{NOTICES}/channels/<int:channel_id>/test", channel_views.ChannelTest.as_view(), name="notifications-test"),
    path(f"{NOTICES}/events", channel_views.Events.as_view(), name="notifications-events"),
    path(f"{NOTICES}/history", channel_views.History.as_view(), name="notifications-history"),
    path(f"{NOTICES}/status", channel_views.Status.as_view(), name="notifications-status"),
    path(f"{NOTICES}/skip", channel_views.Skip.as_view(), name="notifications-skip"),
    elsewhere(f"{NOTICES}/presets", "presets", PRESETS),
    elsewhere(f"{NOTICES}/preferences", "preferences", PREFERENCES),
    elsewhere("api/backup", "backups", BACKUPS),
    elsewhere("api/database", "database", DATABASE),
    elsewhere("api/auth/setup", "setup", FIRST_ACCOUNT),
]

#: To stand before the address at which providers deliver: these would be names of providers.
webhook_urlpatterns = [
    path("api/webhooks", webhook_views.Webhooks.as_view(), name="webhooks"),
    path("api/webhooks/<int:channel_id>", webhook_views.OneWebhook.as_view(), name="own-webhook"),
    path("api/webhooks/<int:channel_id>/test", webhook_views.WebhookTest.as_view(), name="own-webhook-test"),
    path("api/webhooks/<int:channel_id>/history", webhook_views.WebhookHistory.as_view(), name="own-webhook-history"),
    path("api/webhooks/history", webhook_views.WebhookHistory.as_view(), name="own-webhooks-history"),
    path("api/webhooks/events", webhook_views.WebhookEvents.as_view(), name="own-webhooks-events"),
]
