"""A folder that a trainer writes, read without leaving it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from jobs.outputs.folder import NotFoundError, OutputFolder


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    root = tmp_path / "output"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "deep" / "er" / "b.txt").write_text("bb")
    (tmp_path / "secret.txt").write_text("secret")
    return OutputFolder(root)


def paths_in(folder: OutputFolder, below: str = "") -> list[str]:
    return [file.path for file in folder.files(below)]


def test_every_file_is_listed_with_its_size(folder: OutputFolder) -> None:
    assert [(file.path, file.size) for file in folder.files()] == [("a.txt", 1), ("deep/er/b.txt", 2)]


def test_a_folder_is_listed_alone(folder: OutputFolder) -> None:
    assert paths_in(folder, "deep/er") == ["deep/er/b.txt"]
    assert paths_in(folder, "/deep/") == ["deep/er/b.txt"]


def test_a_file_is_opened(folder: OutputFolder) -> None:
    opened = folder.open("deep/er/b.txt")
    assert os.pread(opened.descriptor, 10, 0) == b"bb"
    opened.close()


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "../secret.txt", "deep/../a.txt", "/etc/passwd", "none", "deep", "a.txt/b", "a\x00b", "a//b"],
)
def test_what_is_no_file_inside_is_not_opened(folder: OutputFolder, path: str) -> None:
    with pytest.raises(NotFoundError):
        folder.open(path)


@pytest.mark.parametrize("path", ["..", "../output", "deep/..", "none", "a.txt", "\x00", "x/" * 40])
def test_what_is_no_folder_inside_is_not_listed(folder: OutputFolder, path: str) -> None:
    with pytest.raises(NotFoundError):
        paths_in(folder, path)


def test_no_link_is_followed(folder: OutputFolder, tmp_path: Path) -> None:
    (folder.root / "file").symlink_to(tmp_path / "secret.txt")
    (folder.root / "folder").symlink_to(tmp_path)
    assert paths_in(folder) == ["a.txt", "deep/er/b.txt"]
    for path in ("file", "folder/secret.txt"):
        with pytest.raises(NotFoundError):
            folder.open(path)
    with pytest.raises(NotFoundError):
        paths_in(folder, "folder")


def test_an_output_that_is_a_link_is_none(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert not OutputFolder(tmp_path / "link").exists()
    with pytest.raises(NotFoundError):
        paths_in(OutputFolder(tmp_path / "link"))


def test_devices_and_pipes_are_left_out(folder: OutputFolder) -> None:
    os.mkfifo(folder.root / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder.root / "s"))
        assert paths_in(folder) == ["a.txt", "deep/er/b.txt"]
        for path in ("pipe", "s"):
            with pytest.raises(NotFoundError):
                folder.open(path)


def test_a_name_that_no_address_holds_is_left_out(folder: OutputFolder) -> None:
    Path(os.fsdecode(os.fsencode(folder.root) + b"/\xff.txt")).write_text("x")
    (folder.root / "line\nbreak 🎨.txt").write_text("x")
    assert paths_in(folder) == ["a.txt", "deep/er/b.txt", "line\nbreak 🎨.txt"]


def test_a_folder_that_is_replaced_by_a_link_meanwhile_leads_nowhere(
    folder: OutputFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def replace_and_open(path: str, flags: int, **options: int) -> int:
        if path == "deep":
            (folder.root / "deep").rename(tmp_path / "moved")
            (folder.root / "deep").symlink_to(tmp_path)
        return opened(path, flags, **options)

    monkeypatch.setattr("jobs.outputs.folder.os.open", replace_and_open)
    assert [file.path for file in folder.files()] == ["a.txt"]
    assert (tmp_path / "moved").exists()
