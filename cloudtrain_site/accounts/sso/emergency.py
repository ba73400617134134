"""A superuser's way in when the identity provider is away: a link that works once, and for a short time."""

from __future__ import annotations

from typing import Any

from allauth.account.internal.flows.login import record_authentication
from allauth.account.utils import perform_login
from django.contrib.auth.models import User
from django.core import signing
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from cloudtrain_site.accounts.sso.linking import is_active_superuser
from cloudtrain_site.audit.recording import OPERATOR, record
from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.limits import brakes

LIFETIME_SECONDS = 600
_SALT = "cloudtrain.emergency_sign_in"


def make_link(user: User) -> str:
    """Return the path that signs in `user` once, and put it on record. A sign-in ends every link made before it."""
    with transaction.atomic():
        record("emergency_link_made", user, by=OPERATOR, after={"minutes": LIFETIME_SECONDS // 60})
    return reverse("emergency_sign_in", args=[signing.dumps(_content(user), salt=_SALT, compress=True)])


def user_of(token: str) -> User | None:
    """Return the superuser whose link it is; None: it is wrong, too old or used."""
    try:
        content = signing.loads(token, salt=_SALT, max_age=LIFETIME_SECONDS)
    except signing.BadSignature:
        return None
    user = User.objects.filter(pk=content[0]).first()
    return user if user is not None and is_active_superuser(user) and _content(user) == content else None


def use_up(user: User) -> bool:
    """End all links of `user`, which hold the last sign-in. False: another request has done so first."""
    with transaction.atomic():
        unchanged = User.objects.filter(pk=user.pk, last_login=user.last_login)
        if not unchanged.update(last_login=timezone.now()):
            return False
        record("emergency_link_used", user, by=user)
    return True


def _content(user: User) -> list[Any]:
    return [user.pk, user.last_login.isoformat() if user.last_login else ""]


@never_cache
@require_http_methods(["GET", "POST"])
def emergency_sign_in(request: HttpRequest, token: str) -> HttpResponse:
    """Show who would sign in; the form does it, so that no program that follows links uses it up."""
    if config_in_force().sign_in.has_local_passwords:
        raise Http404
    attempt = brakes.begin(brakes.LINK.key(brakes.address_of(request)))
    user = user_of(token)
    if user is None or (request.method == "POST" and not use_up(user)):
        attempt.failed("An emergency link was refused", address=brakes.address_of(request))
        return render(request, "account/emergency.html", {"owner": None}, status=404)
    attempt.succeeded()
    if request.method != "POST":
        return render(request, "account/emergency.html", {"owner": user})
    record_authentication(request, user, "emergency")
    response: HttpResponse = perform_login(request, user, email_verification="none")
    return response
