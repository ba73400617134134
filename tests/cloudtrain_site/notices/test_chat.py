"""Messages to chats: which addresses are allowed, and what is sent."""

from __future__ import annotations

import logging
from io import StringIO
from typing import Any

import pytest
import requests
from django.contrib.auth.models import User
from rest_framework.exceptions import ValidationError

from cloudtrain_site.notices.channels import Owner, add_channel
from cloudtrain_site.notices.chat import service_of
from cloudtrain_site.notices.models import Channel, Delivery
from cloudtrain_site.notices.outbox import Audience, store
from cloudtrain_site.notices.sending import send_due
from cloudtrain_site.notices.targets import RefusedAddressError

DISCORD = "https://discord.com/api/webhooks/100000000000000001/" + "EXAMPLE-" * 9
ALLOWED = {
    "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ": "Slack",
    DISCORD: "Discord",
    "tgram://123456789:abcdefg_hijklmnop/12315544/": "Telegram",
    "https://chat.googleapis.com/v1/spaces/AAAA/messages?key=k&token=t": "Google Chat",
    "https://prod-1.westus.logic.azure.com:443/workflows/abc/triggers/manual/paths/invoke"
    "?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=xyz": "Microsoft Teams",
}


@pytest.mark.parametrize("address", ALLOWED)
def test_chats_with_hosts_of_their_own_are_allowed(address: str) -> None:
    assert service_of(address) == ALLOWED[address]


@pytest.mark.parametrize(
    "address",
    [
        *("json://127.0.0.1/x", "jsons://example.org/x", "xml://localhost", "form://localhost", "file:///etc/passwd"),
        *(
            "mailto://user:pass@example.org",
            "syslog://",
            "dbus://",
            "apprise://localhost/token",
            "https://example.org/x",
        ),
        *("mmosts://127.0.0.1/3ccdd113474722377935511fc85d3dd4", "ntfys://192.168.1.1/topic", "matrixs://u:p@10.0.0.1"),
        *("workflow://169.254.169.254:443/abc/xyz", "workflow://evil.example.org:443/abc/xyz", "slack://", ""),
        "workflow://prod-1.westus.logic.azure.com:443/abc/xyz?template=/etc/passwd",
        f"{DISCORD}?avatar_url=http://127.0.0.1",
        "http://[",
    ],
)
def test_anything_else_is_refused(address: str) -> None:
    with pytest.raises(RefusedAddressError):
        service_of(address)


def test_a_mistyped_address_is_in_no_line_of_the_log() -> None:
    root, lines = logging.getLogger(), StringIO()
    handler = logging.StreamHandler(lines)  # pytest's own listens to loggers that the root doesn't hear
    root.addHandler(handler)
    try:
        for address in ("discord://recognisable", "https://hooks.slack.com/services/recognisable", "::recognisable"):
            with pytest.raises(RefusedAddressError):
                service_of(address)
    finally:
        root.removeHandler(handler)
    assert "recognisable" not in lines.getvalue()


def test_a_chat_of_one_s_own_needs_its_host_allowed_and_https(settings: Any) -> None:
    settings.NOTICE_CHAT_HOSTS = ["chat.example.org"]
    assert service_of("mmosts://chat.example.org/3ccdd113474722377935511fc85d3dd4") == "Mattermost at chat.example.org"
    for address in (
        "mmost://chat.example.org/3ccdd113474722377935511fc85d3dd4",
        "mmosts://chat.example.org.evil.org/3c",
    ):
        with pytest.raises(RefusedAddressError):
            service_of(address)


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What apprise posts: nobody outside is called by a test."""
    calls: list[dict[str, Any]] = []

    def answer(url: str, **options: Any) -> requests.Response:
        calls.append({"url": url, **options})
        response = requests.Response()
        response.status_code = 204 if len(calls) > 1 else 500
        response._content = b""
        return response

    for name in ("post", "request"):
        monkeypatch.setattr(requests, name, lambda *args, **options: answer(str(args[-1]), **options))
    return calls


@pytest.mark.django_db
def test_a_notice_is_posted_without_redirects_and_tried_again(alice: User, posted: list[dict[str, Any]]) -> None:
    User.objects.filter(pk=alice.pk).update(email="")
    add_channel(Owner(alice), "chat", addresses=[DISCORD])
    store("tide", key="k", subject="flux completed", text="It ran for 2 h.", audience=Audience(users=[alice.pk]))
    assert send_due() == 0
    delivery = Delivery.objects.get()
    assert delivery.state == "retrying"
    assert delivery.reason.startswith("Discord refused it:")
    assert "EXAMPLE-" not in delivery.reason
    Delivery.objects.update(next_attempt_at=delivery.created_at)
    assert send_due() == 1
    assert "flux completed" in str(posted[-1]) and "It ran for 2 h." in str(posted[-1])
    assert posted[-1]["allow_redirects"] is False


@pytest.mark.django_db
def test_its_address_is_kept_encrypted_and_shown_as_the_service_alone(alice: User) -> None:
    add_channel(Owner(alice), "chat", addresses=[DISCORD])
    row = Channel.objects.values().get()
    assert ("EXAMPLE-" in str(row), row["shown"]) == (False, "Discord")


@pytest.mark.django_db
def test_a_refused_address_stores_nothing(alice: User) -> None:
    with pytest.raises(ValidationError):
        add_channel(Owner(alice), "chat", addresses=["file:///etc/passwd"])
    assert not Channel.objects.exists()
