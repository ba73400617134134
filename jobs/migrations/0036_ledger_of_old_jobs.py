"""Jobs from before the ledger get their entries: what each has cost, on the day of its end, or so far, and what is held.

Some rows at a time, each batch whole or not at all; what was done stays done when it is stopped.
"""

from datetime import UTC
from decimal import Decimal

from django.db import migrations, transaction
from django.db.models import Q
from django.utils import timezone

from cloudtrain_site.audit.triggers import append_only

BATCH = 500
ZERO = Decimal(0)
READ = (
    *("pk", "organization_id", "submitted_by_id", "provider", "hardware_profile", "config_name", "status"),
    *("cost_usd", "cost_doubt", "completed_at", "submission_started_at", "estimated_cost_usd"),
)
AT_PROVIDER = ("uploading", "queued", "running")


def held_for(job):
    """Return what an active job may still cost, by its estimate."""
    is_taken = job["status"] in AT_PROVIDER or job["submission_started_at"]
    if job["completed_at"] or not is_taken or job["estimated_cost_usd"] is None:
        return ZERO
    return max(ZERO, job["estimated_cost_usd"] - job["cost_usd"])


def shared(job):
    return {
        "job_id": job["pk"],
        "organization_id": job["organization_id"],
        "user_id": job["submitted_by_id"],
        "provider": job["provider"],
        "hardware": job["hardware_profile"],
    }


def rows_of(job, now):
    """Return its entries as (kind, amount, source), and the moment that they are of."""
    amounts = [("settle" if job["completed_at"] else "accrue", job["cost_usd"], "unpriced" if job["cost_doubt"] else "before")]
    if not job["cost_usd"] and not job["cost_doubt"]:
        amounts = []
    held = held_for(job)
    return [*amounts, *([("reserve", held, "estimate")] if held else [])], min(job["completed_at"] or now, now)


def write_batch(apps, jobs):
    entries, accounts, days = [], [], []
    now = timezone.now()
    for job in jobs:
        amounts, at = rows_of(job, now)
        if not amounts:
            continue
        common, day = shared(job), at.astimezone(UTC).date()
        for sequence, (kind, amount, source) in enumerate(amounts, start=1):
            entry = {"sequence": sequence, "kind": kind, "amount": amount, "at": at, "day": day, "source": source}
            entries.append(apps.get_model("jobs", "LedgerEntry")(**common, **entry))
        is_unpriced, settled_at = bool(job["cost_doubt"]), now if job["completed_at"] else None
        sums = {"spent": job["cost_usd"], "held": held_for(job), "entries": len(amounts), "is_unpriced": is_unpriced}
        account = {**common, **sums, "counted_until": at, "settled_at": settled_at}
        accounts.append(apps.get_model("jobs", "JobAccount")(**account))
        if amounts[0][0] != "reserve":
            day_cost = {"day": day, "config_name": job["config_name"], "spent": job["cost_usd"]}
            days.append(apps.get_model("jobs", "DayCost")(**common, **day_cost, is_unpriced=is_unpriced))
    with transaction.atomic():
        for rows in (entries, accounts, days):
            if rows:
                type(rows[0]).objects.bulk_create(rows)


def enter(apps, schema_editor):
    costly = Q(cost_usd__gt=0) | Q(cost_doubt__isnull=False) | Q(completed_at=None)
    jobs = apps.get_model("jobs", "Job").objects.filter(costly, account=None)
    last = ""
    while batch := list(jobs.filter(pk__gt=last).order_by("pk").values(*READ)[:BATCH]):
        write_batch(apps, batch)
        last = batch[-1]["pk"]


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0035_ledger"), ("cloudtrain_site", "0005_audit_record")]
    operations = [
        migrations.RunPython(enter, migrations.RunPython.noop),
        append_only("jobs_ledgerentry", "Ledger entries are never edited or deleted."),
    ]
