"""Each request has a requirement for each rule that holds its job. Older ones get their one, as they said it."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

import cloudtrain_site.names
from approvals.migrations import _beside_0_1
from cloudtrain_site.database.retired import RetireField

BATCH = 500
#: What moves from a request to its requirement and back.
MOVED = ("rule_id", "reviewer_group_id", "reviewer_role", "approvals_needed", "self_approval")
READ = ("pk", "rule_name", "reason", "requested_at", "expires_at", "status", "bypassed", "kept_from_id")


def in_batches(rows):
    """Yield the rows in the order of their keys, some at a time."""
    batch = list(rows[:BATCH])
    while batch:
        yield batch
        batch = list(rows.filter(pk__gt=batch[-1].pk)[:BATCH])


def fill(apps, schema_editor):
    requests = apps.get_model("approvals", "ApprovalRequest").objects.order_by("pk")
    for batch in in_batches(requests.select_related("kept_from").only(*READ, *MOVED, "kept_from__requested_at", "kept_from__expires_at")):
        give_requirements(apps, batch)
    run_deferred_checks(schema_editor)


def give_requirements(apps, requests):
    Requirement, Decision = (apps.get_model("approvals", name) for name in ("Requirement", "Decision"))
    approvals = {}
    for decision in Decision.objects.filter(request__in=requests, verdict="approve", bypass=False).order_by("pk"):
        approvals.setdefault(decision.request_id, []).append(decision)
    made = Requirement.objects.bulk_create(
        requirement_of(Requirement, request, len(approvals.get(request.pk, ()))) for request in requests
    )
    Counted = Decision.counted_for.through
    Counted.objects.bulk_create(
        Counted(decision=decision, requirement=requirement)
        for requirement in made
        for decision in approvals.get(requirement.request_id, ())[: requirement.approvals_given]
    )


def requirement_of(model, request, approvals):
    moved = {name: getattr(request, name) for name in MOVED}
    if request.reviewer_group_id is not None:
        moved["reviewer_role"] = ""
    # An approval of which no decision was stored (they weren't, once) or that was kept for a retry is complete.
    complete = request.status == "approved" and not request.bypassed
    count = request.approvals_needed if complete else min(approvals, request.approvals_needed)
    fields = {"rule_name": request.rule_name, "reason": request.reason, "approvals_given": count}
    return model(request_id=request.pk, position=0, expires_after_hours=hours_of(request), **fields, **moved)


def hours_of(request):
    """The life that its rule gave the request. One that was kept for a retry has the deadline of the one before."""
    first = request.kept_from or request
    return max(1, round((first.expires_at - first.requested_at).total_seconds() / 3600))


def take_back(apps, schema_editor):
    """The version before knows one rule of a request: the first."""
    requests, Requirement = (apps.get_model("approvals", name).objects for name in ("ApprovalRequest", "Requirement"))
    for batch in in_batches(Requirement.filter(position=0).order_by("pk")):
        for requirement in batch:
            moved = {name: getattr(requirement, name) for name in MOVED}
            moved["reviewer_role"] = moved["reviewer_role"] or "lead"
            requests.filter(pk=requirement.request_id).update(**moved)
    run_deferred_checks(schema_editor)


def run_deferred_checks(schema_editor):
    """PostgreSQL changes no table in a transaction that still has foreign keys of its rows to check."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        schema_editor.execute("SET CONSTRAINTS ALL DEFERRED")


