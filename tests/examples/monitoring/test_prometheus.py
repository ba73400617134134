"""A real Prometheus scrapes a running site, with a key and from a network, and answers every query of the board."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.cloudtrain_site.process_stacks import START_SECONDS, Stack, migrated, wait_until  # noqa: F401
from tests.examples.monitoring.test_queries import EXAMPLES, RULES, queries_of_board
from tests.servers import find_binary, free_port, missing
from tests.site import Site, running_site

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.sqlite]


@contextmanager
def prometheus(folder: Path, target: str, key: str) -> Iterator[httpx.Client]:
    """Prometheus with our example's configuration, but for the address and how often; and the same without a key."""
    binary = find_binary("prometheus")
    if not binary:
        missing("Prometheus")
    config: dict[str, Any] = yaml.safe_load((EXAMPLES / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (scrape,) = config["scrape_configs"]
    scrape |= {"scheme": "http", "static_configs": [{"targets": [target]}]}
    without = {name: value for name, value in scrape.items() if name != "authorization"}
    config["scrape_configs"].append({**without, "job_name": "without-key"})
    (folder / "prometheus.yml").write_text(json.dumps(config))
    (folder / RULES.name).write_text(RULES.read_text())
    (folder / "cloudtrain.key").write_text(key)
    listen = f"127.0.0.1:{free_port()}"
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={listen}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(binary), *options], cwd=folder, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://{listen}/api/v1", timeout=10) as client:
            yield client
    finally:
        process.terminate()
        process.wait(20)


def ask(client: httpx.Client, query: str) -> list[dict[str, Any]]:
    """The series that answer the query; none while Prometheus starts."""
    try:
        answer = client.get("/query", params={"query": query})
    except httpx.TransportError:
        return []
    if answer.status_code == 503:
        return []
    assert answer.status_code == 200, answer.text
    series: list[dict[str, Any]] = answer.json()["data"]["result"]
    return series


def value(client: httpx.Client, query: str) -> float | None:
    found = ask(client, query)
    return float(found[0]["value"][1]) if found else None


@contextmanager
def site_of(folder: Path, template: Stack) -> Iterator[Site]:
    folder.mkdir()
    with running_site(folder, template) as site:
        yield site


def test_it_scrapes_with_a_key_and_from_a_network_and_answers_the_board(
    tmp_path: Path,
    migrated: Stack,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLOUDTRAIN_METRICS_NETWORKS", "127.0.0.0/8")
    (tmp_path / "prometheus").mkdir()
    with site_of(tmp_path / "site", migrated) as site:
        job_id = site.submit("bob")
        key = site.clients["bob"].headers["X-API-Key"]
        with prometheus(tmp_path / "prometheus", f"127.0.0.1:{site.port}", key) as client:
            site.until(job_id, "completed")
            both = 'count(cloudtrain_jobs{job=~"cloudtrain|without-key", status="completed"} == 1)'
            wait_until(lambda: value(client, both) == 2, START_SECONDS)
            assert value(client, 'sum(up{job=~"cloudtrain|without-key"})') == 2
            answers = {query: ask(client, query) for query, _ in queries_of_board()}
            assert answers['min(up{job="cloudtrain"})'] and answers["sum(cloudtrain_loop_late)"]
            loops = answers["time() - max by (loop) (cloudtrain_loop_last_start_timestamp_seconds)"]
            assert "queue processing" in {one["metric"]["loop"] for one in loops}
            groups = client.get("/rules").json()["data"]["groups"]
            assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}
