"""People whom a trusted proxy names in a header. Where the configuration names no header, nothing reads one."""

from __future__ import annotations

import logging

from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.login import get_authentication_records, record_authentication
from allauth.account.utils import perform_login
from django.contrib.auth.models import User
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.deprecation import MiddlewareMixin

from cloudtrain_site.accounts.key_authentication import KEY_HEADER
from cloudtrain_site.accounts.sso.confirming import FRESH
from cloudtrain_site.audit.recording import record
from cloudtrain_site.conf.sign_in import RemoteUser
from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.errors import error_body
from cloudtrain_site.serving.peer import PEER
from cloudtrain_site.states import Actor

logger = logging.getLogger("simpletuner.cloud.http")

METHOD = "remote_user"
PROXY = Actor(name="proxy")
#: What a person does between the two steps of a sign-in, and load balancers.
_ALLOWED = frozenset({"mfa_authenticate", "account_logout", "health-live", "health-ready"})
_LONGEST_NAME = 150
#: The peers that were logged: one line for each of them by a process.
_logged_peers: set[str] = set()


class RemoteUserRefusedError(Exception):
    """Nobody is signed in. The message is a sentence for the person."""


class RemoteUserMiddleware(MiddlewareMixin):
    """Signs in whom the header names, and signs out whom it names no longer.

    The header is read as it came, by its exact name: `Remote_User`, which a gateway would take for it, is another one.
    """

    def process_view(self, request: HttpRequest, view: object, args: object, kwargs: object) -> HttpResponse | None:
        """Return the answer in the view's place; None: the view answers."""
        proxy = config_in_force().sign_in.remote_user
        match = request.resolver_match
        if proxy is None or _has_key(request) or (match and match.url_name in _ALLOWED):
            return None
        try:
            return _follow(request, proxy, _name_in(request, proxy))
        except RemoteUserRefusedError as refusal:
            logger.warning("A person whom the proxy names was refused", extra={"reason": str(refusal)})
            if request.path.startswith("/api/"):
                return JsonResponse(error_body(str(refusal), "permission_denied"), status=403)
            return render(request, "account/sso_problem.html", {"problem": str(refusal)}, status=403)


def _has_key(request: HttpRequest) -> bool:
    return KEY_HEADER in request.headers or "Authorization" in request.headers


def _name_in(request: HttpRequest, proxy: RemoteUser) -> str:
    """Return the name that the header has; empty: it names nobody, or comes from elsewhere, which is logged.

    Raises RemoteUserRefusedError for a header that no proxy should send.
    """
    scope = getattr(request, "scope", {})
    header = proxy.header.lower().encode()
    values = [value for name, value in scope.get("headers", ()) if name.lower() == header]
    peer = scope.get(PEER, "")
    if not proxy.trusts(peer):
        if values and peer not in _logged_peers and len(_logged_peers) < 1000:
            _logged_peers.add(peer)
            logger.warning("A header about the user was ignored: it is from no trusted proxy", extra={"peer": peer})
        return ""
    if len(values) > 1:
        raise RemoteUserRefusedError("The proxy sent two names. It has to remove the header that a client sends.")
    name = values[0].decode("utf-8", "replace").strip() if values else ""
    if len(name) > _LONGEST_NAME or not name.isprintable() or "�" in name:
        raise RemoteUserRefusedError("The proxy sent a name that no account can have.")
    return name


def _follow(request: HttpRequest, proxy: RemoteUser, name: str) -> HttpResponse | None:
    if not name:
        if request.user.is_authenticated and _was_named(request):
            get_adapter(request).logout(request)
        return None
    if request.user.is_authenticated:
        if request.user.get_username() == name:
            return None
        get_adapter(request).logout(request)
    user = _account_of(proxy, name)
    record_authentication(request, user, METHOD, second_factor=proxy.second_factor, **{FRESH: True})
    response: HttpResponse = perform_login(
        request, user, email_verification="none", redirect_url=request.get_full_path()
    )
    if request.user.is_authenticated:
        return None
    if request.path.startswith("/api/"):
        return JsonResponse(error_body("Sign in with your second factor first.", "not_authenticated"), status=401)
    return response


def _was_named(request: HttpRequest) -> bool:
    """Whether this session began by the header."""
    records = get_authentication_records(request, request.user)
    return bool(records) and records[0].get("method") == METHOD


def _account_of(proxy: RemoteUser, name: str) -> User:
    user = User.objects.filter(username=name).first() or _new_account(proxy, name)
    if not user.is_active:
        raise RemoteUserRefusedError("Your account here is deactivated. Ask an admin.")
    if (user.is_superuser or user.is_staff) and not proxy.superusers:
        raise RemoteUserRefusedError("Superusers and staff can't sign in through the proxy here.")
    return user


def _new_account(proxy: RemoteUser, name: str) -> User:
    if not proxy.new_accounts:
        raise RemoteUserRefusedError("You have no account here. Ask an admin of your organization.")
    try:
        UnicodeUsernameValidator()(name)
        with transaction.atomic():
            user = User(username=name)
            user.set_unusable_password()
            user.save(force_insert=True)
            record("user_made", user, by=PROXY, after={"username": name})
    except IntegrityError:
        return User.objects.get(username=name)  # another request of the same person came first
    except ValidationError:
        raise RemoteUserRefusedError("The proxy sent a name that no account can have.") from None
    return user
