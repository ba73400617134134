"""What an export has about how somebody signs in: no secret."""

from __future__ import annotations

from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User

from cloudtrain_site.extensions import personal_data
from tests.one_time_codes import app_of


def test_second_factors_and_accounts_elsewhere_are_exported_without_secrets(alice: User, bob: User) -> None:
    secret = app_of(alice)
    app_of(bob)
    SocialAccount.objects.create(user=alice, provider="https://id.example.org", uid="alice-17")
    [factor] = list(personal_data["second_factors"](alice))
    assert factor["type"] == "totp"
    assert secret not in str(factor)
    [link] = list(personal_data["identity_provider_accounts"](alice))
    assert (link["provider"], link["uid"]) == ("https://id.example.org", "alice-17")
