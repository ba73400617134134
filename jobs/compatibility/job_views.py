"""What SimpleTuner's command line asks about jobs beside our own addresses: the data of a dry run."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.compatibility.elsewhere import CompatibleView
from cloudtrain_site.models import Scope

UPLOADS = "A submission uploads nothing: POST /api/cloud/uploads first, and submit with `dataset`."


class DataPreview(CompatibleView):
    @needs(Scope.READ)
    def post(self, request: Request) -> Response:
        """Say that a submission uploads nothing by itself."""
        return Response({"consent_mode": "allow", "requires_upload": False, "datasets": [], "message": UPLOADS})
