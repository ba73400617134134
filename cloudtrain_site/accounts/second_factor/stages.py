"""The second step of a sign-in."""

from __future__ import annotations

from typing import Any

from allauth.account.internal.flows.login import get_authentication_records
from allauth.mfa.stages import AuthenticateStage
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest

LIBRARY_STAGE = "allauth.mfa.stages.AuthenticateStage"
STAGE = f"{__name__}.SecondStep"


class SecondStep(AuthenticateStage):  # type: ignore[misc]
    """Asks for the second factor of who has one, unless whoever vouches for the person has asked for one already."""

    def _should_handle(self, request: HttpRequest) -> bool:
        return super()._should_handle(request) and not is_vouched_for(request, self.login.user)


def is_vouched_for(request: HttpRequest, user: AbstractBaseUser) -> bool:
    """Whether an identity provider or a proxy, as far as it is trusted to, has seen a second factor in this session."""
    records: list[dict[str, Any]] = get_authentication_records(request, user)
    return any(record.get("second_factor") is True for record in records)
