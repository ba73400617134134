"""The terms that were asked about hold the fingerprints of their secrets instead of them; approvals stay good."""

from django.db import migrations

from cloudtrain_site.encryption import SecretsLostError, keys, open_sealed, fingerprints, restore_secrets, extract_secrets
from jobs.configs.submission import digest_of

PARTS = ("config", "dataloader_config")
BATCH = 200


def requests_of(apps):
    """Few at a time, since a config may have a megabyte."""
    requests = apps.get_model("approvals", "ApprovalRequest").objects.order_by("pk")
    batch = list(requests.only("job_id", "terms", "config_digest")[:BATCH])
    while batch:
        yield from batch
        batch = list(requests.filter(pk__gt=batch[-1].pk).only("job_id", "terms", "config_digest")[:BATCH])


def change(request, terms):
    fits = request.config_digest == digest_of(request.terms)
    digest = digest_of(terms) if fits else request.config_digest
    type(request).objects.filter(pk=request.pk).update(terms=terms, config_digest=digest)


def seal_all(apps, schema_editor):
    for request in requests_of(apps):
        masked, secrets = extract_secrets({part: request.terms[part] for part in PARTS if part in request.terms})
        if secrets:
            change(request, {**request.terms, **masked, "secrets": fingerprints(secrets)})


def open_all(apps, schema_editor):
    """Those whose job still has their secrets. The others are asked about again."""
    jobs = apps.get_model("jobs", "Job").objects
    for request in requests_of(apps):
        terms = dict(request.terms)
        prints = terms.pop("secrets", None)
        if prints is None:
            continue
        job = jobs.get(pk=request.job_id)
        try:
            secrets = [(path, secret) for path, secret in open_sealed(job.sealed) if path[0] in PARTS]
            if any(fingerprints(secrets, key) == prints for key in keys()):
                change(request, restore_secrets(terms, secrets))
        except SecretsLostError:
            continue


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("approvals", "0007_decided_index"), ("jobs", "0010_seal_secrets")]
    operations = [migrations.RunPython(seal_all, open_all)]
