"""The addresses of second factors. The names are django-allauth's."""

from __future__ import annotations

from django.urls import path

from cloudtrain_site.accounts.second_factor import pages

urlpatterns = [
    path("login/second-step", pages.second_step, name="mfa_authenticate"),
    path("login/passkey", pages.sign_in_with_passkey, name="mfa_login_webauthn"),
    path("account/confirm/code", pages.confirm_by_code, name="mfa_reauthenticate"),
    path("account/confirm/passkey", pages.confirm_by_passkey, name="mfa_reauthenticate_webauthn"),
    path("account/second-factor", pages.factors, name="mfa_index"),
    path("account/second-factor/app", pages.add_app, name="mfa_activate_totp"),
    path("account/second-factor/app/remove", pages.remove_app, name="mfa_deactivate_totp"),
    path("account/second-factor/passkeys", pages.factors, name="mfa_list_webauthn"),
    path("account/second-factor/passkeys/new", pages.add_passkey, name="mfa_add_webauthn"),
    path("account/second-factor/passkeys/<int:pk>/remove", pages.remove_passkey, name="mfa_remove_webauthn"),
    path("account/second-factor/codes", pages.recovery_codes, name="mfa_view_recovery_codes"),
    path("account/second-factor/codes/new", pages.new_recovery_codes, name="mfa_generate_recovery_codes"),
]
