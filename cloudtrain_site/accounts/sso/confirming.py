"""A second look at who it is, for people who have neither a password nor a second factor here."""

from __future__ import annotations

import time

from allauth.account import app_settings
from allauth.account.internal.flows.login import get_authentication_records
from allauth.core.exceptions import ImmediateHttpResponse
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode

from cloudtrain_site.enterprise import config_in_force

#: Of a session's record: the provider, or a proxy, has just asked the person again.
FRESH = "fresh"


def confirmed_elsewhere(request: HttpRequest) -> bool:
    """Return False: the person has just confirmed who they are where they sign in.

    Raises ImmediateHttpResponse with the way there for who has not, and PermissionDenied where there is none.
    """
    timeout = app_settings.REAUTHENTICATION_TIMEOUT
    for record in get_authentication_records(request, request.user):
        if record.get(FRESH) is True and time.time() - record["at"] < timeout:
            return False
    if config_in_force().sign_in.sso is None:
        raise PermissionDenied
    back = request.get_full_path() if request.method == "GET" else reverse("account")
    raise ImmediateHttpResponse(
        HttpResponseRedirect(f"{reverse('sso_begin')}?{urlencode({'fresh': '', 'next': back})}")
    )
