"""What a training wrote: a folder of 20,000 files listed, a gallery of 500 pictures, and a 5 GB checkpoint downloaded.

    python -m bench.bench_outputs [--files 20000] [--pictures 500] [--gigabytes 5] [--only listing,gallery]

Listing: the answer of the API, over HTTP, beside `os.walk` with a `stat` of each file; to reach: 200 ms.

Gallery: in a real Chromium that has nothing cached, the time until each picture of the first screen is there, on the
first visit after the end, on later ones, and while it trains, and the requests; to reach: 1 s and 40 requests; beside
it a page that shows each picture as it is.

Download: by curl, from the web process itself and through nginx with CLOUDTRAIN_ACCELERATED_LOCATION, beside nginx
alone with the same file; to reach: half of that, while the web process grows by no more than 50 MB. The checkpoint is a
file with holes, so that no disk is measured.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench.browser import chromium, context_of
from bench.stack import Figure, Stack, StackError, print_table, running_stack
from tests.servers import free_port, wait_for_port

LIST_MS, SCREEN_MS, MAX_REQUESTS, GROWTH_MB = 200, 1000, 40, 50
LEAST_OF_NGINX = 0.5
ROUNDS = 9
PROMPTS = 10
SIDE = 512
WINDOW = {"width": 1280, "height": 800}
LOCATION = "CLOUDTRAIN_ACCELERATED_LOCATION"
#: Milliseconds from the navigation on until each picture of the first screen is drawn.
SCREEN = """() => new Promise((resolve) => {
  const check = () => {
    const shown = [...document.images].filter((image) => {
      const place = image.getBoundingClientRect();
      return place.width && place.top < innerHeight && place.bottom > 0 && !image.closest("dialog");
    });
    if (shown.length && shown.every((image) => image.complete && image.naturalWidth)) resolve(performance.now());
    else requestAnimationFrame(check);
  };
  check();
})"""
NAIVE = """(addresses) => new Promise((resolve) => {
  const began = performance.now();
  document.body.replaceChildren(...addresses.map((address) => Object.assign(new Image(128, 128), { src: address })));
  const check = () => [...document.images].every((image) => image.complete)
    ? resolve(performance.now() - began) : requestAnimationFrame(check);
  check();
})"""
NGINX = """
user root; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; daemon off;
events {{}}
http {{
  access_log off; sendfile on; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location /alone/ {{ alias {output}/; }}
    location /files/ {{ internal; alias /; disable_symlinks on; }}
    location / {{ proxy_pass {site}; proxy_set_header Host localhost; }}
  }}
}}
"""


def make_job(stack: Stack, name: str) -> tuple[Any, Path]:
    """An ended job of this machine, and the folder of its output."""
    from django.contrib.auth.models import User
    from django.utils import timezone

    from jobs.models import Job, Organization
    from jobs.snapshot_fields import end_fields

    now = timezone.now()
    job = Job.objects.create(
        organization=Organization.objects.get(),
        submitted_by=User.objects.get(username="rachel"),
        correlation_id="bench",
        provider="local",
        config_name=name,
        status="completed",
        started_at=now,
        **end_fields(now, now),
    )
    Job.objects.filter(pk=job.pk).update(external_id=job.pk)
    output = stack.folder / "jobs" / job.pk / "output"
    output.mkdir(parents=True)
    return job, output


# --- A folder ----------------------------------------------------------------------------------------------------


def listing(stack: Stack, key: str, files: int) -> Iterator[Figure]:
    job, output = make_job(stack, "many-files")
    for number in range(files):
        if number % 200 == 0:
            folder = output / f"checkpoint-{number}"
            folder.mkdir()
        (folder / f"part-{number}.bin").touch()
    with stack.client(key) as client:
        address = f"/api/cloud/jobs/{job.pk}/outputs"
        assert len(client.get(address).json()["outputs"]) == files
        used = web_seconds()
        times = [_took(lambda: client.get(address)) for _ in range(ROUNDS)]
        used = (web_seconds() - used) * 1000 / ROUNDS
    walks = [_took(lambda: _walk(output)) for _ in range(ROUNDS)]
    yield Figure(f"a folder of {files:,} files, listed: median", median(times), "ms", median(walks), LIST_MS)
    yield Figure("processor time of the web process for it", used, "ms", target=LIST_MS)


def _walk(output: Path) -> int:
    return sum(os.stat(f"{folder}/{name}").st_size for folder, _, names in os.walk(output) for name in names)


def _took(act: Any) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


# --- A gallery -----------------------------------------------------------------------------------------------------


def gallery(stack: Stack, pictures: int) -> Iterator[Figure]:
    unseen = make_unseen(stack, pictures)
    job, output = make_job(stack, "many-pictures")
    names = paint(output, pictures)
    end(job, stack)
    with chromium() as browser:
        visit(browser, stack, unseen)  # so that the site and the browser have done all of it once
        first, requests = visit(browser, stack, job)
        later = [visit(browser, stack, job) for _ in range(5)]
        unprepared, _ = visit(browser, stack, make_unseen(stack, pictures))
        naive = visit_naive(browser, stack, job, names)
    yield Figure(f"{pictures} pictures, first screen, first visit ever", first, "ms", naive, SCREEN_MS)
    yield Figure("the same while it trains, nothing prepared", unprepared, "ms", naive)
    yield Figure("the same on a later visit: median", median(took for took, _ in later), "ms", naive, SCREEN_MS)
    yield Figure("requests, first visit ever", requests, "", pictures, MAX_REQUESTS)
    yield Figure("requests on a later visit", max(count for _, count in later), "", pictures, MAX_REQUESTS)


def make_unseen(stack: Stack, pictures: int) -> Any:
    """A job whose pictures nobody made small: what somebody sees who looks while it trains."""
    job, output = make_job(stack, "still-training")
    paint(output, pictures)
    return job


def end(job: Any, stack: Stack) -> None:
    """Tell the site of its end, as the poller does, and wait for what that has made."""
    from cloudtrain_site.states import SYSTEM, Source, change_state
    from jobs.models import Job
    from jobs.outputs.thumbnails import root_of

    Job.objects.filter(pk=job.pk).update(status="running", completed_at=None)
    job.refresh_from_db()
    assert change_state(job, "completed", actor=SYSTEM, source=Source.POLL, completed_at=job.started_at)
    stack.until(lambda: len(list(root_of(job).glob("*-640.webp"))) > 0)


def paint(output: Path, pictures: int) -> list[str]:
    from PIL import Image

    folder = output / "validation_images"
    folder.mkdir()
    names = []
    for number in range(pictures):
        step, prompt = divmod(number, PROMPTS)
        names.append(f"validation_images/step_{(step + 1) * 100}_prompt-{prompt}.png")
        noise = Image.effect_noise((SIDE, SIDE), 10 + number % 50)
        Image.merge("RGB", (noise, noise.rotate(90), noise.rotate(180))).save(output / names[-1], compress_level=1)
    return names


def visit(browser: Any, stack: Stack, job: Any) -> tuple[float, int]:
    page = context_of(browser, stack, "rachel", viewport=WINDOW).new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{stack.url}/jobs/{job.pk}/results", wait_until="commit")
    took = float(page.evaluate(SCREEN))
    page.wait_for_load_state("load")
    page.wait_for_timeout(500)
    page.context.close()
    return took, len(requests)


def visit_naive(browser: Any, stack: Stack, job: Any, names: list[str]) -> float:
    page = context_of(browser, stack, "rachel", viewport=WINDOW).new_page()
    page.goto(f"{stack.url}/jobs/{job.pk}", wait_until="load")
    took = float(page.evaluate(NAIVE, [f"/api/cloud/jobs/{job.pk}/outputs/{name}" for name in names]))
    page.context.close()
    return took


# --- A checkpoint ----------------------------------------------------------------------------------------------------


def download(stack: Stack, key: str, gigabytes: float, *, accelerated: bool) -> Iterator[Figure]:
    job, output = make_job(stack, "large-checkpoint")
    checkpoint = output / "model.safetensors"
    with checkpoint.open("wb") as file:
        file.truncate(int(gigabytes * 1_000_000_000))
    path = f"/api/cloud/jobs/{job.pk}/outputs/model.safetensors"
    with nginx(stack, output) as front:
        fetch(f"{front}/alone/model.safetensors", key)  # so that the file is in the cache, if it fits
        alone = fetch(f"{front}/alone/model.safetensors", key)
        before = web_memory()
        rate = fetch(f"{front if accelerated else stack.url}{path}", key)
        growth = web_memory() - before
    checkpoint.unlink()
    name = "through nginx, accelerated" if accelerated else "from the web process itself"
    yield Figure(f"{gigabytes:g} GB {name}", rate, "MB/s", alone, alone * LEAST_OF_NGINX, at_least=True)
    yield Figure("the web process grew by", growth, "MB", target=GROWTH_MB)


def fetch(address: str, key: str) -> float:
    """MB a second."""
    command = ["curl", "-sSf", "-o", "/dev/null", "-w", "%{speed_download}", "-H", f"X-API-Key: {key}", address]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1_000_000


def web_processes() -> list[Path]:
    from cloudtrain_site.models import SiteProcess

    return [Path(f"/proc/{pid}") for pid in SiteProcess.objects.filter(role="web").values_list("pid", flat=True)]


def web_seconds() -> float:
    """The processor time so far of all web processes."""
    fields = [(process / "stat").read_text().rpartition(")")[2].split() for process in web_processes()]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


def web_memory() -> float:
    """The peak so far of all web processes' memory, in MB."""
    texts = [(process / "status").read_text() for process in web_processes()]
    peaks = [line for text in texts for line in text.splitlines() if line.startswith("VmHWM:")]
    if not peaks:
        raise StackError("No web process is known.")
    return sum(int(line.split()[1]) for line in peaks) / 1000


