"""The addresses of the accounts' pages. The names are django-allauth's, whose other addresses don't exist here."""

from __future__ import annotations

from django.urls import include, path

from cloudtrain_site.accounts import pages
from cloudtrain_site.accounts.themes import change_theme

urlpatterns = [
    path("", include("cloudtrain_site.accounts.sso.urls")),
    path("", include("cloudtrain_site.accounts.second_factor.urls")),
    path("login", pages.sign_in, name="account_login"),
    path("logout", pages.sign_out, name="account_logout"),
    path("account/confirm", pages.reauthenticate, name="account_reauthenticate"),
    path("account/password", pages.change_password, name="account_change_password"),
    path("account/sessions", pages.end_sessions, name="end-sessions"),
    path("account/email", pages.email, name="account_email"),
    path("account/email/<str:key>", pages.confirm_email, name="account_confirm_email"),
    path("account/theme", change_theme, name="theme"),
    path("password", pages.forgotten_password, name="account_reset_password"),
    path("password/sent", pages.link_sent, name="account_reset_password_done"),
    path("password/set", pages.password_set, name="account_reset_password_from_key_done"),
    path("password/<str:uidb36>/<str:key>", pages.password_of_link, name="account_reset_password_from_key"),
]
