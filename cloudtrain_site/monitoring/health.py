"""The health of the site: for people and for load balancers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any

from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Min
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import OrmQ
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site import extensions
from cloudtrain_site.api import StrictSerializer, UtcField, rendered, takes
from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.database.failures import AWAY, lately_met
from cloudtrain_site.database.write_probe import write_failure
from cloudtrain_site.events import store
from cloudtrain_site.extensions import HealthComponent
from cloudtrain_site.models import Loop
from cloudtrain_site.monitoring.process_heartbeats import WEB, process_key
from cloudtrain_site.serving import echo
from cloudtrain_site.strict_views import StrictView

HEALTHY, DEGRADED, UNHEALTHY = "healthy", "degraded", "unhealthy"
#: From worst to best.
ORDER = (UNHEALTHY, DEGRADED, HEALTHY)
#: A task that waits longer means that no worker takes any.
MAX_WAIT_SECONDS = 60.0
#: A request that could not be saved shows for this long.
REFUSAL_SHOWN_SECONDS = 60.0
IS_IT_RUNNING = f"Is `{COMMAND} background` running?"

_started = time.monotonic()


@dataclass(frozen=True)
class Component:
    """One part of the system, and a sentence about it."""

    name: str
    status: str
    message: str
    latency_ms: float | None = None
    last_beat: datetime | None = None


def components(now: datetime) -> list[Component]:
    """Return every component: database, broker, events, each background loop, and those of the rooms above."""
    own = [
        _measured("database", _database, worst=UNHEALTHY),
        _measured("broker", partial(broker, now)),
        _measured("events", _events),
    ]
    if own[0].status == UNHEALTHY:
        return own
    added = [_measured(name, partial(_check, component)) for name, component in extensions.health_components.items()]
    return [*own, *loops(now), *added]


def _check(component: HealthComponent) -> tuple[str, str]:
    warning = component.warning()
    if warning:
        return DEGRADED, warning
    return HEALTHY, component.well if isinstance(component.well, str) else component.well()


def _measured(name: str, check: Callable[[], tuple[str, str]], worst: str = DEGRADED) -> Component:
    started = time.perf_counter()
    try:
        state, message = check()
    except Exception as error:
        # The kind of error and not its text, which may tell of hosts and accounts.
        state, message = worst, f"Does not answer ({type(error).__name__})."
    return Component(name, state, message, round((time.perf_counter() - started) * 1000, 2))


def _database() -> tuple[str, str]:
    _ask_database()
    if failure := write_failure():
        return UNHEALTHY, f"{failure.heading}. {failure.remedy}"
    if failure := lately_met(REFUSAL_SHOWN_SECONDS):
        return DEGRADED, f"{failure.heading}: a request could not be saved recently. {failure.remedy}"
    return HEALTHY, f"{connection.display_name} answers."


def _ask_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def broker(now: datetime) -> tuple[str, str]:
    """Return the state of the tasks that wait, and a sentence about them."""
    if not Conf.ORM:
        redis = get_broker()
        redis.ping()
        return HEALTHY, f"Tasks waiting: {redis.queue_size()}."
    waiting = OrmQ.objects.filter(key=Conf.CLUSTER_NAME, lock__lte=now).aggregate(count=Count("pk"), oldest=Min("lock"))
    seconds = (now - waiting["oldest"]).total_seconds() if waiting["count"] else 0.0
    if seconds > MAX_WAIT_SECONDS:
        return DEGRADED, f"Tasks waiting: {waiting['count']}, the oldest for {seconds:.0f} s. {IS_IT_RUNNING}"
    return HEALTHY, f"Tasks waiting: {waiting['count']}."


def _events() -> tuple[str, str]:
    return HEALTHY, f"Newest event: number {store.current_number()}."


def loops(now: datetime) -> list[Component]:
    """Return each background loop, in the order of their table; one that no beat has seen is degraded."""
    loops = Loop.objects.in_bulk()
    return [
        _loop(loops[name], now) if name in loops else Component(name, DEGRADED, f"Has never run. {IS_IT_RUNNING}")
        for name in extensions.loops
    ]


def _loop(loop: Loop, now: datetime) -> Component:
    about = partial(Component, loop.name, latency_ms=loop.last_duration_ms, last_beat=loop.last_started_at)
    every = f"every {loop.interval_seconds:g} s"
    if not loop.enabled:
        return about(HEALTHY, "Switched off.")
    if loop.is_late(now):
        return about(DEGRADED, f"Late: runs {every}, {_last_run(loop, now)}. {IS_IT_RUNNING}")
    if loop.last_outcome == "failed":
        return about(DEGRADED, f"The last run failed: runs {every}, {_last_run(loop, now)}. The admin shows the error.")
    return about(HEALTHY, f"Runs {every}, {_last_run(loop, now)}.")


def _last_run(loop: Loop, now: datetime) -> str:
    if loop.last_started_at is None:
        return "has not run yet"
    return f"last began {max(0.0, (now - loop.last_started_at).total_seconds()):.0f} s ago"


def report(parts: list[Component]) -> dict[str, Any]:
    """Return the answer: the site's status is that of its worst component."""
    return {
        "status": min((part.status for part in parts), key=ORDER.index),
        "uptime_seconds": round(time.monotonic() - _started, 1),
        "components": [asdict(part) for part in parts],
    }


