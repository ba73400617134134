"""Addresses of one's own account."""

from __future__ import annotations

from django.urls import path

from cloudtrain_site.accounts import views

urlpatterns = [
    path("", views.Account.as_view(), name="account-settings"),
    path("/keys", views.KeyList.as_view(), name="account-keys"),
    path("/keys/<str:key_id>", views.KeyDetail.as_view(), name="account-key"),
]
