"""The site's own tables: API keys, loops and their runs, preferences; those of the audit are in `audit/models.py`."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone
from knox.models import AbstractAuthToken

from cloudtrain_site.audit.models import AuditGate, AuditRecord  # noqa: F401 - Django looks for them here


class Scope(models.TextChoices):
    """What a key may do in its owner's name."""

    READ = "read", "See jobs, logs, costs, the queue, requests and configs."
    SUBMIT = "submit", "Submit, cancel and delete jobs; upload datasets; store configs."
    DECIDE = "decide", "Approve and reject; order the queue."
    ADMINISTER = "administer", "Change rules, limits, budgets, members and settings."


class ApiKey(AbstractAuthToken):  # type: ignore[misc]
    """A user's key for the API. Only its digest is stored; the key itself is shown once, when it is made."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="auth_token_set")
    name = models.CharField(max_length=100, blank=True)
    #: The scopes, each a column.
    may_read = models.BooleanField(default=True, db_default=True)
    may_submit = models.BooleanField(default=True, db_default=True)
    may_decide = models.BooleanField(default=True, db_default=True)
    may_administer = models.BooleanField(default=True, db_default=True)
    #: The one organization of its owner's in which it sees and does anything; null: all of them. Named, not imported:
    #: this room doesn't know organizations.
    organization = models.ForeignKey("jobs.Organization", models.CASCADE, null=True, blank=True, related_name="+")
    last_used_at = models.DateTimeField(null=True)
    last_used_from = models.GenericIPAddressField(null=True)

    class Meta:
        verbose_name = "API key"
        ordering = ["-created"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(may_read=True)
                | models.Q(may_submit=True)
                | models.Q(may_decide=True)
                | models.Q(may_administer=True),
                name="key_has_a_scope",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.token_key[:8]}… of {self.user}"

    @property
    def is_expired(self) -> bool:
        return self.expiry is not None and bool(self.expiry <= timezone.now())

    @property
    def scopes(self) -> list[str]:
        return [scope.value for scope in Scope if getattr(self, f"may_{scope}")]


class Loop(models.Model):
    """The state of one background loop, and its lease."""

    name = models.CharField(primary_key=True, max_length=60)
    interval_seconds = models.FloatField()
    enabled = models.BooleanField(default=True)
    #: When it was enabled at this interval: a loop that was enabled just now is not late.
    wanted_since = models.DateTimeField(null=True)
    #: Held while a run goes on, so that a slow run is not doubled; runs out, so that a killed one blocks nobody.
    lease_token = models.CharField(max_length=32, null=True)
    lease_until = models.DateTimeField(null=True)
    last_started_at = models.DateTimeField(null=True)
    last_finished_at = models.DateTimeField(null=True)
    last_duration_ms = models.FloatField(null=True)
    last_outcome = models.CharField(max_length=20, blank=True)
    last_result = models.JSONField(null=True)
    last_error = models.TextField(blank=True)
    last_machine = models.CharField(max_length=100, blank=True)
    #: When a run without work was last recorded.
    last_recorded_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def is_running(self, now: datetime) -> bool:
        return self.lease_until is not None and self.lease_until > now

    def is_late(self, now: datetime) -> bool:
        """Whether it is enabled, and has not begun a run for more than two of its intervals."""
        last_beat = max((at for at in (self.last_started_at, self.wanted_since) if at), default=None)
        if not self.enabled or last_beat is None or self.is_running(now):
            return False
        return now - last_beat > timedelta(seconds=2 * self.interval_seconds)


class LoopRun(models.Model):
    """One run of a loop, kept for a day."""

    loop = models.ForeignKey(Loop, models.CASCADE, related_name="runs")
    started_at = models.DateTimeField(default=timezone.now)
    duration_ms = models.FloatField()
    outcome = models.CharField(max_length=20)
    result = models.JSONField(null=True)
    error = models.TextField(blank=True)
    correlation_id = models.CharField(max_length=128)
    machine = models.CharField(max_length=100)

    class Meta:
        indexes = [
            # The admin's list of a loop's runs, and the daily prune.
            models.Index(fields=["loop", "-started_at"], name="run_by_loop"),
            models.Index(fields=["started_at"], name="run_by_age"),
        ]

    def __str__(self) -> str:
        return f"Run of {self.loop_id}"


class Preferences(models.Model):
    """A user's preferences; no row: the defaults."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="preferences")
    time_zone = models.CharField(
        max_length=60, blank=True, help_text="For example Europe/Berlin. Empty: the browser's."
    )
    theme = models.CharField(
        max_length=5, blank=True, default="", db_default="", help_text="light or dark. Empty: the browser's."
    )
    #: Names of columns, separated by commas; empty: the list's own choice.
    list_columns = models.CharField(max_length=200, blank=True, default="", db_default="")

    class Meta:
        verbose_name_plural = "preferences"

    def __str__(self) -> str:
        return f"of {self.user}"


