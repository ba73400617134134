"""Indexes that another begins with, and those that PostgreSQL got for LIKE, which nothing asks: each row paid for them."""

from django.conf import settings
from django.db import migrations
from django.db.models import CASCADE, ForeignKey

from cloudtrain_site.database.online_indexes import DropIndexesOnline


class Migration(migrations.Migration):

    dependencies = [
        ('approvals', '0018_requirement_by_role'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        DropIndexesOnline(
            'approvals_approvalrequest_job_id_76606fd7_like',
            'approvals_approvalrequest_organization_id_cce59a15',
            'approvals_approvalrequest_requested_by_id_8bc46cdb',
            'approvals_decision_request_id_b886f0d6',
            'approvals_requirement_request_id_48104302',
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField('approvalrequest', 'organization', ForeignKey(db_index=False, null=True, on_delete=CASCADE, related_name='+', to='jobs.organization')),
                migrations.AlterField('approvalrequest', 'requested_by', ForeignKey(db_index=False, null=True, on_delete=CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
                migrations.AlterField('decision', 'request', ForeignKey(db_index=False, on_delete=CASCADE, related_name='decisions', to='approvals.approvalrequest')),
                migrations.AlterField('requirement', 'request', ForeignKey(db_index=False, on_delete=CASCADE, related_name='requirements', to='approvals.approvalrequest')),
            ],
        ),
    ]
    # PostgreSQL drops an index beside a running site outside of a transaction alone.
    atomic = False
