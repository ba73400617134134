"""The mails about accounts. Background workers send them, and make the links: no task row holds one."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from allauth.account.forms import default_token_generator
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.account.utils import user_pk_to_url_str
from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import EmailMessage, get_connection
from django.db import transaction
from django.db.models.functions import Lower
from django.template.loader import render_to_string
from django.urls import reverse
from django_q.tasks import async_task

from cloudtrain_site.conf.public_address import full_link, public_address
from cloudtrain_site.correlation_ids import HEADER, get_correlation_id

logger = logging.getLogger("simpletuner.cloud.http")

TIMEOUT_SECONDS = 10


def enqueue(task: str, *arguments: Any) -> None:
    """Have a worker call the function of this module after the commit, so that no request waits for a mail server."""
    transaction.on_commit(partial(async_task, f"{__name__}.{task}", *arguments), robust=True)


def send_reset_links(email: str) -> int:
    """Mail a link to each account that has the address. Returns how many."""
    users = accounts_of(email)
    for user in users:
        key = default_token_generator.make_token(user)
        fields = {"uidb36": user_pk_to_url_str(user), "key": key}
        link = full_link(reverse("account_reset_password_from_key", kwargs=fields))
        minutes = settings.PASSWORD_RESET_TIMEOUT // 60
        _send("reset", user.email, user=user, link=link, minutes=minutes)
    return len(users)


def accounts_of(email: str) -> list[User]:
    """Return the active accounts with a password that the address may set anew.

    The one that confirmed it, or else those for which an admin has entered it.
    """
    active = User.objects.filter(is_active=True)
    confirmed = EmailAddress.objects.filter(email=email.lower(), verified=True)
    owner = list(active.filter(pk__in=confirmed.values("user")))
    entered = active.annotate(lower_email=Lower("email")).filter(lower_email=email.lower()).order_by("pk")
    return [user for user in owner or entered if user.has_usable_password()]


def send_confirmation(address_id: int) -> int:
    """Mail the link that confirms an address, unless it is confirmed or given up by now. Returns how many."""
    address = EmailAddress.objects.filter(pk=address_id, verified=False).select_related("user").first()
    if address is None:
        return 0
    link = full_link(reverse("account_confirm_email", args=[EmailConfirmationHMAC(address).key]))
    _send("confirm", address.email, user=address.user, link=link)
    return 1


def send_news(name: str, email: str, user_id: int, context: dict[str, Any]) -> int:
    """Mail what has changed about an account. Returns how many."""
    user = User.objects.filter(pk=user_id).first()
    if user is None:
        return 0
    _send(name, email, user=user, page=full_link(reverse("account_reset_password")), **context)
    return 1


def _send(name: str, to: str, **context: Any) -> None:
    """Send one mail. A failure is logged without the mail's text, and ends the task."""
    context = {**context, "site": public_address().partition("://")[2]}
    lines = render_to_string(f"account/mail/{name}.txt", context).strip()
    subject, _, body = lines.partition("\n")
    headers = {HEADER: get_correlation_id()}
    message = EmailMessage(
        subject, body.strip(), to=[to], headers=headers, connection=get_connection(timeout=TIMEOUT_SECONDS)
    )
    try:
        message.send()
    except Exception as error:
        logger.warning("A mail about an account could not be sent", extra={"mail": name, "error": str(error)})
        raise
    logger.info("Mail about an account sent", extra={"mail": name, "user": context["user"].get_username()})
