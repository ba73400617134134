"""One's own account over HTTP."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.api_keys import organization_of_key
from cloudtrain_site.accounts.preferences import change_preferences, mail_choices, preferences_of, time_zones
from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.accounts.themes import THEMES
from cloudtrain_site.api import StrictSerializer, checked, current_user, rendered
from cloudtrain_site.extensions import notice_choices
from cloudtrain_site.models import Scope
from cloudtrain_site.strict_views import StrictView


class AccountSerializer(serializers.Serializer[User]):
    """A user and their preferences."""

    username = serializers.CharField()
    email = serializers.CharField()
    time_zone = serializers.SerializerMethodField()
    theme = serializers.SerializerMethodField()
    mail = serializers.SerializerMethodField()

    def get_time_zone(self, user: User) -> str:
        return preferences_of(user).time_zone

    def get_theme(self, user: User) -> str:
        return preferences_of(user).theme

    def get_mail(self, user: User) -> dict[str, bool]:
        return mail_choices(user)


class AccountBody(StrictSerializer):
    """The preferences to change; a missing field stays unchanged."""

    time_zone = serializers.CharField(max_length=60, required=False, allow_blank=True)
    theme = serializers.ChoiceField([name for name in THEMES if name], required=False, allow_blank=True)
    mail = serializers.DictField(child=serializers.BooleanField(), required=False)

    def validate_time_zone(self, name: str) -> str:
        if name and name not in time_zones():
            raise serializers.ValidationError(f"There is no time zone “{name}”. One is Europe/Berlin, for example.")
        return name

    def validate_mail(self, mail: dict[str, bool]) -> dict[str, bool]:
        choices = notice_choices()
        unknown = sorted(set(mail) - set(choices))
        if unknown:
            raise serializers.ValidationError(f"There is no mail “{unknown[0]}”. There is: {', '.join(choices)}.")
        return mail


class Account(StrictView):
    """One's own account. A key for one organization sees and changes nothing but that: not its owner's account."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if organization_of_key(request.user) is not None:
            raise Http404

    @extend_schema(responses=AccountSerializer)
    def get(self, request: Request) -> Response:
        """Show your account."""
        return rendered(AccountSerializer, current_user(request))

    @extend_schema(request=AccountBody, responses=AccountSerializer)
    @needs(Scope.ADMINISTER)
    def patch(self, request: Request) -> Response:
        """Change your preferences."""
        user = current_user(request)
        change_preferences(user, **checked(AccountBody, request.data))
        return rendered(AccountSerializer, user)
