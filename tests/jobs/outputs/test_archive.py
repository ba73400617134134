"""A folder as a zip that is made while it is sent."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from jobs.outputs.archive import zip_of
from jobs.outputs.folder import OutputFolder


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / "state.json").write_text("{}")
    (tmp_path / "checkpoint-5" / "big.bin").write_bytes(os.urandom(2_500_000))
    (tmp_path / "result.json").write_text("[]")
    return OutputFolder(tmp_path)


def test_a_zip_has_every_file(folder: OutputFolder) -> None:
    pieces = list(zip_of(folder, "", list(folder.files())))
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["checkpoint-5/big.bin", "checkpoint-5/state.json", "result.json"]
        assert archive.read("checkpoint-5/big.bin") == (folder.root / "checkpoint-5/big.bin").read_bytes()
    assert max(map(len, pieces)) < 1_100_000  # it is never in memory as a whole


def test_a_folder_in_it_is_the_top_of_its_own_zip(folder: OutputFolder) -> None:
    data = b"".join(zip_of(folder, "checkpoint-5", list(folder.files("checkpoint-5"))))
    assert zipfile.ZipFile(io.BytesIO(data)).namelist() == ["big.bin", "state.json"]


def test_what_changes_meanwhile_spoils_no_zip_and_is_said(folder: OutputFolder) -> None:
    (folder.root / "INCOMPLETE.txt").write_text("the trainer's")
    (folder.root / "a\u202etxt").touch()
    files = list(folder.files())
    (folder.root / "a\u202etxt").unlink()
    (folder.root / "result.json").write_text("[1, 2, 3]")
    os.utime(folder.root / "result.json", (0, 0))
    pieces = []
    for piece in zip_of(folder, "", files):
        pieces.append(piece)
        if len(b"".join(pieces)) > 1_000_000:
            os.truncate(folder.root / "checkpoint-5" / "big.bin", 1_200_000)
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        kept = ["INCOMPLETE.txt", "checkpoint-5/big.bin", "checkpoint-5/state.json", "result.json", "_INCOMPLETE.txt"]
        assert archive.namelist() == kept
        assert archive.getinfo("checkpoint-5/big.bin").file_size == 1_200_000
        assert archive.read("_INCOMPLETE.txt").decode().splitlines()[2:] == ["a_txt", "checkpoint-5/big.bin"]
        assert archive.read("result.json") == b"[1, 2, 3]"
        assert archive.getinfo("result.json").date_time == (1980, 1, 1, 0, 0, 0)


def test_an_empty_folder_is_an_empty_zip(tmp_path: Path) -> None:
    assert zipfile.ZipFile(io.BytesIO(b"".join(zip_of(OutputFolder(tmp_path), "", [])))).namelist() == []


def test_no_name_leads_out_of_the_folder_of_whoever_unpacks_it(tmp_path: Path) -> None:
    for name in ("..\\..\\evil.bat", ".._.._evil.bat", "C:\\evil.bat", "a\nb.txt", "\u202etxt.exe"):
        (tmp_path / name).write_text("x")
    folder = OutputFolder(tmp_path)
    with zipfile.ZipFile(io.BytesIO(b"".join(zip_of(folder, "", list(folder.files()))))) as archive:
        names = [".._.._evil.bat", "_.._.._evil.bat", "C:_evil.bat", "a\nb.txt", "\u202etxt.exe"]
        assert sorted(archive.namelist()) == sorted(names)
