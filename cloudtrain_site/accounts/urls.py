"""The addresses of the accounts' pages. The names are django-allauth's, whose other addresses don't exist here."""

from __future__ import annotations

from django.urls import path

from cloudtrain_site.accounts import pages

urlpatterns = [
    path("login", pages.sign_in, name="account_login"),
    path("logout", pages.sign_out, name="account_logout"),
    path("account/confirm", pages.reauthenticate, name="account_reauthenticate"),
]