@contextmanager
def nginx(stack: Stack, output: Path) -> Iterator[str]:
    port, folder = free_port(), stack.folder / "nginx"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    values = {"folder": folder, "output": output, "site": stack.url, "port": port}
    (folder / "nginx.conf").write_text(NGINX.format(**values))
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    with subprocess.Popen([binary, "-c", str(folder / "nginx.conf"), "-e", str(folder / "start.log")]) as process:
        try:
            wait_for_port(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


# --- The table -------------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--gigabytes", type=float, default=5)
    parser.add_argument("--only", default="listing,gallery,download,accelerated")
    options = parser.parse_args()
    chosen = options.only.split(",")
    if "accelerated" in chosen and len(chosen) > 1:
        # The web process reads the setting when it starts, and this process is set up for one site.
        chosen.remove("accelerated")
        rest = [f"--files={options.files}", f"--pictures={options.pictures}", f"--gigabytes={options.gigabytes}"]
        again = [sys.executable, "-m", "bench.bench_outputs", *rest]
        return max(subprocess.call([*again, f"--only={one}"]) for one in (",".join(chosen), "accelerated"))
    os.environ.pop(LOCATION, None)
    if "accelerated" in chosen:
        os.environ[LOCATION] = "/files/"
    with running_stack() as stack:
        found = list(figures(stack, options, chosen))
    return print_table("What a training wrote", found)


def figures(stack: Stack, options: argparse.Namespace, chosen: list[str]) -> Iterator[Figure]:
    key = stack.make_member("rachel", "researcher")
    if "listing" in chosen:
        yield from listing(stack, key, options.files)
    if "gallery" in chosen:
        yield from gallery(stack, options.pictures)
    if "download" in chosen or "accelerated" in chosen:
        yield from download(stack, key, options.gigabytes, accelerated="accelerated" in chosen)


if __name__ == "__main__":
    sys.exit(main())
