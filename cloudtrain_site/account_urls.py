"""Addresses of one's own account."""

from __future__ import annotations

from django.urls import path

from cloudtrain_site import account_views

urlpatterns = [
    path("", account_views.Account.as_view(), name="account-settings"),
    path("/keys", account_views.KeyList.as_view(), name="account-keys"),
    path("/keys/<str:key_id>", account_views.KeyDetail.as_view(), name="account-key"),
]
