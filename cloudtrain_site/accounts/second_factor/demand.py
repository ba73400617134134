"""Who must have a second factor, and what is refused to them until they do."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from django.db import DatabaseError
from django.db.models import OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin
from django.utils.http import urlencode
from rest_framework.exceptions import PermissionDenied

from cloudtrain_site.accounts.second_factor.stages import is_vouched_for
from cloudtrain_site.conf.sign_in import EVERYBODY, SUPERUSERS
from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.errors import error_body
from cloudtrain_site.extensions import programs, second_factor_demands

CODE = "second_factor_required"
#: Whose own second factor counts; recovery codes alone are none.
FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
#: What somebody may do who still has to set up a second factor.
_ALLOWED = frozenset(
    {
        *("mfa_index", "mfa_activate_totp", "mfa_add_webauthn", "mfa_view_recovery_codes"),
        *("mfa_reauthenticate", "mfa_reauthenticate_webauthn"),
        *("account_reauthenticate", "account_logout", "sso_begin", "sso_callback"),
        *("health-live", "health-ready", "session"),
    }
)


def demanded_by(user: User) -> list[str]:
    """Return who demands a second factor of `user`, as a page names them; empty: nobody."""
    required_of = config_in_force().sign_in.second_factor_required_of
    is_of_site = required_of == EVERYBODY or (required_of == SUPERUSERS and user.is_superuser)
    names = [name for demand in second_factor_demands.values() for name in demand(user)]
    demands = ["this site", *names] if is_of_site else names
    return [] if demands and any(is_program(user) for is_program in programs.values()) else demands


def second_factors_of(user: User | OuterRef) -> QuerySet[Authenticator]:
    found: QuerySet[Authenticator] = Authenticator.objects.filter(user=user, type__in=FACTORS)
    return found


def with_second_factor(user_ids: Collection[int]) -> set[int]:
    """Return those of the users who have a second factor."""
    rows = Authenticator.objects.filter(user__in=user_ids, type__in=FACTORS).values_list("user_id", flat=True)
    return set(rows) if user_ids else set()


def has_second_factor(user: User) -> bool:
    return second_factors_of(user).exists()


def lacks_demanded_factor(request: HttpRequest, user: User) -> bool:
    """Whether the session's person must set up a second factor before anything else."""
    return bool(demanded_by(user)) and not is_vouched_for(request, user) and not has_second_factor(user)


def check_key_owner(user: User) -> None:
    """Raise PermissionDenied for the API key of somebody who lacks a second factor that is demanded.

    A key is no second factor. Who has one at the identity provider, as of the last sign-in there, lacks none.
    """
    if not (demands := demanded_by(user)) or has_second_factor(user):
        return
    if not SocialAccount.objects.filter(user=user, extra_data__second_factor=True).exists():
        raise PermissionDenied(
            f"A second factor is required by {', '.join(demands)}. The key's owner has to set one up on the "
            "account page first.",
            code=CODE,
        )


class SecondFactorDemanded(MiddlewareMixin):
    """Leads who lacks a demanded second factor to the page that sets it up, wherever they go."""

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        """Return the answer in the view's place; None: the view answers."""
        match = request.resolver_match
        if match and match.url_name in _ALLOWED:
            return None
        try:
            user = request.user
            if not isinstance(user, User) or not lacks_demanded_factor(request, user):
                return None
        except DatabaseError:
            if match and match.url_name == "health":
                return None  # it answers without a database, too, and tells nobody more than that
            raise
        if request.path.startswith("/api/"):
            return JsonResponse(error_body("Set up a second factor on your account page first.", CODE), status=403)
        query = {"next": request.get_full_path()} if request.method == "GET" else {}
        address = reverse("mfa_index")
        return HttpResponseRedirect(f"{address}?{urlencode(query)}" if query else address)
