"""Messages to chat services, by apprise: of its services, only chats, and only on hosts that are known.

apprise calls with `requests`, which resolves names by itself. So its services are allowed where their host is fixed,
or where the operator named the host in CLOUDTRAIN_NOTICE_CHAT_HOSTS; anything else would be a way into the private
network. It is imported at the first use: it takes 20 MB.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings

from cloudtrain_site.notices.outcomes import SENT, Outcome, failed, refused
from cloudtrain_site.notices.targets import RefusedAddressError
from cloudtrain_site.redaction import mask_text

if TYPE_CHECKING:
    from apprise.plugins.base import NotifyBase

#: By apprise's classes: their names here, and the ends of hosts that they may call; () for hosts of their own.
FIXED_HOSTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "NotifySlack": ("Slack", ()),
    "NotifyDiscord": ("Discord", ()),
    "NotifyTelegram": ("Telegram", ()),
    "NotifyGoogleChat": ("Google Chat", ()),
    "NotifyMSTeams": ("Microsoft Teams", ()),
    "NotifyWorkflows": ("Microsoft Teams", (".logic.azure.com", ".powerplatform.com", ".powerautomate.com")),
    "NotifyWebexTeams": ("Webex", ()),
}
#: The services that a team hosts itself.
SELF_HOSTED = {
    "NotifyMattermost": "Mattermost",
    "NotifyMatrix": "Matrix",
    "NotifyRocketChat": "Rocket.Chat",
    "NotifyNtfy": "ntfy",
}
#: Settings in an address that stay in the service. Others have apprise read files or call further addresses.
HARMLESS_SETTINGS = frozenset(
    (
        "api-version",
        "channel",
        "footer",
        "format",
        "image",
        "key",
        "mode",
        "sig",
        "sp",
        "sv",
        "thread",
        "token",
        "topic",
    )
)
_logger, _SILENCE = logging.getLogger("apprise"), logging.NullHandler()
NAMES = ", ".join(dict.fromkeys([*(name for name, _ in FIXED_HOSTS.values()), *SELF_HOSTED.values()]))


def service_of(address: str) -> str:
    """Return the name of the service that `address` leads to. Raises RefusedAddressError for one that isn't allowed."""
    _check_settings(address)
    plugin = _plugin(address)
    kind = type(plugin).__name__ if plugin is not None else ""
    if plugin is None or kind not in FIXED_HOSTS.keys() | SELF_HOSTED.keys():
        raise RefusedAddressError(f"This is not an address of a supported chat: {NAMES}.")
    if kind in SELF_HOSTED:
        return _self_hosted(plugin, SELF_HOSTED[kind])
    name, ends = FIXED_HOSTS[kind]
    if ends and not str(plugin.host).casefold().endswith(ends):
        raise RefusedAddressError(f"An address of {name} ends in {' or '.join(ends)}.")
    return name


def _check_settings(address: str) -> None:
    try:
        parts = urlsplit(address)
        names = {name.casefold() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    except ValueError:
        raise RefusedAddressError("This is not a valid address.") from None
    if unknown := sorted(names - HARMLESS_SETTINGS):
        raise RefusedAddressError(f"The setting “{unknown[0][:40]}” of this address is not allowed here.")


def _self_hosted(plugin: NotifyBase, name: str) -> str:
    host = str(plugin.host).casefold()
    if not plugin.secure:
        raise RefusedAddressError(f"{name} is only called over https: its address begins with {_scheme(plugin)}://.")
    if host not in settings.NOTICE_CHAT_HOSTS:
        raise RefusedAddressError(
            f"{host[:100]} is not known here. An operator can allow it in CLOUDTRAIN_NOTICE_CHAT_HOSTS."
        )
    return f"{name} at {host}"


def _scheme(plugin: NotifyBase) -> str:
    schemes: Any = plugin.secure_protocol
    return schemes if isinstance(schemes, str) else str(schemes[0])


def _plugin(address: str) -> NotifyBase | None:
    from apprise import Apprise, AppriseAsset

    # apprise logs addresses with their tokens. Our own sentences say what went wrong.
    _logger.addHandler(_SILENCE)
    _logger.propagate = False
    # Redirects are not followed, and nobody's pictures are in our messages.
    asset = AppriseAsset(
        app_id="cloudtrain", app_desc="cloudtrain", async_mode=False, http_redirects=False, image_url_mask=""
    )
    plugin: NotifyBase | None = Apprise.instantiate(address, asset=asset, suppress_exceptions=True)
    return plugin


class _Complaints(logging.Handler):
    """Keeps what apprise logs in this thread: it returns no reason."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.thread = threading.get_ident()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread:
            self.texts.append(record.getMessage())


def send_chat(address: str, title: str, body: str) -> Outcome:
    """Send one message. Blocks for some seconds."""
    try:
        service = service_of(address)
    except RefusedAddressError as error:
        return refused(str(error))
    plugin = _plugin(address)
    assert plugin is not None
    complaints = _Complaints()
    _logger.addHandler(complaints)
    try:
        if plugin.notify(body=body, title=title):
            return SENT
    except Exception as error:
        complaints.texts.append(type(error).__name__)
    finally:
        _logger.removeHandler(complaints)
    return failed(f"{service} refused it: {mask_text(' '.join(complaints.texts)) or 'no reason was given'}")