class Migration(migrations.Migration):

    dependencies = [
        ('approvals', '0008_seal_terms'),
        ('auth', '0012_alter_user_first_name_max_length'),
    ]

    operations = [
        migrations.CreateModel(
            name='Requirement',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveSmallIntegerField()),
                ('rule_name', models.CharField(max_length=100)),
                ('reason', models.TextField()),
                ('reviewer_role', models.CharField(blank=True, max_length=20)),
                ('approvals_needed', models.PositiveSmallIntegerField()),
                ('approvals_given', models.PositiveSmallIntegerField(default=0)),
                ('self_approval', models.BooleanField()),
                ('expires_after_hours', models.PositiveIntegerField()),
                ('request', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='requirements', to='approvals.approvalrequest')),
                ('reviewer_group', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='auth.group')),
                ('rule', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='approvals.approvalrule')),
            ],
            options={
                'ordering': ['position'],
            },
        ),
        migrations.AddField(
            model_name='decision',
            name='counted_for',
            field=models.ManyToManyField(related_name='+', to='approvals.requirement'),
        ),
        migrations.AddConstraint(
            model_name='requirement',
            constraint=models.UniqueConstraint(fields=('request', 'position'), name='one_requirement_a_position'),
        ),
        migrations.AddConstraint(
            model_name='requirement',
            constraint=models.CheckConstraint(condition=models.Q(('approvals_given__lte', models.F('approvals_needed'))), name='no_approval_too_many'),
        ),
        migrations.RunPython(fill, take_back),
        RetireField('approvalrequest', 'approvals_needed'),
        RetireField('approvalrequest', 'reviewer_group'),
        RetireField('approvalrequest', 'reviewer_role'),
        RetireField('approvalrequest', 'rule'),
        RetireField('approvalrequest', 'self_approval'),
        _beside_0_1.requests,
        _beside_0_1.decisions,
        migrations.AlterField(
            model_name='approvalrule',
            name='approvals_needed',
            field=models.PositiveSmallIntegerField(default=1, help_text='The number of reviewers who must approve before the rule lets a job go.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(10)]),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='config_name',
            field=models.CharField(blank=True, help_text='Holds jobs whose config has this name, e.g. *full-finetune*. It is no guard: the submitter chooses the name.', max_length=200),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='cost_exceeds',
            field=models.DecimalField(blank=True, decimal_places=4, help_text='Holds jobs that are estimated to cost more US dollars than this, and those whose cost is not known.', max_digits=12, null=True, validators=[django.core.validators.MinValueValidator(0)]),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='enabled',
            field=models.BooleanField(default=True, help_text='A rule that is not enabled holds nothing.'),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='exempt_roles',
            field=models.JSONField(blank=True, default=list, help_text='This rule holds no job of submitters with these roles, e.g. ["lead", "admin"].'),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='expires_after_hours',
            field=models.PositiveIntegerField(default=24, help_text='A request expires after so many hours, and its job is cancelled. An approval covers identical retries as long. Of several rules the shortest time counts.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(8760)]),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='first_job',
            field=models.BooleanField(default=False, help_text='Holds all jobs of a user until one of them has been handed to a provider.'),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='hardware',
            field=models.CharField(blank=True, help_text='Holds jobs on hardware of this name, e.g. gpu-a100*.', max_length=200),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='jobs_in_day_exceed',
            field=models.PositiveIntegerField(blank=True, help_text='Holds each job of a user after this many in 24 hours, counted over all organizations.', null=True),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='name',
            field=models.CharField(max_length=100, validators=[cloudtrain_site.names.readable_name]),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='organization',
            field=models.ForeignKey(blank=True, help_text='The rule holds jobs of this organization; empty: of every organization.', null=True, on_delete=django.db.models.deletion.CASCADE, to='jobs.organization'),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='priority',
            field=models.IntegerField(default=100, help_text='Orders the reasons of a held job, the lowest number first. Every rule that matches counts.'),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='reviewer_group',
            field=models.ForeignKey(blank=True, help_text="If a group is chosen, its members decide instead, as far as they are in the job's organization.", null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='auth.group'),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='reviewer_role',
            field=models.CharField(choices=[('researcher', 'Researcher'), ('lead', 'Lead'), ('admin', 'Admin')], default='lead', help_text="Members of the job's organization with this role or a higher one decide.", max_length=20),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='role_at_most',
            field=models.CharField(blank=True, choices=[('viewer', 'Viewer'), ('researcher', 'Researcher'), ('lead', 'Lead'), ('admin', 'Admin')], help_text='Holds jobs of submitters who have this role in the organization, or a lower one.', max_length=20),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='self_approval',
            field=models.BooleanField(default=False, help_text='A reviewer may decide about their own job, if every other rule that holds it allows that too.'),
        ),
    ]
