"""docs/deploying.md: what nginx is told."""

from __future__ import annotations

import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

from jobs.datasets.store import UPLOAD_LIMIT_BYTES
from tests.cloudtrain_site.conftest import ROOT

GUIDE = (ROOT / "docs" / "deploying.md").read_text()
NGINX = textwrap.dedent(GUIDE[GUIDE.index("    server {") : GUIDE.index("* `client_max_body_size`")])


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
