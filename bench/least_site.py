"""The least that Django and its REST framework do for a submission, as a site of its own: the baseline of bench_submit.

    python -m bench.least_site PORT KEYS

A key is found by its digest, the JSON is read by a serializer, and one row is stored in one transaction: no middleware,
no rights, no rules, no history, no events. Database, server and threads are as the product has them. The keys are
`key-0` and on, each of a user of its own.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

import django
from django.conf import settings

from cloudtrain_site.conf.database import database_settings
from cloudtrain_site.conf.environment import Environment

if not settings.configured:
    settings.configure(
        DATABASES={
            "default": database_settings(Environment(), data_dir=Path(os.environ["SIMPLETUNER_DATA_DIR"]), role="web")
        },
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "rest_framework"],
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    django.setup()

from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.asgi import get_asgi_application
from django.db import connection, models, transaction
from django.urls import path
from django.utils import timezone
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.parsers import JSONParser
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class Key(models.Model):  # noqa: DJ008
    digest = models.CharField(max_length=64, primary_key=True)
    user = models.ForeignKey(User, models.CASCADE)
    objects: ClassVar[models.Manager[Any]] = models.Manager()

    class Meta:
        app_label = "least"


class Submission(models.Model):  # noqa: DJ008
    user = models.ForeignKey(User, models.CASCADE)
    config_name = models.CharField(max_length=100)
    config = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now)
    objects: ClassVar[models.Manager[Any]] = models.Manager()

    class Meta:
        app_label = "least"


class Body(serializers.Serializer[Any]):
    config = serializers.JSONField()
    config_name = serializers.CharField(max_length=100)


class ByKey(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Any, Any]:
        key = Key.objects.filter(pk=_digest(request.headers.get("X-API-Key", ""))).select_related("user").first()
        if key is None or not key.user.is_active:
            raise AuthenticationFailed
        return key.user, key


class Submit(APIView):
    authentication_classes = [ByKey]
    permission_classes = [IsAuthenticated]
    parser_classes = [JSONParser]
    renderer_classes = [JSONRenderer]

    def post(self, request: Request) -> Response:
        body = Body(data=request.data)
        body.is_valid(raise_exception=True)
        with transaction.atomic():
            row = Submission.objects.create(user=request.user, **body.validated_data)
        return Response({"job_id": row.pk}, status=201)


urlpatterns = [path("api/cloud/jobs/submit", Submit.as_view())]


def _digest(key: str) -> str:
    return hashlib.sha512(key.encode()).hexdigest()[:64]


def _make(keys: int) -> None:
    with connection.schema_editor() as editor:
        for model in (ContentType, Permission, Group, User, Key, Submission):
            editor.create_model(model)
    for number in range(keys):
        Key.objects.create(user=User.objects.create(username=f"user-{number}"), digest=_digest(f"key-{number}"))
    connection.close()


def main() -> None:
    import uvicorn

    port, keys = map(int, sys.argv[1:])
    _make(keys)
    uvicorn.run(get_asgi_application(), port=port, log_level="error", access_log=False, lifespan="off", ws="none")


if __name__ == "__main__":
    main()
