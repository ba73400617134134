"""The page of the API, and its schema."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_safe
from drf_spectacular.views import SpectacularJSONAPIView

from cloudtrain_site.accounts.pages import framed
from cloudtrain_site.api_docs.reading import sections
from cloudtrain_site.strict_views import StrictView


@gzip_page
@require_safe
@login_required
def api_page(request: HttpRequest) -> HttpResponse:
    """Show every operation with its fields, answers and an example."""
    address = f"{request.scheme}://{request.get_host()}"
    context = {**framed(request), "sections": sections(), "address": address}
    return render(request, "site/api.html", context)


class SchemaView(StrictView, SpectacularJSONAPIView):
    """The schema as JSON, in the one version and language that there is."""