class MutedMail(models.Model):
    """A kind of mail that a user doesn't want."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="muted_mail")
    kind = models.CharField(max_length=40)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "kind"], name="muted_once")]

    def __str__(self) -> str:
        return f"no {self.kind} to {self.user}"


class LimitUse(models.Model):
    """What one person has asked for under one limit: no row, nothing yet."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="limit_uses")
    limit = models.CharField(max_length=40)
    #: Of a limit on requests: each one that is let through moves this Unix time on by its share of a minute. It is at
    #: most a minute ahead.
    used_until = models.FloatField(default=0.0)
    #: When a request was last refused, and when the log last told of one.
    refused_at = models.DateTimeField(null=True)
    logged_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            # Two requests at once that are both the first: one row.
            models.UniqueConstraint(fields=["user", "limit"], name="one_use_a_limit"),
        ]
        indexes = [
            # The admin's filter: who was refused something lately.
            models.Index(fields=["refused_at"], name="limit_refused", condition=models.Q(refused_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.limit} of {self.user}"


class Brake(models.Model):
    """How often somebody tried in vain lately, by account, browser or address. No row: never. Times are Unix times."""

    #: The kind, and a digest of whose it is: what was typed for a name may be a password.
    key = models.CharField(primary_key=True, max_length=80)
    failures = models.FloatField(default=0.0)
    failed_at = models.FloatField(default=0.0)
    paused_until = models.FloatField(default=0.0)

    class Meta:
        indexes = [
            # The housekeeping, which deletes the old ones.
            models.Index(fields=["failed_at"], name="brake_by_age"),
        ]

    def __str__(self) -> str:
        return self.key.partition(":")[0]


class SiteProcess(models.Model):
    """A web or background process of the site, as of its last heartbeat. One that ends in order removes its row."""

    id = models.CharField(primary_key=True, max_length=32)
    machine = models.CharField(max_length=100)
    role = models.CharField(max_length=20)
    pid = models.PositiveIntegerField()
    version = models.CharField(max_length=40)
    #: A fingerprint of our source files: two machines can run different code under one version.
    code = models.CharField(max_length=12)
    started_at = models.DateTimeField()
    #: By the database's clock, as all ages are.
    seen_at = models.DateTimeField()
    #: How far the machine's clock is ahead of the database's, in seconds; null: they have the same clock.
    clock_offset_seconds = models.FloatField(null=True)
    #: A digest of its SECRET_KEY: with another key a machine can't read the tasks and the secrets of the others.
    key_digest = models.CharField(max_length=12, blank=True, default="", db_default="")

    class Meta:
        ordering = ["machine", "role", "started_at"]

    def __str__(self) -> str:
        return f"{self.role} on {self.machine}"


class StreamCount(models.Model):
    """How many event streams each user has open in one web process, as the process last said."""

    #: The name under which it tells: a process has another one each time that its first stream is opened.
    process = models.CharField(primary_key=True, max_length=32)
    machine = models.CharField(max_length=100)
    #: By the user's id as text.
    by_user = models.JSONField(default=dict)
    #: A process that says nothing for some time has died, and its streams with it.
    told_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"streams of {self.process} on {self.machine}"


class FirstLink(models.Model):
    """The one link that makes the site's first account, by the digest of its token. A newer one takes its place."""

    THE_ONE = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=THE_ONE)
    token_digest = models.CharField(max_length=64)
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_first_link")]

    def __str__(self) -> str:
        return f"until {self.expires_at:%Y-%m-%d %H:%M} UTC"
