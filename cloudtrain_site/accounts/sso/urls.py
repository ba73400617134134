"""The addresses of single sign-on. Each is 404 without a provider in the configuration."""

from __future__ import annotations

from django.urls import path

from cloudtrain_site.accounts.sso import emergency, pages

urlpatterns = [
    path("login/sso", pages.begin, name="sso_begin"),
    path("login/sso/callback", pages.callback, name="sso_callback"),
    path("login/emergency/<str:token>", emergency.emergency_sign_in, name="emergency_sign_in"),
    path("account/sso/connect", pages.connect_account, name="sso_connect"),
    path("account/sso/disconnect", pages.disconnect_account, name="sso_disconnect"),
]
