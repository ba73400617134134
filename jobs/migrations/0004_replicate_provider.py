"""Replicate as it comes: its profiles at the prices of its price page. No training before the operator sets a token."""

from datetime import date

from django.db import migrations

RATES = {"h100": 0.001525, "l40s": 0.000975}


def add_replicate(apps, schema_editor):
    prices = {gpu: rate for gpu, rate in RATES.items()}
    prices |= {f"{gpu}-x{count}": round(rate * count, 6) for gpu, rate in RATES.items() for count in (2, 4, 8)}
    apps.get_model("jobs", "ProviderConfig").objects.get_or_create(
        name="replicate",
        defaults={
            "default_hardware": "h100",
            "cost_per_second": prices,
            "prices_as_of": date(2026, 11, 22),
            "seconds_per_step": 1.0,
        },
    )


class Migration(migrations.Migration):
    dependencies = [("jobs", "0003_replicate")]
    operations = [migrations.RunPython(add_replicate, migrations.RunPython.noop)]
