"""Names with a hash, compressed and kept for ever by browsers; and who makes them, when, and how often."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from django.contrib.staticfiles import storage
from django.test import Client

from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.serving.static_files import collect
from tests.races import at_once

staticfiles_storage: Any = storage.staticfiles_storage

UNHASHED = "/static/cloudtrain/shell/page.js"
HASHED_NAME = re.compile(r"\.[0-9a-f]{12}\.\w+$")


@pytest.fixture
def source(tmp_path: Path, settings: Any) -> Path:
    """The one file that there is to collect."""
    sources = tmp_path / "sources"
    sources.mkdir()
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.STATICFILES_DIRS = [sources]
    file = sources / "x.css"
    file.write_text("a { color: red }\n" * 100)
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where to collect it."""
    return tmp_path / "collected"


def versions(folder: Path) -> set[Path]:
    return {path for path in folder.iterdir() if path.is_dir()}


def modules() -> dict[str, str]:
    """The script at each address, of all that are ours."""
    names = [
        name for name in staticfiles_storage.hashed_files if re.match(r"(cloudtrain|queueing|approvals)/.*js$", name)
    ]
    assert len(names) > 20
    client = Client()
    return {url: client.get(url).content.decode() for url in map(staticfiles_storage.url, names)}


@pytest.mark.django_db
def test_a_page_names_only_files_that_a_browser_may_keep_for_ever(client: Client) -> None:
    named = re.findall(r'(?:href|src)="(/static/[^"]+)"', client.get("/login").content.decode())
    assert len(named) > 3
    for address in named:
        answer = client.get(address)
        assert answer.status_code == 200
        max_age = re.fullmatch(r"max-age=(\d+), public, immutable", answer["Cache-Control"])
        assert max_age and int(max_age[1]) >= 365 * 24 * 3600


def test_our_scripts_import_the_shell_and_libraries_alone() -> None:
    imported = {
        urljoin(address, name)
        for address, script in modules().items()
        for name in re.findall(r'^import [^;]*?"(\.[^"]+)";', script, re.M)
    }
    shared = ("cloudtrain/shell/bundle.js", "cloudtrain/vendor/codemirror-6/codemirror.min.js")
    assert imported == {staticfiles_storage.url(name) for name in shared}


def test_our_stylesheets_have_what_they_import(client: Client) -> None:
    text = client.get(staticfiles_storage.url("cloudtrain/compare/compare.css")).content.decode()
    assert "@import" not in text
    assert ".uplot" in text and ".job-page" in text


def test_no_script_imports_in_a_form_that_is_not_given_a_hash() -> None:
    for address, script in modules().items():
        for name in re.findall(r"""(?:\bfrom|\bimport|\bimport\()\s*["'](\.[^"']+)["']""", script):
            assert HASHED_NAME.search(name), f"{address} imports {name}"


def test_a_file_is_sent_compressed_to_who_can_read_that(client: Client) -> None:
    address = staticfiles_storage.url("cloudtrain/shell/page.js")
    plain, packed = client.get(address), client.get(address, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert (packed["Content-Encoding"], packed["Vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(packed.content) == plain.content
    assert len(packed.content) < len(plain.content) / 2


def test_a_name_without_a_hash_is_served_and_asked_for_anew_each_time(client: Client) -> None:
    answer = client.get(UNHASHED)
    assert (answer.status_code, answer["Cache-Control"]) == (200, "max-age=0, public")
    again = client.get(UNHASHED, headers={"If-None-Match": answer["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_wrong_hash_is_not_found(client: Client) -> None:
    assert client.get("/static/cloudtrain/shell/page.000000000000.js").status_code == 404


def test_files_are_collected_once(source: Path, folder: Path) -> None:
    first = collect(folder)
    names = {path.name for path in first.iterdir()}
    hashed = json.loads((first / "staticfiles.json").read_text())["paths"]["x.css"]
    assert names == {"staticfiles.json", hashed, f"{hashed}.gz"}
    (first / hashed).write_text("left alone")
    assert collect(folder) == first
    assert (first / hashed).read_text() == "left alone"


def test_other_content_is_collected_anew_even_when_size_and_time_are_the_same(source: Path, folder: Path) -> None:
    first, at = collect(folder), source.stat()
    source.write_text(source.read_text().replace("red", "tan"))
    os.utime(source, ns=(at.st_atime_ns, at.st_mtime_ns))
    second = collect(folder)
    assert second != first
    assert versions(folder) == {first, second}  # whoever serves the former goes on


def test_only_the_version_before_is_kept(source: Path, folder: Path) -> None:
    made = []
    for colour in ("red", "tan", "blue"):
        source.write_text(f"a {{ color: {colour} }}")
        made.append(collect(folder))
        os.utime(made[-1], (len(made), len(made)))
    assert versions(folder) == set(made[1:])


@pytest.mark.django_db
def test_processes_that_start_at_once_agree(source: Path, folder: Path) -> None:
    assert len(set(at_once(*[lambda: collect(folder)] * 4))) == 1
    assert len(versions(folder)) == 1


def test_what_a_killed_process_left_is_no_harm(source: Path, folder: Path) -> None:
    left = folder / "draft" / "x.css"
    left.mkdir(parents=True)
    assert (collect(folder) / "staticfiles.json").exists()
    assert not left.exists()


def test_a_folder_that_cannot_be_used_is_a_sentence(source: Path, folder: Path) -> None:
    folder.touch()
    with pytest.raises(ConfigurationError, match="can't be used"):
        collect(folder)


@pytest.mark.slow
def test_collectstatic_gives_a_proxy_the_same_names(tmp_path: Path) -> None:
    environment = {**os.environ, "STATIC_ROOT": str(tmp_path), "CLOUDTRAIN_ROLE": "worker"}
    command = [sys.executable, "manage.py", "collectstatic", "--no-input"]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
    collected = json.loads((tmp_path / "staticfiles.json").read_text())["paths"]
    ours = staticfiles_storage.hashed_files
    assert {name: collected[name] for name in ours} == ours
