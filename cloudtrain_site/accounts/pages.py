"""The pages on which people sign in and out."""

from __future__ import annotations

from typing import Any

from allauth.account.views import LoginView, ReauthenticateView
from django.contrib.auth.models import User
from django.contrib.auth.views import LogoutView
from django.views.decorators.cache import never_cache

from cloudtrain_site.conf.places import COMMAND


class SignIn(LoginView):  # type: ignore[misc]
    """The one door: the admin's leads here too."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        return {**context, "command": COMMAND, "is_anybody_there": User.objects.exists}


sign_in = SignIn.as_view()
sign_out = LogoutView.as_view(next_page="account_login")
reauthenticate = never_cache(ReauthenticateView.as_view())
