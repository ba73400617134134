"""Datasets over HTTP: parse, authorise, call one verb, render."""

from __future__ import annotations

from typing import Any, cast

from django.http import Http404, HttpRequest, QueryDict
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import exceptions, serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from cloudtrain_site.api import StrictSerializer, current_user
from cloudtrain_site.archives import ArchiveError
from cloudtrain_site.errors import Conflict
from jobs.api.serializers import as_utc
from jobs.datasets import store
from jobs.datasets.upload_handler import FIELD, DatasetHandler, ReceivedFile, UploadTooLarge
from jobs.models import DatasetUpload
from jobs.permissions import choose_organization


@extend_schema_field(OpenApiTypes.BINARY)
class ArchiveField(serializers.FileField):
    """A file, and for the schema its bytes, not an address."""


class UploadBody(StrictSerializer):
    """A dataset: one zip, tar or tar.gz of at most 100,000,000 bytes, and for which organization it is."""

    file = ArchiveField(error_messages={"required": f"Send the archive in the field {FIELD!r}."})
    organization = serializers.CharField(max_length=100, default="", allow_blank=True)


class UploadListQuery(serializers.Serializer[Any]):
    """Which page of one's own uploads."""

    limit = serializers.IntegerField(min_value=1, max_value=500, default=50)
    offset = serializers.IntegerField(min_value=0, default=0)


class TransferShape(serializers.Serializer[Any]):
    """How much of it a provider has."""

    provider = serializers.CharField()
    progress = serializers.FloatField()
    sent_bytes = serializers.IntegerField()
    complete = serializers.BooleanField()
    expires_at = serializers.DateTimeField(allow_null=True)


class UploadShape(serializers.Serializer[Any]):
    """An upload: `ready` here, `uploading` to a provider, or `uploaded` there; with the last transfer's progress."""

    id = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=DatasetUpload.Kind.choices)
    state = serializers.ChoiceField(choices=["ready", "uploading", "uploaded"])
    size = serializers.IntegerField()
    sha256 = serializers.CharField()
    files = serializers.IntegerField()
    unpacked_size = serializers.IntegerField()
    organization = serializers.CharField()
    uploaded_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    progress = serializers.FloatField(allow_null=True)
    transfers = TransferShape(many=True)


class UploadDetailShape(serializers.Serializer[Any]):
    """One upload."""

    upload = UploadShape()


class UploadListShape(serializers.Serializer[Any]):
    """A page of uploads, newest first."""

    store = UploadShape(many=True)
    total = serializers.IntegerField()


class RemovedShape(serializers.Serializer[Any]):
    """It is gone."""

    success = serializers.BooleanField()
    id = serializers.CharField()


def represent_upload(upload: DatasetUpload) -> dict[str, Any]:
    """The upload as the API shows it."""
    transfers = [
        {
            "provider": copy.provider,
            "progress": 100.0 if copy.address else min(99.0, round(100 * copy.sent_bytes / upload.size, 1)),
            "sent_bytes": copy.sent_bytes,
            "complete": bool(copy.address),
            "expires_at": as_utc(copy.expires_at),
        }
        for copy in sorted(upload.copies.all(), key=lambda copy: copy.updated_at, reverse=True)
        if copy.expires_at is None or copy.expires_at > timezone.now()
    ]
    last = transfers[0] if transfers else None
    return {
        "id": upload.pk,
        "name": upload.name,
        "kind": upload.kind,
        "state": "ready" if last is None else "uploaded" if last["complete"] else "uploading",
        "size": upload.size,
        "sha256": upload.sha256,
        "files": upload.files,
        "unpacked_size": upload.unpacked_size,
        "organization": upload.organization.name,
        "uploaded_by": upload.uploaded_by.get_username(),
        "created_at": as_utc(upload.created_at),
        "last_used_at": as_utc(upload.last_used_at),
        "expires_at": as_utc(upload.last_used_at + store.UNUSED_LIFETIME),
        "progress": last["progress"] if last else None,
        "transfers": transfers,
    }


class UploadList(APIView):
    """One's own datasets, and new ones."""

    parser_classes = (MultiPartParser,)

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """Before anything looks at the body: the check of a browser's token does, and it must not fill our memory."""
        self.handler = DatasetHandler(request)
        request.upload_handlers = [self.handler]
        return super().initialize_request(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse by what the request says of its length, before its body is read."""
        length = request.META.get("CONTENT_LENGTH") or ""
        if length.isdecimal() and int(length) > store.UPLOAD_LIMIT_BYTES + store.FORM_BYTES:
            raise UploadTooLarge
        super().initial(request, *args, **kwargs)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Response:
        """Whatever the answer: what was not kept is removed."""
        self.handler.discard()
        return super().finalize_response(request, response, *args, **kwargs)

    @extend_schema(operation_id="uploads_list", parameters=[UploadListQuery], responses=UploadListShape)
    def get(self, request: Request) -> Response:
        query = UploadListQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        own, first = store.own_uploads(request.user), query.validated_data["offset"]
        page = own[first : first + query.validated_data["limit"]]
        return Response({"uploads": [represent_upload(upload) for upload in page], "total": own.count()})

    @extend_schema(
        request={"multipart/form-data": UploadBody},
        responses={201: UploadDetailShape, 413: OpenApiResponse(description="too large")},
    )
    def post(self, request: Request) -> Response:
        # Who may upload nowhere learns so before the body is read.
        choose_organization(request.user)
        body = UploadBody(data=cast(QueryDict, request.data).dict())
        body.is_valid(raise_exception=True)
        organization = choose_organization(request.user, body.validated_data["organization"])
        file = body.validated_data["file"]
        if not isinstance(file, ReceivedFile):
            raise exceptions.ValidationError({FIELD: "This is not a file."})
        try:
            upload = store.store_upload(file.received, user=current_user(request), organization=organization)
        except ArchiveError as error:
            raise exceptions.ValidationError({FIELD: str(error)}) from error
        return Response({"upload": represent_upload(upload)}, status=201)


class UploadDetail(APIView):
    """One dataset of the asker's organizations."""

    @extend_schema(responses=UploadDetailShape)
    def get(self, request: Request, upload_id: str) -> Response:
        return Response({"upload": represent_upload(store.find_upload(request.user, upload_id))})

    @extend_schema(responses={200: RemovedShape, 409: OpenApiResponse(description="in use")})
    def delete(self, request: Request, upload_id: str) -> Response:
        upload = store.find_upload(request.user, upload_id)
        if not store.may_remove(request.user, upload):
            raise exceptions.PermissionDenied("Only who uploaded it, a lead or an admin removes a dataset.")
        if not store.remove(upload):
            count = store.in_use(upload)
            if not count:
                raise Http404  # somebody else was first
            raise Conflict(f"Jobs that have not ended use this dataset: {count}.", code="in_use")
        return Response({"success": True, "id": upload.pk})
