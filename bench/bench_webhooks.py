"""How many signed webhooks one web process takes in, judges, keeps and applies.

    python -m bench.bench_webhooks [--seconds 30] [--rate 300]

The web server and the background tasks as we run them, on SQLite, and a sender that posts a start and an end for each
of many jobs at the wished rate, each as Replicate signs it. Every delivery must be answered with 200 and be found
applied afterwards. The sender and the background take their share of the machine too: on two cores look at the load.
To reach: 300 a second for 30 s, none lost; half of them answered in under 50 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FOLDER = tempfile.mkdtemp(prefix="cloudtrain-bench-")
os.environ.update(SIMPLETUNER_DATA_DIR=FOLDER, SIMPLETUNER_LOG_LEVEL="ERROR", SECRET_KEY="only-for-the-bench")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cloudtrain_site.settings")

import django  # noqa: E402

django.setup()

import httpx  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.utils import timezone  # noqa: E402

from cloudtrain_site.http_client import get_async_client  # noqa: E402
from jobs.models import Job, WebhookDelivery  # noqa: E402
from tests.fake_replicate.process import FakeReplicateProcess  # noqa: E402
from tests.servers import free_port  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30
APPLY_SECONDS = 180
TICKS = os.sysconf("SC_CLK_TCK")


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


def signed(secret: str, delivery: str, body: bytes) -> dict[str, str]:
    stamp = str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = hmac.new(key, f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": delivery,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
        "content-type": "application/json",
    }


async def send_all(url: str, secret: str, ids: list[str], rate: float) -> tuple[list[float], int, float]:
    """Seconds of each answer, how many were no 200, and how long it took in all."""
    took: list[float] = []
    refused = 0
    deliveries = [(one, status) for status in ("processing", "succeeded") for one in ids]
    begin = time.perf_counter()
    async with get_async_client(base_url=url) as client:

        async def send(place: int, external_id: str, status: str) -> None:
            nonlocal refused
            await asyncio.sleep(max(0.0, place / rate - (time.perf_counter() - begin)))
            body = json.dumps({"id": external_id, "status": status, "logs": "step 1/10\n" * 20}).encode()
            headers = signed(secret, f"msg_{place}", body)
            started = time.perf_counter()
            answer = await client.post("/api/webhooks/replicate", content=body, headers=headers)
            took.append(time.perf_counter() - started)
            refused += answer.status_code != 200

        bound = asyncio.Semaphore(40)

        async def bounded(place: int, external_id: str, status: str) -> None:
            async with bound:
                await send(place, external_id, status)

        async with asyncio.TaskGroup() as group:
            for place, (external_id, status) in enumerate(deliveries):
                group.create_task(bounded(place, external_id, status))
    return took, refused, time.perf_counter() - begin


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


def processor_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def wait_until_applied() -> float:
    """Seconds until nothing is left to apply."""
    started = time.perf_counter()
    while time.perf_counter() - started < APPLY_SECONDS and WebhookDelivery.objects.filter(outcome="").exists():
        time.sleep(0.2)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how webhooks are taken in.")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=300.0)
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    ids = make_jobs(int(options.seconds * options.rate / 2))
    with FakeReplicateProcess.start() as fake:
        os.environ.update(REPLICATE_BASE_URL=fake.url, REPLICATE_API_TOKEN=fake.token)
        port = free_port()
        web = subprocess.Popen([sys.executable, "-m", "cloudtrain_site.web", "--port", str(port)], cwd=ROOT)
        background = subprocess.Popen([sys.executable, "manage.py", "background"], cwd=ROOT)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url)
            before = processor_seconds(web.pid)
            took, refused, seconds = asyncio.run(send_all(url, fake.webhook_secret, ids, options.rate))
            used, load = processor_seconds(web.pid) - before, os.getloadavg()[0]
            later = wait_until_applied()
        finally:
            for process in (background, web):
                process.terminate()
                process.wait(START_SECONDS)
    kept = WebhookDelivery.objects.exclude(outcome="").count()
    ended = Job.objects.filter(status="completed").count()
    print(
        f"{len(took)} deliveries in {seconds:.1f} s: {len(took) / seconds:.0f} a second, {refused} refused, "
        f"{kept} applied; {ended} of {len(ids)} jobs ended\n"
        f"answered in {statistics.median(took) * 1000:.0f} ms (half), "
        f"{statistics.quantiles(took, n=20)[-1] * 1000:.0f} ms (95 %); all applied {later:.1f} s after the last\n"
        f"the web process used {used / len(took) * 1000:.2f} ms a delivery; the machine's load was {load:.1f}"
    )


if __name__ == "__main__":
    main()
