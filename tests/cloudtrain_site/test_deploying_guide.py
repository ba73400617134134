"""docs/deploying.md: the backup lines, run as they stand, and what nginx is told."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import textwrap
from pathlib import Path

import pytest

from jobs.datasets.store import UPLOAD_LIMIT_BYTES
from tests.cloudtrain_site.conftest import ROOT
from tests.servers import missing

GUIDE = (ROOT / "docs" / "deploying.md").read_text()
BACKUPS = GUIDE[GUIDE.index("## Backups") : GUIDE.index("## Upgrades")]
LINES = [line.strip() for line in BACKUPS.splitlines() if line.startswith("    ")]
NGINX = textwrap.dedent(GUIDE[GUIDE.index("    server {") : GUIDE.index("* `client_max_body_size`")])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder as the first start makes it."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "secret_key").write_text("k")
    with sqlite3.connect(folder / "cloudtrain.sqlite3") as database:
        database.execute("CREATE TABLE kept (id)")
    database.close()
    return folder


def back_up(data: Path) -> set[str]:
    """Run the lines; what they copied, by path. Raises CalledProcessError for the first that fails."""
    if shutil.which("sqlite3") is None:
        missing("sqlite3")
    copy = data.parent / "backup"
    copy.mkdir()
    for line in LINES:
        command = line.replace("/var/lib/cloudtrain", str(data)).replace("/backup", str(copy))
        subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True)
    return {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}


def test_a_site_without_uploads_or_jobs_is_backed_up(data: Path) -> None:
    assert len(LINES) == 2
    assert back_up(data) == {"cloudtrain.sqlite3", "secret_key"}


def test_everything_that_is_there_is_backed_up(data: Path) -> None:
    for name in ("jobs/1/train.log", "uploads/2.zip", "static/page.css"):
        (data / name).parent.mkdir(parents=True)
        (data / name).touch()
    assert back_up(data) == {"cloudtrain.sqlite3", "secret_key", "jobs/1/train.log", "uploads/2.zip"}


def test_a_key_that_is_kept_elsewhere_is_no_failure(data: Path) -> None:
    (data / "secret_key").unlink()
    assert back_up(data) == {"cloudtrain.sqlite3"}


def test_what_cannot_be_copied_fails_loudly(data: Path) -> None:
    (data / "jobs").mkdir()
    (data.parent / "backup").mkdir()
    (data.parent / "backup" / "jobs").touch()
    command = LINES[1].replace("/var/lib/cloudtrain", str(data)).replace("/backup", str(data.parent / "backup"))
    assert subprocess.run(["sh", "-c", command], capture_output=True).returncode != 0


def block(location: str) -> str:
    return NGINX.split(f"location {location} {{")[1].split("}")[0]


def test_nginx_buffers_everything_but_uploads() -> None:
    assert "proxy_request_buffering off;" in block("= /api/cloud/uploads")
    assert NGINX.count("proxy_request_buffering") == 1


def test_nginx_takes_what_the_site_takes() -> None:
    sizes = re.findall(r"client_max_body_size (\d+)m;", NGINX)
    assert sizes == ["16", "101"]
    assert int(sizes[1]) * 2**20 > UPLOAD_LIMIT_BYTES


def test_nginx_reads_the_example(tmp_path: Path) -> None:
    nginx = shutil.which("nginx")
    if nginx is None:
        pytest.skip("nginx is not on this machine")
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=train.example.org"]
    subprocess.run([*request, "-out", tmp_path / "pem", "-keyout", tmp_path / "key"], check=True, capture_output=True)
    example = NGINX.replace("/etc/ssl/train.example.org.pem", str(tmp_path / "pem"))
    example = example.replace("/etc/ssl/private/train.example.org.key", str(tmp_path / "key"))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    own = "".join(f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in kinds) + "access_log off;\n"
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{\n{own}{example}}}\n")
    done = subprocess.run([nginx, "-t", "-c", tmp_path / "nginx.conf"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
