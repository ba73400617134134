"""The way to the identity provider and back. Without `sso` in the configuration none of these addresses exists."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Protocol

from allauth.account.adapter import get_adapter
from allauth.account.decorators import reauthentication_required
from allauth.account.internal.flows.login import record_authentication
from allauth.account.utils import get_next_redirect_url, perform_login
from allauth.socialaccount.internal import statekit
from allauth.socialaccount.providers.oauth2.utils import generate_code_challenge
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from cloudtrain_site.accounts.sso.claims import Identity, identity_of, roles_of
from cloudtrain_site.accounts.sso.confirming import FRESH
from cloudtrain_site.accounts.sso.errors import SignOnError, TokenRefusedError
from cloudtrain_site.accounts.sso.linking import account_of, connect, disconnect
from cloudtrain_site.accounts.sso.tokens import verified_claims
from cloudtrain_site.api import current_user
from cloudtrain_site.conf.sign_in import SingleSignOn
from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.errors import retry_header
from cloudtrain_site.extensions import role_followers

if TYPE_CHECKING:
    from cloudtrain_site.accounts.sso.client import ProviderClient

logger = logging.getLogger("simpletuner.cloud.http")

#: How a session says that its person came from the identity provider.
METHOD = "socialaccount"
_RETRY_SECONDS = 60
_FRESH_SECONDS = 120


class SignOnView(Protocol):
    def __call__(self, request: HttpRequest, sso: SingleSignOn) -> HttpResponse: ...


def _client_of(sso: SingleSignOn) -> ProviderClient:
    # Loaded with the first sign-in there: httpx and aiohttp are 12 MB, which sites without single sign-on save.
    from cloudtrain_site.accounts.sso.client import ProviderClient

    return ProviderClient(sso)


def _confirmed(view: SignOnView) -> SignOnView:
    """Decorate a view for POST by who has just confirmed that the account is theirs."""
    decorated: SignOnView = require_POST(reauthentication_required(app="allauth.socialaccount")(view))
    return decorated


def _sign_on_page(view: SignOnView) -> Callable[[HttpRequest], HttpResponse]:
    """Decorate a view that gets the configured provider; 404 without one. A SignOnError becomes a page."""

    @never_cache
    @wraps(view)
    def answer(request: HttpRequest) -> HttpResponse:
        sso = config_in_force().sign_in.sso
        if sso is None:
            raise Http404
        try:
            return view(request, sso)
        except SignOnError as error:
            return _problem(request, sso, error)

    return answer


@_sign_on_page
def begin(request: HttpRequest, sso: SingleSignOn) -> HttpResponse:
    """Send the browser to the provider. A GET, since a form may lead to no other host (form-action).

    With `fresh` the provider is asked to look again who it is, though the person is signed in there.
    """
    state = {"next": get_next_redirect_url(request), FRESH: FRESH in request.GET}
    return HttpResponseRedirect(_address_at_provider(request, sso, **state))


@_sign_on_page
@_confirmed
def connect_account(request: HttpRequest, sso: SingleSignOn) -> HttpResponse:
    """Offer the way to the provider to who has just confirmed that the account is theirs."""
    address = _address_at_provider(request, sso, connects=current_user(request).pk)
    return render(request, "account/sso_connect.html", {"sso": sso, "address": address})


@_sign_on_page
@_confirmed
def disconnect_account(request: HttpRequest, sso: SingleSignOn) -> HttpResponse:
    disconnect(sso, current_user(request))
    return redirect("account")


@_sign_on_page
def callback(request: HttpRequest, sso: SingleSignOn) -> HttpResponse:
    """Sign in whoever the provider sends back in answer to a sign-in that this very browser began."""
    state_id = request.GET.get("state", "")
    state = statekit.unstash_state(request, provider_id=sso.issuer, state_id=state_id)
    if state is None:
        raise SignOnError(
            "This sign-in was started in another browser, or took more than ten minutes. Start again.",
            code="state_unknown",
            status_code=400,
        )
    if request.GET.get("iss", sso.issuer) != sso.issuer:
        raise TokenRefusedError("the answer is of another issuer")
    if "error" in request.GET or "code" not in request.GET:
        raise SignOnError(
            "The identity provider ended the sign-in. Start again, or ask its operator.",
            code="provider_refused",
            detail=request.GET.get("error", "no code")[:100],
        )
    claims = _claims_for(sso, request.GET["code"], state)
    identity = identity_of(sso, claims)
    if "connects" in state:
        return _connected(request, sso, identity, state["connects"])
    user = account_of(sso, identity)
    for follow in role_followers.values():
        follow(user, roles_of(sso, claims))
    is_fresh = bool(state.get(FRESH)) and _is_recent(claims)
    return _signed_in(request, sso, user, identity, next_url=state.get("next"), is_fresh=is_fresh)


def _address_at_provider(request: HttpRequest, sso: SingleSignOn, **state: Any) -> str:
    client = _client_of(sso)
    client.metadata  # noqa: B018 - when the provider is away, no session is made
    challenge = generate_code_challenge()
    nonce = secrets.token_urlsafe(24)
    redirect_uri = request.build_absolute_uri(reverse("sso_callback"))
    kept = {"nonce": nonce, "verifier": challenge.pop("code_verifier"), "redirect_uri": redirect_uri}
    state_id = statekit.stash_state(
        request, provider_id=sso.issuer, state={**kept, **state}, state_id=secrets.token_urlsafe(24)
    )
    return client.authorization_address(
        {
            "response_type": "code",
            "client_id": sso.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(sso.scopes),
            "state": state_id,
            "nonce": nonce,
            **challenge,
            **({"prompt": "login", "max_age": "0"} if state.get(FRESH) else {}),
        }
    )


def _claims_for(sso: SingleSignOn, code: str, state: dict[str, Any]) -> dict[str, Any]:
    """Return the verified claims; those that the token lacks come from the provider's userinfo."""
    client = _client_of(sso)
    tokens = client.tokens(code, state["verifier"], state["redirect_uri"])
    claims = verified_claims(sso, tokens.id_token, client.key_set(), state["nonce"])
    if "email" in claims and (not sso.groups or sso.groups_claim in claims):
        return claims
    more = client.userinfo(tokens.access_token)
    if more and more.get("sub") != claims["sub"]:
        raise TokenRefusedError("the userinfo is of another subject")
    return {**more, **claims}


