"""The pages of second factors: the library's views under our templates, each change on record."""

from __future__ import annotations

from typing import Any

from allauth.mfa.base.views import AuthenticateView, IndexView, ReauthenticateView
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.views import GenerateRecoveryCodesView, ViewRecoveryCodesView
from allauth.mfa.totp.views import ActivateTOTPView, DeactivateTOTPView
from allauth.mfa.webauthn.internal.auth import begin_authentication
from allauth.mfa.webauthn.views import (
    AddWebAuthnView,
    LoginWebAuthnView,
    ReauthenticateWebAuthnView,
    RemoveWebAuthnView,
)
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache

from cloudtrain_site.accounts import tasks
from cloudtrain_site.accounts.second_factor.demand import demanded_by, has_second_factor
from cloudtrain_site.accounts.second_factor.forms import take_present_step
from cloudtrain_site.accounts.sso.passwords import local_sign_in
from cloudtrain_site.api import current_user
from cloudtrain_site.audit.recording import record
from cloudtrain_site.limits.brakes import address_of


class Factors(IndexView):  # type: ignore[misc]
    """What there is, and who demands it."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = current_user(self.request)
        factors = list(Authenticator.objects.filter(user=user).order_by("created_at"))
        return {
            **kwargs,
            "app": next((one for one in factors if one.type == Authenticator.Type.TOTP), None),
            "passkeys": [one for one in factors if one.type == Authenticator.Type.WEBAUTHN],
            "codes": next((one for one in factors if one.type == Authenticator.Type.RECOVERY_CODES), None),
            "has_factor": has_second_factor(user),
            "demanded_by": demanded_by(user),
        }


class _OnRecord:
    """Puts what a form does on record, and mails it, in the same transaction."""

    request: HttpRequest
    action: str
    kind: str

    def form_valid(self, form: Any) -> HttpResponse:
        user = current_user(self.request)
        with transaction.atomic():
            response: HttpResponse = super().form_valid(form)  # type: ignore[misc]
            record(f"second_factor_{self.action}", user, by=user, after={"kind": self.kind})
            if user.email:
                news = {"change": f"{self.kind} {self.action}", "address": address_of(self.request)}
                tasks.enqueue("send_news", "second_factor_changed", user.email, user.pk, news)
        return response


class AddApp(_OnRecord, ActivateTOTPView):  # type: ignore[misc]
    action, kind = "added", "app"

    def form_valid(self, form: Any) -> HttpResponse:
        with transaction.atomic():
            response = super().form_valid(form)
            factors = Authenticator.objects.filter(user=current_user(self.request), type=Authenticator.Type.TOTP)
            take_present_step(factors.get())
        return response


class RemoveApp(_OnRecord, DeactivateTOTPView):  # type: ignore[misc]
    action, kind = "removed", "app"


class AddPasskey(_OnRecord, AddWebAuthnView):  # type: ignore[misc]
    action, kind = "added", "passkey"


class RemovePasskey(_OnRecord, RemoveWebAuthnView):  # type: ignore[misc]
    action, kind = "removed", "passkey"


class NewRecoveryCodes(_OnRecord, GenerateRecoveryCodesView):  # type: ignore[misc]
    action, kind = "added", "recovery codes"


class SignInWithPasskey(LoginWebAuthnView):  # type: ignore[misc]
    """A sign-in with a passkey alone, which has checked its owner. A GET returns the challenge for the script."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return JsonResponse({"request_options": begin_authentication(user=None)})


factors = never_cache(Factors.as_view())
second_step = never_cache(AuthenticateView.as_view())
confirm_by_code = never_cache(ReauthenticateView.as_view())
confirm_by_passkey = never_cache(ReauthenticateWebAuthnView.as_view())
add_app = never_cache(AddApp.as_view())
remove_app = never_cache(RemoveApp.as_view())
add_passkey = never_cache(AddPasskey.as_view())
remove_passkey = never_cache(RemovePasskey.as_view())
recovery_codes = never_cache(ViewRecoveryCodesView.as_view())
new_recovery_codes = never_cache(NewRecoveryCodes.as_view())
sign_in_with_passkey = never_cache(local_sign_in(SignInWithPasskey.as_view()))
