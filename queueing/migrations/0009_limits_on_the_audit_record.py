"""Changes of limits are on the audit record alone: those from before it are carried over."""

from django.db import migrations

from cloudtrain_site.database.retired import RetireModel

FIELDS = {"none": None, "true": True, "false": False}
SOURCES = ("api", "admin", "command", "loop")
BATCH = 500


def carry_over(apps, schema_editor):
    records = apps.get_model("cloudtrain_site", "AuditRecord").objects
    # The versions that wrote both gave both the same correlation id.
    on_record = {*records.filter(action="limit_changed").values_list("correlation_id", flat=True)}
    carried = []
    for change in apps.get_model("queueing", "LimitChange").objects.order_by("pk").iterator(BATCH):
        if change.correlation_id not in on_record:
            carried.append(record_of(change, apps, records.model))
    for first in range(0, len(carried), BATCH):
        records.bulk_create(carried[first : first + BATCH])


def record_of(change, apps, model):
    name, _, field = change.name.rpartition(" ")
    kind, key, organization = subject_of(name, apps)
    return model(
        at=change.at,
        action="limit_changed",
        actor=change.actor,
        actor_user_id=change.actor_user_id,
        subject_kind=kind,
        subject_id=str(key),
        subject=name or "Limits of the queue",
        organization_id=organization and organization.pk,
        organization=organization.name if organization else "",
        before={field: value_of(change.old)},
        after={field: value_of(change.new), **({"reason": change.reason} if change.reason else {})},
        source=change.source if change.source in SOURCES else "api",
        address="",
        correlation_id=change.correlation_id,
    )


def subject_of(name, apps):
    """What the limit was of: the queue, a provider or an organization."""
    if not name:
        return "limits", 1, None
    found = apps.get_model("jobs", "Organization").objects.filter(name=name).first()
    if found is None or apps.get_model("queueing", "ProviderLimit").objects.filter(pk=name).exists():
        return "provider limit", name, None
    return "organization", found.pk, found


def value_of(text):
    return int(text) if text.isdigit() else FIELDS.get(text, text)


class Migration(migrations.Migration):

    dependencies = [
        ("queueing", "0008_needs_of_waiting_entries"),
        ("cloudtrain_site", "0005_audit_record"),
        ("jobs", "0037_service_accounts"),
    ]

    operations = [
        migrations.RunPython(carry_over, migrations.RunPython.noop),
        RetireModel(name="LimitChange"),
    ]
