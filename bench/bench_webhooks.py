"""How many signed webhooks one web process takes in, judges, keeps and applies.

    python -m bench.bench_webhooks [--seconds 30] [--rate 320]

The web server and the background tasks as we run them, on SQLite, and a sender that posts a start and an end for each
of many jobs, whole predictions as Replicate signs them, at a fixed rate that no slow answer slows down. Every delivery
must be answered with 200 and be found applied afterwards. The sender and the background take their share of the
machine too: on two cores look at the load.
To reach: 300 a second for 30 s, none lost; half of them, and 99 in a hundred, answered in under 50 ms.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FOLDER = tempfile.mkdtemp(prefix="cloudtrain-bench-")
os.environ.update(SIMPLETUNER_DATA_DIR=FOLDER, SIMPLETUNER_LOG_LEVEL="ERROR", SECRET_KEY="only-for-the-bench")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cloudtrain_site.settings")

import django  # noqa: E402

django.setup()

import httpx  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.utils import timezone  # noqa: E402

from bench.ending import end_as_by_ctrl_c  # noqa: E402
from bench.stack import Figure, percentile, print_table  # noqa: E402
from examples.fake_replicate.process import FakeReplicateProcess  # noqa: E402
from jobs.models import Job, ProviderConfig, WebhookDelivery  # noqa: E402
from tests.servers import free_port  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30
APPLY_SECONDS = 180
CONNECTIONS = 24
TICKS = os.sysconf("SC_CLK_TCK")
LOG = "step 1/10\n" * 20
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"


def make_jobs(count: int) -> list[str]:
    ids = [f"bench{number:021d}" for number in range(count)]
    Job.objects.bulk_create(
        Job(
            provider="replicate",
            external_id=external_id,
            status="queued",
            hardware_profile="h100",
            config_name="bench",
            correlation_id="bench",
            submission_started_at=timezone.now(),
        )
        for external_id in ids
    )
    return ids


def body_of(external_id: str, status: str) -> str:
    """A prediction as Replicate tells of it."""
    api = f"https://api.replicate.com/v1/predictions/{external_id}"
    ended = status == "succeeded"
    body: dict[str, Any] = {
        "id": external_id,
        "model": "simpletuner/advanced-trainer-h100",
        "version": VERSION,
        "input": {"config_json": json.dumps({"model_type": "lora", "max_train_steps": 1000, "seed": 42})},
        "logs": LOG,
        "output": "https://huggingface.co/acme/bench" if ended else None,
        "data_removed": False,
        "error": None,
        "status": status,
        "source": "api",
        "created_at": "2026-01-05T16:19:34.765Z",
        "started_at": "2026-01-05T16:19:34.779176123Z",
        "completed_at": "2026-01-05T17:19:34.791859123Z" if ended else None,
        "metrics": {"predict_time": 3600.012683} if ended else {},
        "urls": {"get": api, "cancel": f"{api}/cancel", "web": f"https://replicate.com/p/{external_id}"},
        "webhook": "https://train.example.org/api/webhooks/replicate",
        "webhook_events_filter": ["start", "completed"],
    }
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def send_all(port: int, secret: str, ids: list[str], rate: float) -> dict[str, Any]:
    """What the sender found."""
    bodies = [body_of(one, status) for status in ("processing", "succeeded") for one in ids]
    plan = {"port": port, "secret": secret, "rate": rate, "connections": CONNECTIONS, "bodies": bodies}
    command = [sys.executable, "-m", "bench.webhook_sender"]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps(plan), stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/api/cloud/health/live").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError("the web server did not start")


def _stat(pid: str) -> list[str]:
    """Of a process, from its state on; its parent is the next."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def processor_seconds(pid: int) -> float:
    """What a process and all that came of it, ended or not, have used so far."""
    stats = {int(entry.name): stat for entry in Path("/proc").glob("[0-9]*") if (stat := _stat(entry.name))}
    used, family = 0, {pid}
    while found := {one for one, stat in stats.items() if one in family or int(stat[1]) in family} - family:
        family |= found
    for one in family & stats.keys():
        used += sum(map(int, stats[one][11:15]))
    return used / TICKS


def wait_until_at_rest(pid: int) -> None:
    """Until it has started: that belongs to no delivery."""
    deadline, used, before = time.monotonic() + START_SECONDS, math.inf, 0.0
    while used - before > 0.1 and time.monotonic() < deadline:
        before = processor_seconds(pid)
        time.sleep(1)
        used = processor_seconds(pid)


def wait_until_applied() -> float:
    """Seconds until nothing is left to apply."""
    started = time.perf_counter()
    while time.perf_counter() - started < APPLY_SECONDS and WebhookDelivery.objects.filter(outcome="").exists():
        time.sleep(0.2)
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how webhooks are taken in.")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=320.0)
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    # Nobody delivers without one; and where there is one, nothing is polled.
    ProviderConfig.objects.update_or_create(pk="replicate", defaults={"webhook_url": "https://train.example.org"})
    ids = make_jobs(int(options.seconds * options.rate / 2))
    end_as_by_ctrl_c()
    with FakeReplicateProcess.start() as fake:
        os.environ.update(REPLICATE_BASE_URL=fake.url, REPLICATE_API_TOKEN=fake.token)
        port = free_port()
        web = subprocess.Popen([sys.executable, "-m", "cloudtrain_site.web", "--port", str(port)], cwd=ROOT)
        background = subprocess.Popen([sys.executable, "manage.py", "background"], cwd=ROOT)
        processes = {"web": web.pid, "background": background.pid, "stand-in for Replicate": fake.process.pid}
        try:
            wait_until_ready(f"http://127.0.0.1:{port}")
            wait_until_at_rest(background.pid)
            before = {name: processor_seconds(pid) for name, pid in processes.items()}
            found = send_all(port, fake.webhook_secret, ids, options.rate)
            used = {"web": processor_seconds(web.pid) - before["web"]}
            later = wait_until_applied()
            used |= {name: processor_seconds(pid) - before[name] for name, pid in processes.items() if name != "web"}
        finally:
            for process in (background, web):
                process.terminate()
                process.wait(START_SECONDS)
    return _report(found, len(ids), used, later)


def _report(found: dict[str, Any], jobs: int, used: dict[str, float], later: float) -> int:
    took, sent = [seconds * 1000 for seconds in found["took"]] or [math.inf], 2 * jobs
    kept = WebhookDelivery.objects.exclude(outcome="").values("delivery_id").distinct().count()
    ended = Job.objects.filter(status="completed", log_size=len(LOG), log_due_at=None).count()
    return print_table(
        f"{sent} signed deliveries at a fixed rate, over {CONNECTIONS} connections, on SQLite",
        [
            Figure("answered a second", len(took) / found["seconds"], target=300, at_least=True),
            Figure("lost, or answered with anything but 200", sent - len(took) + found["refused"], target=0),
            Figure("kept, but not applied", sent - kept, target=0),
            Figure("jobs that have not ended, with their logs", jobs - ended, target=0),
            Figure("answered in, median", statistics.median(took), "ms", target=50),
            Figure("answered in, 99 %", percentile(took, 99), "ms", target=50),
            Figure("answered in, the slowest", max(took), "ms"),
            Figure("applied after the last one was answered", later * 1000, "ms"),
            *(Figure(f"a delivery costs: {name}", each / sent * 1e6, "us") for name, each in used.items()),
            Figure("a delivery costs: sender", found["worked"] / sent * 1e6, "us"),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