class ComponentSerializer(serializers.Serializer[Any]):
    """One component of the site."""

    name = serializers.CharField()
    status = serializers.ChoiceField(choices=ORDER)
    message = serializers.CharField()
    latency_ms = serializers.FloatField(allow_null=True)
    last_beat = UtcField(allow_null=True, help_text="When a background loop last started.")


class HealthSerializer(serializers.Serializer[Any]):
    """The status of the site, and of each of its components."""

    status = serializers.ChoiceField(choices=ORDER)
    uptime_seconds = serializers.FloatField(help_text="How long the answering web process has run.")
    components = ComponentSerializer(many=True)


class ProbeSerializer(serializers.Serializer[Any]):
    """The answer to a load balancer's probe."""

    status = serializers.CharField()


class HealthQuery(StrictSerializer):
    include_replicate = serializers.BooleanField(
        required=False, help_text="Has no effect: `replicate` is always included. Older clients send it."
    )


class HealthView(StrictView):
    """How every part of the system is doing."""

    @extend_schema(
        operation_id="health",
        responses={200: HealthSerializer, 503: HealthSerializer},
    )
    @takes(HealthQuery)
    def get(self, request: Request) -> Response:
        """Show the health of the site and its components.

        Returns 200 whatever the status is.
        """
        return rendered(HealthSerializer, report(components(timezone.now())))

    def handle_exception(self, exc: Exception) -> Response:
        """Report a missing database, without which no user can be authenticated, and nothing else."""
        if isinstance(exc, Error):
            gone = Component("database", UNHEALTHY, "Does not answer.")
            response = rendered(HealthSerializer, report([gone]), status.HTTP_503_SERVICE_UNAVAILABLE)
            response["Retry-After"] = str(AWAY.retry_after)
            return response
        return super().handle_exception(exc)


class LiveView(StrictView):
    """Whether the process answers at all. Looks at nothing else: a restart would not mend a database."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(operation_id="health_live", responses=ProbeSerializer, auth=[])
    def get(self, request: Request) -> Response:
        """Check that the process answers."""
        response = rendered(ProbeSerializer, {"status": "alive"})
        echo.tell(request._request, response, process_key(WEB))
        return response


class ReadyView(StrictView):
    """Whether requests can be served: the database answers, takes writes, and has the tables of this version."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        operation_id="health_ready",
        auth=[],
        responses={200: ProbeSerializer, 503: ProbeSerializer},
    )
    def get(self, request: Request) -> Response:
        """Check that requests can be served."""
        reason = _reason_not_ready()
        if reason:
            return rendered(ProbeSerializer, {"status": reason}, status.HTTP_503_SERVICE_UNAVAILABLE)
        return rendered(ProbeSerializer, {"status": "ready"})


def _reason_not_ready() -> str:
    try:
        _ask_database()
        if not _is_migrated():
            return "migrations missing"
        failure = write_failure()
    except Error:
        return "no database"
    return failure.heading.lower() if failure else ""


class _Migrations:
    """Remembers that all are applied: the check takes 50 ms, and this version needs no more of them."""

    applied = False


def _is_migrated() -> bool:
    if not _Migrations.applied:
        executor = MigrationExecutor(connection)
        _Migrations.applied = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    return _Migrations.applied
