"""Archives from strangers: what is kept, what is refused, and what never leaves its folder."""

from __future__ import annotations

import io
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest

from cloudtrain_site import archives
from cloudtrain_site.archives import ArchiveError, check, unpack
from jobs.providers.datasets import StoppedError, TransferProgress
from tests.dataset_archives import PICTURES, make_link, make_pax_bomb, make_tar, make_zip

HONEST = {"zip": make_zip(), "tar": make_tar(), "tar.gz": make_tar("w:gz")}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return tmp_path / "outside"


def put(folder: Path, data: bytes) -> Path:
    path = folder / "archive"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", HONEST)
def test_an_honest_archive_is_looked_through_and_opened(tmp_path: Path, kind: str) -> None:
    path, progress = put(tmp_path, HONEST[kind]), TransferProgress(19)
    found = check(path)
    assert (found.kind, found.files, found.unpacked_size) == (kind, 2, 19)
    assert unpack(path, tmp_path / "there", progress.advance) == found
    there = tmp_path / "there"
    assert {str(file.relative_to(there)): file.read_bytes() for file in there.rglob("*.txt")} == PICTURES
    assert progress.done == 19


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/tmp/outside", "..\\outside", "C:/outside", "\\x"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, outside: Path, kind: str, name: str) -> None:
    info = zipfile.ZipInfo("x")
    info.filename = name
    path = put(tmp_path, make_zip({info: b"x"}) if kind == "zip" else make_tar(files={name: b"x"}))
    with pytest.raises(ArchiveError, match="would be unpacked outside"):
        check(path)
    with pytest.raises(ArchiveError):
        unpack(path, tmp_path / "in" / "there", TransferProgress(1).advance)
    assert not outside.exists()
    assert not list((tmp_path / "in" / "there").iterdir())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    path = put(tmp_path, make_tar(type=kind, linkname="../outside"))
    with pytest.raises(ArchiveError, match="'odd' is a link or a device"):
        check(path)


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="is a link or a device"):
        check(put(tmp_path, make_zip({make_link("/etc"): b"/etc"})))


WORTHLESS = {
    "nothing": b"",
    "text": b"no archive at all " * 100,
    "half a zip": HONEST["zip"][:-30],
    "half a tar": make_tar(files={"a": bytes(100_000)})[:50_000],
    "half a gzip": HONEST["tar.gz"][:-10],
    "a flipped zip": make_zip({"a": b"x" * 100}, zipfile.ZIP_STORED).replace(b"x" * 100, b"x" * 99 + b"y"),
    "only folders": make_zip({"a/": b""}),
    "bzip2": make_zip(method=zipfile.ZIP_BZIP2),
    "a negative size": make_tar(size=-512, name="a"),
}


@pytest.mark.parametrize("name", WORTHLESS)
def test_what_is_no_whole_archive_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchiveError):
        check(put(tmp_path, WORTHLESS[name]))


def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 100_000)
    bomb = put(tmp_path, make_zip({"a": bytes(60_000), "b": bytes(60_000)}))
    with pytest.raises(ArchiveError, match="at most 50,000 files"):
        check(bomb)
    with pytest.raises(ArchiveError, match="at most 50,000 files"):
        unpack(bomb, tmp_path / "there", TransferProgress(1).advance)
    assert sum(file.stat().st_size for file in (tmp_path / "there").iterdir()) <= 100_000


def test_a_zip_that_holds_more_than_it_says_is_refused(tmp_path: Path) -> None:
    honest = make_zip({"a": bytes(100_000)})
    lie = honest.replace((100_000).to_bytes(4, "little"), (1).to_bytes(4, "little"))
    with pytest.raises(ArchiveError):
        check(put(tmp_path, lie))


def test_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILES", 10)
    with pytest.raises(ArchiveError, match="at most 10 files"):
        check(put(tmp_path, make_tar(files={str(number): b"x" for number in range(11)})))
    with pytest.raises(ArchiveError, match="too many folders"):
        check(put(tmp_path, make_zip({f"{number}/": b"" for number in range(22)})))


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError):
        check(put(tmp_path, make_pax_bomb()))


@pytest.mark.parametrize("name", ["x" * 256, "x/" * 600])
def test_a_name_that_no_disk_takes_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchiveError, match="too long"):
        check(put(tmp_path, make_tar(files={name: b"x"})))


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_backslashes_of_windows_are_folders(tmp_path: Path, kind: str) -> None:
    files = {"cats\\1.txt": b"one", "cats\\old\\2.txt": b"two"}
    path = put(tmp_path, make_zip({"cats\\": b"", **files}) if kind == "zip" else make_tar(files=files))
    assert check(path).files == 2
    unpack(path, tmp_path / "there", TransferProgress(6).advance)
    assert (tmp_path / "there" / "cats" / "1.txt").read_bytes() == b"one"
    assert (tmp_path / "there" / "cats" / "old" / "2.txt").read_bytes() == b"two"
    assert [place.name for place in (tmp_path / "there").iterdir()] == ["cats"]


COLLISIONS = [
    ["a", "a/b"],
    ["a/b", "a"],
    ["a", "a!", "a/b/c"],
    ["a", "a", "a\\b"],
    ["./a", "a//b"],
    ["a/", "a"],
    ["b/a", "b/a/"],
    ["b", "."],
]


@pytest.mark.parametrize("names", COLLISIONS)
def test_a_file_where_a_folder_must_be_is_refused_before_it_is_kept(tmp_path: Path, names: list[str]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings(action="ignore"):
        for name in names:
            archive.writestr(name, "")
    with pytest.raises(ArchiveError, match="is a file and a folder at the same time"):
        check(put(tmp_path, buffer.getvalue()))


@pytest.mark.parametrize("names", [["a", "ab/c", "a!"], ["a/", "a/b", "a/c"], ["a/b", "a/"], ["./", "./a", "b/a"]])
def test_files_beside_and_in_folders_are_taken(tmp_path: Path, names: list[str]) -> None:
    assert check(put(tmp_path, make_zip(dict.fromkeys(names, b"")))).kind == "zip"


def test_names_that_are_too_long_together_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_NAME_CHARACTERS", 100)
    assert check(put(tmp_path, make_tar(files={"a" * 50: b"", "b" * 50: b""}))).files == 2
    with pytest.raises(ArchiveError, match="too long together"):
        check(put(tmp_path, make_tar(files={"a" * 50: b"", "b" * 51: b""})))


def test_a_file_in_the_way_of_a_folder_is_said_so(tmp_path: Path) -> None:
    path = put(tmp_path, make_tar(files={"a": b"x", "a/b": b"y"}))
    with pytest.raises(ArchiveError, match="a file and a folder"):
        unpack(path, tmp_path / "there", TransferProgress(2).advance)


def test_unpacking_can_be_stopped(tmp_path: Path) -> None:
    progress = TransferProgress(19)
    progress.stop()
    with pytest.raises(StoppedError):
        unpack(put(tmp_path, HONEST["zip"]), tmp_path / "there", progress.advance)
