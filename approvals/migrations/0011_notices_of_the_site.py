"""The mails about requests are notices of the site now: those that wait are carried over."""

from django.db import migrations
from django.utils import timezone

from approvals.migrations import _beside_0_1
from cloudtrain_site.database.retired import RetireModel

KINDS = {"asked": "approval_requested", "half_time": "approval_reminder", "last_call": "approval_reminder"}
BATCH = 500


def carry_over(apps, schema_editor):
    waiting = apps.get_model("approvals", "Notice").objects.filter(done_at=None).select_related("request")
    carried = apps.get_model("notices", "Notice")
    rows = []
    for notice in waiting.order_by("pk").iterator(BATCH):
        rows.append(
            carried(
                kind=KINDS.get(notice.kind, f"approval_{notice.request.status}"),
                key=f"approval {notice.request_id} {notice.kind}",
                subject=notice.kind,
                data={"approval_id": notice.request_id, "occasion": notice.kind},
                organization_id=notice.request.organization_id,
                job_id=notice.request.job_id,
                created_at=timezone.now(),
                due_at=notice.due_at,
                correlation_id=notice.correlation_id,
            )
        )
        if len(rows) == BATCH:
            carried.objects.bulk_create(rows, ignore_conflicts=True)
            rows = []
    carried.objects.bulk_create(rows, ignore_conflicts=True)


class Migration(migrations.Migration):

    dependencies = [
        ("approvals", "0010_fuse"),
        ("notices", "0001_notices"),
    ]

    operations = [
        migrations.RunPython(carry_over, migrations.RunPython.noop),
        RetireModel(name="Notice"),
        _beside_0_1.notices,
    ]
