"""Metrics for Prometheus, collected from each room, limited to what the user may see."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from cloudtrain_site.extensions import collectors
from cloudtrain_site.models import Loop
from cloudtrain_site.strict_views import StrictView


def collect_loops(asker: User | AnonymousUser) -> Iterator[Metric]:
    """Yield the background loops' metrics, which all users may see, as in the health."""
    now = timezone.now()
    last_start = GaugeMetricFamily(
        "cloudtrain_loop_last_start_timestamp_seconds", "When a background loop last started.", labels=["loop"]
    )
    late = GaugeMetricFamily("cloudtrain_loop_late", "1 while a background loop is late.", labels=["loop"])
    for loop in Loop.objects.filter(enabled=True).order_by("name"):
        if loop.last_started_at is not None:
            last_start.add_metric([loop.name], loop.last_started_at.timestamp())
        late.add_metric([loop.name], float(loop.is_late(now)))
    yield from (last_start, late)


class Scrape:
    """One user's metrics, as a registry for the library's writer."""

    def __init__(self, asker: User | AnonymousUser) -> None:
        self.asker = asker

    def collect(self) -> Iterator[Metric]:
        for collector in collectors.values():
            yield from collector(self.asker)


class _Text(BaseRenderer):
    media_type = "text/plain"
    format = "txt"
    charset = None

    def render(self, data: bytes, accepted_media_type: str | None = None, renderer_context: object = None) -> bytes:
        return data


class _AlwaysText(BaseContentNegotiation):
    """Ignores the requested format: all scrapers read this one."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> None:
        return None

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return _Text(), _Text.media_type


class FromMetricsNetwork(BasePermission):
    """A scraper in one of `METRICS_NETWORKS` needs no key.

    What came through a proxy always does: whoever can reach the proxy would be in the proxy's network.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        if "HTTP_X_FORWARDED_FOR" in request.META or "HTTP_FORWARDED" in request.META:
            return False
        try:
            client = ipaddress.ip_address(request.META.get("REMOTE_ADDR", ""))
        except ValueError:
            return False
        client = getattr(client, "ipv4_mapped", None) or client
        return any(client in ipaddress.ip_network(network) for network in settings.METRICS_NETWORKS)


class PrometheusView(StrictView):
    """Figures in Prometheus's text format: of the jobs that the asker may see, and of the site.

    A scraper without a key, in one of the networks that the operator named, is told all figures.
    """

    permission_classes = (IsAuthenticated | FromMetricsNetwork,)
    renderer_classes = (_Text,)
    content_negotiation_class = _AlwaysText

    @extend_schema(operation_id="metrics_prometheus", responses={(200, "text/plain"): OpenApiTypes.STR})
    def get(self, request: Request) -> Response:
        """Show metrics in Prometheus's text format."""
        asker = request.user if request.user.is_authenticated else User(is_superuser=True)
        text = generate_latest(Scrape(asker))
        return Response(text, content_type=CONTENT_TYPE_LATEST)

    def handle_exception(self, exc: Exception) -> Response:
        self.request.accepted_renderer = JSONRenderer()
        self.request.accepted_media_type = JSONRenderer.media_type
        return super().handle_exception(exc)
