"""The copy of a checkpoint: whole, from inside of the earlier training's output alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from jobs.providers.runner import checkpoint, records
from jobs.providers.runner.checkpoint import copy_folder, place_checkpoint


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The output of an earlier training."""
    folder = tmp_path / "earlier" / "checkpoint-5" / "inner"
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(os.urandom(3_000_000))
    (folder.parent / "state.json").write_text("{}")
    return tmp_path / "earlier"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a job that begins."""
    (tmp_path / "job" / "output").mkdir(parents=True)
    return tmp_path / "job"


def order(folder: Path, output: Path, path: str = "checkpoint-5") -> dict[str, object] | None:
    (folder / records.CHECKPOINT).write_text(json.dumps({"output": str(output), "path": path}))
    return place_checkpoint(str(folder), str(folder / "output"))


def test_without_an_order_nothing_is_copied(folder: Path) -> None:
    assert place_checkpoint(str(folder), str(folder / "output")) is None
    assert not list((folder / "output").iterdir())


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_copy_is_whole_and_its_own(
    folder: Path, earlier: Path, monkeypatch: pytest.MonkeyPatch, by_hand: bool
) -> None:
    def refuse(*arguments: object) -> int:
        raise OSError(checkpoint.BY_HAND[0], "not between these two")

    if by_hand:
        monkeypatch.setattr(os, "copy_file_range", refuse)
    assert order(folder, earlier) is None
    copied = folder / "output" / "checkpoint-5"
    source = earlier / "checkpoint-5"
    assert [path.name for path in (folder / "output").iterdir()] == ["checkpoint-5"]
    for path in ("state.json", "inner/weights.bin"):
        assert (copied / path).read_bytes() == (source / path).read_bytes()
    (copied / "state.json").write_text("changed")
    assert (source / "state.json").read_text() == "{}"


def test_one_deeper_in_the_output_has_its_own_name_in_the_copy(folder: Path, earlier: Path) -> None:
    (earlier / "run").mkdir()
    (earlier / "checkpoint-5").rename(earlier / "run" / "checkpoint-5")
    assert order(folder, earlier, "run/checkpoint-5") is None
    assert (folder / "output" / "checkpoint-5" / "state.json").exists()


def test_links_and_devices_are_left_out(folder: Path, earlier: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("not yours")
    (earlier / "checkpoint-5" / "link").symlink_to(secret / "key")
    (earlier / "checkpoint-5" / "folder").symlink_to(secret)
    os.mkfifo(earlier / "checkpoint-5" / "pipe")
    assert order(folder, earlier) is None
    assert sorted(path.name for path in (folder / "output" / "checkpoint-5").iterdir()) == ["inner", "state.json"]


@pytest.mark.parametrize("path", ["../secret", "checkpoint-5/../../secret", "link", "/etc", "checkpoint-6"])
def test_nothing_outside_of_the_output_is_reached(folder: Path, earlier: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("not yours")
    (earlier / "link").symlink_to(tmp_path / "secret")
    end = order(folder, earlier, path)
    assert end is not None
    assert "can't be copied" in str(end["error"])
    assert not list((folder / "output").rglob("key"))


def test_an_output_that_is_a_link_is_none(folder: Path, earlier: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(earlier)
    with pytest.raises(OSError, match=r"[Nn]ot a directory|symbolic links"):
        copy_folder(str(tmp_path / "link"), ["checkpoint-5"], str(folder / "copy"))
