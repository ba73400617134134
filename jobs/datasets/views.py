"""Datasets over HTTP: parse, authorise, call one verb, render."""

from __future__ import annotations

from typing import Any, cast

from django.http import Http404, HttpRequest
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import checked, current_user, raises, rendered, takes
from cloudtrain_site.archives import ArchiveError
from cloudtrain_site.errors import Conflict
from cloudtrain_site.limits.errors import LimitReachedError
from cloudtrain_site.models import Scope
from cloudtrain_site.strict_views import StrictViewSet
from jobs.datasets import store
from jobs.datasets.serializers import (
    RemovedUploadSerializer,
    UploadBody,
    UploadDetailSerializer,
    UploadListQuery,
    UploadListSerializer,
)
from jobs.datasets.upload_handler import FIELD, DatasetHandler, ReceivedFile, UploadTooLarge
from jobs.limits import check_uploads
from jobs.permissions import choose_organization


class UploadViewSet(StrictViewSet):
    """One's own datasets, new ones, and those of the asker's organizations."""

    lookup_url_kwarg = "upload_id"
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

    @extend_schema(operation_id="uploads_list", responses=UploadListSerializer)
    @takes(UploadListQuery)
    def list(self, request: Request) -> Response:
        """List your own datasets."""
        own, first, limit = store.own_uploads(request.user), self.query["offset"], self.query["limit"]
        return rendered(UploadListSerializer, {"uploads": own[first : first + limit], "total": own.count()})

    @extend_schema(request={"multipart/form-data": UploadBody}, responses={201: UploadDetailSerializer})
    @raises(LimitReachedError)
    @needs(Scope.SUBMIT)
    def create(self, request: Request) -> Response:
        """Upload a dataset."""
        # Who may upload nowhere, or nothing more, learns so before the body is read.
        choose_organization(request.user)
        check_uploads(current_user(request))
        body = checked(UploadBody, dict(cast(dict[str, Any], request.data).items()))
        organization = choose_organization(request.user, body["organization"])
        if not isinstance(body["file"], ReceivedFile):
            raise exceptions.ValidationError({FIELD: "This is not a file."})
        try:
            upload = store.store_upload(body["file"].received, user=current_user(request), organization=organization)
        except ArchiveError as error:
            raise exceptions.ValidationError({FIELD: str(error)}) from error
        return rendered(UploadDetailSerializer, {"upload": upload}, status=201)

    @extend_schema(responses=UploadDetailSerializer)
    def retrieve(self, request: Request, upload_id: str) -> Response:
        """Show a dataset."""
        return rendered(UploadDetailSerializer, {"upload": store.find_upload(request.user, upload_id)})

    @extend_schema(responses={200: RemovedUploadSerializer})
    @raises(Conflict)
    @needs(Scope.SUBMIT)
    def destroy(self, request: Request, upload_id: str) -> Response:
        """Remove a dataset that no job uses."""
        upload = store.find_upload(request.user, upload_id)
        if not store.may_remove(request.user, upload):
            raise exceptions.PermissionDenied("Only its uploader, a lead or an admin can remove a dataset.")
        if not store.remove(upload):
            count = store.in_use(upload)
            if not count:
                raise Http404  # somebody else was first
            raise Conflict(f"Jobs that have not ended use this dataset: {count}.", code="in_use")
        return rendered(RemovedUploadSerializer, upload)
