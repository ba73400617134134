"""Folders of trainers are removed, however deep, without following a link."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest

from jobs.providers.emptying import FOLDER_FLAGS, empty_folder, remove_folder


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def nest(folder: Path, depth: int) -> None:
    """Make folders in each other, with a file in each: deeper than a path may be long."""
    descriptor = os.open(folder, FOLDER_FLAGS)
    for _ in range(depth):
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
        os.mkdir("deeper", dir_fd=descriptor)
        inner = os.open("deeper", FOLDER_FLAGS, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)


def test_a_folder_that_is_thousands_deep_is_removed(tmp_path: Path, few_descriptors: None) -> None:
    folder = tmp_path / "output"
    folder.mkdir()
    nest(folder, 3_000)
    remove_folder(folder)
    assert list(tmp_path.iterdir()) == []


def test_no_link_is_followed(tmp_path: Path) -> None:
    folder, others = tmp_path / "output", tmp_path / "others"
    (folder / "inner").mkdir(parents=True)
    others.mkdir()
    (others / "keep").write_text("mine")
    (folder / "link").symlink_to(others)
    (folder / "inner" / "link").symlink_to(others / "keep")
    os.mkfifo(folder / "inner" / "pipe")
    remove_folder(folder)
    assert not folder.exists()
    assert (others / "keep").read_text() == "mine"
    folder.symlink_to(others)
    with pytest.raises(OSError, match=r"[Nn]ot a directory|symbolic links"):
        remove_folder(folder)
    assert (others / "keep").exists()


def test_a_folder_that_is_gone_is_removed(tmp_path: Path) -> None:
    remove_folder(tmp_path / "gone")


def test_it_ends_when_the_time_is_over(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    descriptor = os.open(tmp_path, FOLDER_FLAGS)
    assert not empty_folder(descriptor, time.monotonic() - 1)
    assert (tmp_path / "file").exists()
    assert empty_folder(descriptor, inf)
    os.close(descriptor)
    assert list(tmp_path.iterdir()) == []
