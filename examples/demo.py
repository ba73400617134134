"""The main job, end to end, before your eyes: `make demo`.

Starts the embedded default in a data folder of its own, makes two users, submits a config over HTTP, shows why it is
held, approves it as the other user, follows the training to its end, and tells where to look. Ctrl-C ends it;
`DEMO_EXIT=1` ends it by itself, with an exit code that tells whether everything went well.

`make demo PROVIDER=replicate` does the same with Replicate, or rather with a stand-in that is started for it: the
training is ordered over HTTP, and signed webhooks tell how it goes. `PROVIDER=slurm` and `PROVIDER=ray` start the real
Slurm or Ray on this machine and train there.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

from examples.clusters import demo as clusters
from examples.clusters.demo import Cluster
from examples.clusters.processes import MissingProgramError
from examples.ending import ENDING, stop, uninterrupted

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("DEMO_DATA") or ROOT / "var" / "demo")
LOG = DATA / "cloudtrain.log"
#: "local" trains on this machine, "replicate" at a stand-in for Replicate, "slurm" and "ray" on a private cluster.
KIND = os.environ.get("DEMO_PROVIDER") or "local"
CLUSTERS = {"slurm": "slurm-demo", "ray": "ray-demo"}
PROVIDER = CLUSTERS.get(KIND, KIND)
PLACES = {"local": "on this machine", "replicate": "at Replicate", "slurm": "on Slurm", "ray": "on Ray"}
CONFIG = DATA / "simpletuner-enterprise.yaml"
PORT = int(os.environ.get("DEMO_PORT", "8001"))
SITE = f"http://127.0.0.1:{PORT}"
CORRELATION_ID = f"demo-{secrets.token_hex(4)}"
#: Of every kind of characters, in case the site asks for one, and a letter first: a hyphen would begin an option.
PASSWORD = f"Demo_7{secrets.token_hex(9)}"
START_SECONDS = 180.0
TRAINING_SECONDS = 150.0
ENDED = ("completed", "failed", "cancelled")


class DemoFailedError(Exception):
    """The demo did not come out as it should; the message says how."""


def say(text: str = "") -> None:
    """One line for the person who watches."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def step(title: str) -> None:
    """A heading."""
    say(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n{title}")


def manage(*arguments: str) -> str:
    """Run a management command on the demo's data. Returns what it prints."""
    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    done = subprocess.run(command, env=environment(), cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoFailedError(f"manage.py {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def environment() -> dict[str, str]:
    """Ours, with a data folder and a log file for the demo alone."""
    own = {"SIMPLETUNER_DATA_DIR": str(DATA), "SIMPLETUNER_LOG_FILE": str(LOG), "SIMPLETUNER_LOG_LEVEL": "INFO"}
    if CONFIG.exists():
        own["SIMPLETUNER_ENTERPRISE_CONFIG"] = str(CONFIG)
    kept = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    return {**kept, **own}


def start_stand_in() -> subprocess.Popen[str]:
    """Start the stand-in for Replicate, and lead whatever is started after it there."""
    command = [sys.executable, "-m", "examples.fake_replicate", "--data", str(DATA / "replicate")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise DemoFailedError(f"The stand-in for Replicate ended with {process.wait()}.")
    address = json.loads(line)
    os.environ.update(REPLICATE_BASE_URL=address["url"], REPLICATE_API_TOKEN=address["token"])
    return process


def start_cluster() -> Cluster:
    """Start a real cluster, which the demo's configuration file then declares. Raises DemoFailedError without it."""
    try:
        return clusters.start_cluster(KIND, PROVIDER, DATA, CONFIG)
    except (MissingProgramError, TimeoutError, subprocess.SubprocessError) as error:
        raise DemoFailedError(f"{KIND.capitalize()} could not be started: {error}") from error


def empty_folder() -> None:
    """Forget the demo before."""
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)


def start_stack() -> subprocess.Popen[bytes]:
    """Start `manage.py up`."""
    output = (DATA / "up.out").open("wb")
    command = [sys.executable, str(ROOT / "manage.py"), "up", "--port", str(PORT)]
    return subprocess.Popen(command, env=environment(), cwd=ROOT, stdout=output, stderr=output, start_new_session=True)


def wait_until_ready(process: subprocess.Popen[Any]) -> None:
    """Return when what was started serves. Raises DemoFailedError when it ends, or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DemoFailedError((DATA / "up.out").read_text().strip().splitlines()[-1])
        if is_ready():
            return
        time.sleep(0.2)
    raise DemoFailedError(f"The server did not answer within {START_SECONDS:.0f} s; see {DATA / 'up.out'}.")


def is_ready() -> bool:
    """Whether the server takes requests."""
    try:
        return httpx.get(f"{SITE}/api/cloud/health/ready", timeout=2).is_success
    except httpx.HTTPError:
        return False


def client_for(user: str) -> httpx.Client:
    """A client that speaks for `user`, with a new API key."""
    key = manage("create_api_key", user, "--name", "demo", "--days", "1").splitlines()[-1]
    return httpx.Client(base_url=SITE, headers={"X-API-Key": key}, timeout=30)


def answer(response: httpx.Response) -> dict[str, Any]:
    """The body of a good answer."""
    if response.is_error:
        raise DemoFailedError(f"{response.request.method} {response.request.url}: {response.text}")
    body: dict[str, Any] = response.json()
    return body


def submit(alice: httpx.Client, name: str, correlation_id: str) -> dict[str, Any]:
    """Submit one of the example configs."""
    config = json.loads((ROOT / "examples" / f"{name}.json").read_text())
    dataloader = json.loads((ROOT / "examples" / "dataloader.json").read_text())
    body = {"config": config, "dataloader_config": dataloader, "config_name": name}
    headers = {"X-Correlation-ID": correlation_id}
    return answer(alice.post(f"/api/cloud/jobs/submit?provider={PROVIDER}", json=body, headers=headers))


def follow(alice: httpx.Client, job_id: str) -> dict[str, Any]:
    """Show the training's progress until it ends, told by the event stream."""
    with tqdm(total=100, unit="%", bar_format="  {desc:<32} {bar:30} {n:3.0f} %", file=sys.stdout) as bar:
        for event in stream(alice) if PROVIDER == "local" else looks(alice, job_id):
            if event.get("job_id") != job_id:
                continue
            job: dict[str, Any] = answer(alice.get(f"/api/cloud/jobs/{job_id}"))["job"]
            bar.set_description_str(f"{job['status']}: {job['stage'] or 'starting'}")
            bar.n = job["progress"] or 0
            bar.refresh()
            if job["status"] in ENDED:
                return job
    raise DemoFailedError("The event stream ended before the training did.")


def looks(client: httpx.Client, job_id: str) -> Iterator[dict[str, Any]]:
    """What a look at a training elsewhere says, once a second: webhooks tell of its start and its end alone."""
    deadline = time.monotonic() + TRAINING_SECONDS
    while time.monotonic() < deadline:
        yield answer(client.get(f"/api/cloud/jobs/{job_id}/inline-progress"))
        time.sleep(1)
    raise DemoFailedError(f"The training took longer than {TRAINING_SECONDS:.0f} s.")


def wait_for_end(client: httpx.Client, job_id: str) -> dict[str, Any]:
    """The job once it has ended."""
    deadline = time.monotonic() + TRAINING_SECONDS
    while time.monotonic() < deadline:
        job: dict[str, Any] = answer(client.get(f"/api/cloud/jobs/{job_id}"))["job"]
        if job["status"] in ENDED:
            return job
        time.sleep(0.2)
    raise DemoFailedError("The cancelled job did not end.")


def wait_for_log(client: httpx.Client, job_id: str) -> None:
    """Return when the whole log is there: a provider's is fetched after the training's end."""
    deadline = time.monotonic() + TRAINING_SECONDS
    while not answer(client.get(f"/api/cloud/jobs/{job_id}/logs"))["complete"]:
        if time.monotonic() > deadline:
            raise DemoFailedError("The log did not become complete.")
        time.sleep(0.5)


def stream(client: httpx.Client) -> Iterator[dict[str, Any]]:
    """The news of the event stream, for as long as a training may take."""
    deadline = time.monotonic() + TRAINING_SECONDS
    with client.stream("GET", "/api/events", timeout=httpx.Timeout(10, read=30)) as lines:
        for line in lines.iter_lines():
            if time.monotonic() > deadline:
                raise DemoFailedError(f"The training took longer than {TRAINING_SECONDS:.0f} s.")
            if line.startswith("data: {"):
                event: dict[str, Any] = json.loads(line.removeprefix("data: "))
                yield event


def open_webhooks() -> None:
    """Tell the site at which address Replicate reaches it."""
    manage("createsuperuser", "--noinput", "--username", "root", "--email", "root@localhost")
    with client_for("root") as root:
        answer(root.put("/api/cloud/providers/replicate", json={"webhook_url": SITE}))
        validation = answer(root.get("/api/cloud/providers/replicate/validate"))
    say(f"  {validation['message']} It sends signed webhooks to {SITE}/api/webhooks/replicate")
    if not validation["valid"]:
        raise DemoFailedError(validation["message"])


def show_cost(alice: httpx.Client, job_id: str) -> None:
    """What a training elsewhere cost, how that came about, and that webhooks told of it."""
    job = answer(alice.get(f"/api/cloud/jobs/{job_id}"))["job"]
    price = job["metadata"]["price"]
    say(
        f"  {price['seconds']:.1f} s on {price['hardware']} at ${price['usd_per_second']} a second "
        f"(as of {price['as_of']}): ${job['cost_usd']:.4f}"
    )
    events = answer(alice.get(f"/api/cloud/jobs/{job_id}/events"))["events"]
    statuses = [event["new"] for event in events if (event["subject"], event["source"]) == ("job", "webhook")]
    say(f"  Webhooks told that it is {', '.join(statuses)}")
    if "completed" not in statuses:
        raise DemoFailedError("No webhook told of its end.")


def show_history(alice: httpx.Client, job_id: str) -> None:
    """Every line of the job's history."""
    for event in answer(alice.get(f"/api/cloud/jobs/{job_id}/events"))["events"]:
        move = f"{event['old'] or 'new'} -> {event['new']}"
        say(
            f"  {event['at'][11:23]}  {event['subject']:<12} {move:<24} {event['actor']:<11} {event['reason'] or ''}"[
                :118
            ]
        )


def show_log(correlation_id: str) -> int:
    """The log lines of the submission, found as the operating guide finds them. Returns how many."""
    found = [
        json.loads(line) for line in LOG.read_text().splitlines() if f'"correlation_id": "{correlation_id}"' in line
    ]
    for line in found:
        say(f"  {line['timestamp'][11:23]}  {line['level']:<8} {line['logger']:<30} {line['message']}"[:118])
    return len(found)


def show_loss(alice: httpx.Client, job_id: str) -> None:
    """The loss before and after. Raises DemoFailedError when nothing was learned."""
    losses = answer(alice.get(f"/api/cloud/jobs/{job_id}/metrics"))["series"]["loss"]
    (first_step, first), (last_step, last) = losses[0], losses[-1]
    say(f"  step {first_step}: {first:.4f}    step {last_step}: {last:.4f}")
    if last >= first:
        raise DemoFailedError("The loss did not go down.")


def show_results(alice: httpx.Client, job_id: str) -> None:
    """Where what the training wrote is, and how much that is."""
    outputs = answer(alice.get(f"/api/cloud/jobs/{job_id}/outputs"))["outputs"]
    pictures = sum(output["kind"] == "image" for output in outputs)
    say(f"  {pictures} pictures and {len(outputs) - pictures} further files")
    say(f"  {SITE}/jobs/{job_id}/results")


def show_places() -> None:
    """Where to look, and how to get in."""
    say(f"  Dashboard   {SITE}/          alice (researcher) or bob (lead)")
    say(f"  Admin       {SITE}/admin/    bob")
    say(f"  API         {SITE}/api/docs")
    say(f"  Password    {PASSWORD}       for both, good until the next demo")


def run() -> None:
    """The demo. Raises DemoFailedError."""
    step("Two people of one team")
    for name, role in (("alice", "researcher"), ("bob", "lead")):
        output = manage("add_member", name, "acme", role, "--create", "--password", PASSWORD)
        say(f"  {output.splitlines()[-1]}")
    alice, bob = client_for("alice"), client_for("bob")
    if KIND == "replicate":
        open_webhooks()
    if KIND in CLUSTERS:
        step("The machines: manage.py machines")
        say(manage("machines"))

    step("alice submits examples/flux-lora-quick.json")
    submitted = submit(alice, "flux-lora-quick", CORRELATION_ID)
    request = answer(bob.get(f"/api/approvals/{submitted['approval_id']}"))["approval"]
    say(f"  job {submitted['job_id']}: {submitted['status']}, held by the rule {request['rule']!r}")
    say(f"  {request['reason']} Somebody has until {request['expires_at']} to decide.")

    step(f"bob approves it, and it trains {PLACES[KIND]}")
    answer(bob.post(f"/api/approvals/{request['id']}/approve", json={"reason": "welcome"}))
    job = follow(alice, submitted["job_id"])
    if job["status"] != "completed":
        raise DemoFailedError(f"The job is {job['status']}: {job['error_message']}")
    wait_for_log(alice, submitted["job_id"])
    if KIND == "replicate":
        show_cost(alice, submitted["job_id"])

    step("alice submits examples/sdxl-lora.json, which no rule holds any more")
    second = submit(alice, "sdxl-lora", f"{CORRELATION_ID}-2")
    place = second["queue_position"]
    say(f"  job {second['job_id']}: {'it starts at once' if place is None else f'place {place} in the queue'}")
    answer(alice.post(f"/api/cloud/jobs/{second['job_id']}/cancel", json={"reason": "only a demo"}))
    ended = wait_for_end(alice, second["job_id"])
    say(f"  alice has had enough: it is {ended['status']}")

    step("The first job's history")
    show_history(alice, submitted["job_id"])
    step(f'Its log lines: grep \'"correlation_id": "{CORRELATION_ID}"\' {os.path.relpath(LOG, ROOT)}')
    if not show_log(CORRELATION_ID):
        raise DemoFailedError("No log line has the correlation id.")
    step("Its loss")
    show_loss(alice, submitted["job_id"])
    step("Its results, with a picture of each validation")
    show_results(alice, submitted["job_id"])


def check_provider() -> None:
    """Raise DemoFailedError for a provider that there is no demo of."""
    if KIND not in PLACES:
        raise DemoFailedError(f"There is no demo with {KIND!r}: PROVIDER is one of {', '.join(PLACES)}.")


def stay() -> None:
    """Wait for Ctrl-C."""
    say("\nCtrl-C ends the demo.")
    try:
        signal.pause()
    except KeyboardInterrupt:
        say()


def main() -> int:
    """Run the demo; the exit code tells whether it went well."""
    # A closed terminal, or an end by `kill`, is to leave no more behind than Ctrl-C does.
    for number in ENDING:
        signal.signal(number, signal.default_int_handler)
    step(f"Starting the embedded default in {os.path.relpath(DATA, ROOT)}")
    with ExitStack() as ends:
        try:
            return show(ends)
        finally:
            # A second Ctrl-C would leave what the first one is about to stop.
            for number in ENDING:
                signal.signal(number, signal.SIG_IGN)


def show(ends: ExitStack) -> int:
    """Show everything; `ends` stops what was started."""
    try:
        check_provider()
        empty_folder()
        if KIND == "replicate":
            with uninterrupted():
                ends.callback(stop, start_stand_in())
        if KIND in CLUSTERS:
            ends.callback(start_cluster().stop)
        with uninterrupted():
            stack = start_stack()
            ends.callback(stop, stack)
        wait_until_ready(stack)
        run()
        step("Look for yourself")
        show_places()
        if os.environ.get("DEMO_EXIT") != "1":
            stay()
    except (DemoFailedError, httpx.HTTPError) as error:
        say(f"\nThe demo failed: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
