"""The webhook deliveries in the admin: their content, their verdict, and their outcome."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from cloudtrain_site.wording.values import isolated
from jobs.admin_base import SuperuserAdmin
from jobs.models import WebhookDelivery
from jobs.webhooks import apply


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(SuperuserAdmin[WebhookDelivery]):
    """The deliveries of the last 30 days, read-only."""

    why_nothing = "What a provider sends about its jobs appears here for 30 days."
    list_display = ("received_at", "provider", "verdict", "outcome", "repeats", "external_id", "named", "sender")
    list_filter = ("verdict", "provider")
    search_fields = ("=delivery_id", "=external_id", "=job__id", "=marker")
    ordering = ("-id",)
    actions = ("replay",)
    show_full_result_count = False

    @admin.display(description="job")
    def named(self, delivery: WebhookDelivery) -> str | None:
        return isolated(delivery.job) if delivery.job else None

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookDelivery]:
        return super().get_queryset(request).select_related("job").defer("job__config", "job__dataloader_config")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: WebhookDelivery | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: WebhookDelivery | None = None) -> bool:
        return False

    @admin.action(description="Replay the selected deliveries", permissions=["view"])
    def replay(self, request: HttpRequest, deliveries: QuerySet[WebhookDelivery]) -> None:
        done = [apply.replay(delivery) for delivery in deliveries.order_by("id")]
        if any(done):
            messages.success(request, f"{sum(done)} replayed. The outcome of each delivery shows the result.")
        if not all(done):
            messages.warning(request, f"{len(done) - sum(done)} had been refused, so they are not applied.")