def _is_recent(claims: dict[str, Any]) -> bool:
    """Whether the provider has just looked who it is; its word for it is `auth_time`, where it has one."""
    at = claims.get("auth_time", time.time())
    return isinstance(at, int | float) and time.time() - at < _FRESH_SECONDS


def _signed_in(
    request: HttpRequest, sso: SingleSignOn, user: User, identity: Identity, *, next_url: str | None, is_fresh: bool
) -> HttpResponse:
    """Sign in by django-allauth, which asks for a second factor where there is one here."""
    if request.user.is_authenticated:
        get_adapter(request).logout(request)
    record_authentication(
        request,
        user,
        METHOD,
        provider=sso.issuer,
        uid=identity.subject,
        second_factor=identity.has_second_factor,
        **{FRESH: is_fresh},
    )
    response: HttpResponse = perform_login(request, user, email_verification="none", redirect_url=next_url)
    return response


def _connected(request: HttpRequest, sso: SingleSignOn, identity: Identity, user_id: int) -> HttpResponse:
    if request.user.pk != user_id:
        raise SignOnError("You were signed out, so nothing was connected.", code="signed_out")
    connect(sso, identity, current_user(request))
    return redirect("account")


def _problem(request: HttpRequest, sso: SingleSignOn, error: SignOnError) -> HttpResponse:
    logger.warning(
        "Sign-in at the identity provider refused",
        extra={"reason": error.code, "detail": error.detail, "issuer": sso.issuer},
    )
    headers = retry_header(_RETRY_SECONDS if error.status_code == 503 else None)
    context = {"sso": sso, "problem": str(error)}
    response = render(request, "account/sso_problem.html", context, status=error.status_code)
    for name, value in headers.items():
        response[name] = value
    return response
