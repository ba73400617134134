"""The forms of channels, and what their buttons do."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import QueryDict
from rest_framework.exceptions import ValidationError

from cloudtrain_site.extensions import notice_choices
from cloudtrain_site.names import readable_name
from cloudtrain_site.notices import channels
from cloudtrain_site.notices.channels import Made, Owner
from cloudtrain_site.notices.chat import NAMES
from cloudtrain_site.notices.models import Channel, ChannelKind


class ChannelForm(forms.Form):
    """A new channel: its kind, a name, and its address or addresses."""

    kind = forms.ChoiceField(label="Kind", widget=forms.Select(attrs={"class": "input"}))
    name = forms.CharField(
        max_length=100,
        required=False,
        label="Name",
        validators=[readable_name],
        widget=forms.TextInput(attrs={"class": "input"}),
    )
    address = forms.CharField(
        max_length=2000,
        label="Address",
        widget=forms.TextInput(attrs={"class": "input", "autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, owner: Owner, data: QueryDict | None = None) -> None:
        super().__init__(data)
        kinds = [ChannelKind.WEBHOOK, ChannelKind.CHAT]
        help_text = f"Of a webhook: where it is sent to. Of a chat: the webhook address that the chat gives. {NAMES}."
        if owner.user is None:
            kinds.append(ChannelKind.MAIL)
            help_text += " Of a mail list: the addresses, separated by commas."
        choice = self.fields["kind"]
        assert isinstance(choice, forms.ChoiceField)
        choice.choices = [(kind.value, kind.label) for kind in kinds]
        self.fields["address"].help_text = help_text

    def add_to(self, owner: Owner) -> Made | None:
        """Add the channel. None: the form says what is wrong."""
        if not self.is_valid():
            return None
        kind, text = self.cleaned_data["kind"], self.cleaned_data["address"]
        parts = text.replace(",", " ").split() if kind == ChannelKind.MAIL else [text.strip()]
        try:
            return channels.add_channel(owner, kind, name=self.cleaned_data["name"], addresses=parts)
        except ValidationError as error:
            details = error.detail.values() if isinstance(error.detail, dict) else error.detail
            self.add_error("address", [str(sentence) for sentence in details])
            return None


def act_on(owner: Owner, channel: Channel, posted: QueryDict) -> tuple[str, str]:
    """Do what the pressed button says. Returns the sentence to show, and a new secret. Raises Conflict."""
    act = posted.get("act", "")
    if act == "test":
        channels.send_test(owner, channel)
        return "Test sent. See the deliveries below.", ""
    if act == "remove":
        channels.remove_channel(owner, channel)
        return "Channel removed.", ""
    if act == "secret":
        return "Secret replaced. The old one stays valid for a day.", channels.rotate_secret(owner, channel)
    if act in ("on", "off"):
        channels.change_channel(owner, channel, on=act == "on")
        return f"Channel {act}.", ""
    channels.change_channel(owner, channel, muted=muted_in(posted))
    return "Stored.", ""


def muted_in(posted: QueryDict) -> list[str]:
    """Return the choices whose boxes are not ticked."""
    ticked = posted.getlist("choice")
    return [name for name in notice_choices() if name not in ticked]


def shown_channels(owner: Owner) -> list[dict[str, Any]]:
    """Return what the template needs of each channel but those to the browser."""
    return [
        {"row": channel, "choices": choices_of(channel.muted)}
        for channel in owner.channels().exclude(kind=ChannelKind.BROWSER)
    ]


def choices_of(muted: list[str]) -> list[tuple[str, str, bool]]:
    """Return name, label and whether it is sent, of each choice."""
    return [(name, label, name not in muted) for name, label in notice_choices().items()]
