"""A person's mail address: entered by an admin or by themselves, and confirmed by who reads its mail."""

from __future__ import annotations

from dataclasses import dataclass

from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from django.contrib.auth.models import User
from django.db import IntegrityError
from django.http import HttpRequest

from cloudtrain_site.accounts import tasks
from cloudtrain_site.audit.recording import record
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.limits.brakes import address_of


@dataclass(frozen=True, slots=True)
class MailState:
    """What the account page shows: the address in use, whether it is confirmed, and one that waits to be."""

    email: str
    is_confirmed: bool
    pending: str


def mail_state(user: User) -> MailState:
    rows = dict(EmailAddress.objects.filter(user=user).order_by("pk").values_list("email", "verified"))
    current = user.email.lower()
    pending = [email for email, verified in rows.items() if not verified and email != current]
    return MailState(user.email, rows.get(current, False), pending[-1] if pending else "")


def ask_to_confirm(user: User, email: str) -> None:
    """Mail a link to the address, the user's own or a new one. A new one takes the old one's place when confirmed.

    Whether another account has confirmed it shows only to who reads its mail.
    """
    email = email.lower()
    with unit_of_work():
        unconfirmed = EmailAddress.objects.filter(user=user, verified=False)
        unconfirmed.exclude(email=email).delete()  # a link to one that was given up is of no use
        address, _ = EmailAddress.objects.get_or_create(user=user, email=email)
        tasks.enqueue("send_confirmation", address.pk)


def address_of_link(key: str) -> EmailAddress | None:
    """Return the address that a link confirms; None: it is too old, was used, or was never ours."""
    link = None if "\x00" in key else EmailConfirmationHMAC.from_key(key)
    return None if link is None else link.email_address


def confirm(request: HttpRequest, address: EmailAddress) -> bool:
    """Make it the account's address. False: another account has confirmed it, or does so at this moment."""
    user: User = address.user
    before = user.email
    try:
        with unit_of_work():
            if not get_adapter().confirm_email(request, address):
                return False
            record("email_changed", user, by=user, before={"email": before}, after={"email": address.email})
            if before and before.lower() != address.email:
                news = {"to_email": address.email, "address": address_of(request)}
                tasks.enqueue("send_news", "email_changed", before, user.pk, news)
    except IntegrityError:
        return False
    return True
