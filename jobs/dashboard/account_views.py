"""The page of the reader's own account: keys, time zone, password."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

from cloudtrain_site.accounts.addresses import mail_state
from cloudtrain_site.accounts.api_keys import keys_of
from cloudtrain_site.accounts.preferences import time_zones
from cloudtrain_site.accounts.second_factor.demand import has_second_factor
from cloudtrain_site.accounts.sessions import sessions_of
from cloudtrain_site.accounts.sso.linking import is_connected
from cloudtrain_site.api import current_user
from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.models import Scope
from cloudtrain_site.people.export import download
from jobs.dashboard.navigation import page, page_context, part
from jobs.models import Membership
from jobs.permissions import organizations_of, teams_of

#: A key's lifetimes to choose from, in days.
LIFETIMES = ((7, "a week"), (30, "30 days"), (90, "90 days"), (365, "a year"), (3650, "ten years"))


#: The scopes that a new key has unless its owner chooses others.
TICKED = (Scope.READ, Scope.SUBMIT)


@page
def account(request: HttpRequest) -> HttpResponse:
    around = page_context(request)
    user = current_user(request)
    ways = config_in_force().sign_in
    ticked = TICKED if any(team.takes_jobs for team in teams_of(user)) else (Scope.READ,)
    context = {
        **around,
        "memberships": Membership.objects.filter(user=user).select_related("organization").order_by("organization"),
        "keys": keys_of(user),
        "lifetimes": LIFETIMES,
        "scopes": [(scope.value, scope.label, scope in ticked) for scope in Scope],
        "organizations": organizations_of(user).values_list("name", flat=True),
        "zone": around["time_zone"],
        "zones": time_zones(),
        "has_new_password": "new-password" in request.GET,
        "sessions": sessions_of(user, request.session.session_key),
        "has_ended_sessions": "ended" in request.GET,
        "has_new_address": "new-address" in request.GET,
        "mail_state": mail_state(user),
        "has_second_factor": has_second_factor(user),
        "sso": ways.sso,
        "is_connected": ways.sso is not None and is_connected(ways.sso, user),
        "has_local_passwords": ways.has_local_passwords,
    }
    return render(request, "dashboard/account.html", context)


@page
def export(request: HttpRequest) -> HttpResponseBase:
    """Download what is stored about oneself."""
    return download(current_user(request))


@part
def keys(request: HttpRequest) -> HttpResponse:
    """Render the list of keys alone."""
    return render(request, "dashboard/_account_keys.html", {"keys": keys_of(current_user(request))})
