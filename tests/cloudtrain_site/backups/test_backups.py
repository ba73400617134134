"""What a backup has, and what it leaves out."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloudtrain_site.backups.copying import check_room
from cloudtrain_site.backups.databases import Snapshot
from cloudtrain_site.backups.keys import Keys, read_keys, read_passphrase
from cloudtrain_site.backups.making import Order, make_backup
from cloudtrain_site.backups.manifest import BackupError, backups_in
from cloudtrain_site.backups.sqlite import SQLiteFile
from cloudtrain_site.backups.verifying import verify
from tests.cloudtrain_site.backups.places import JOB, Place, tree_of

SECRET = "hf_Recognisable0Secret1Value2"


def has(folder: Path, secret: str) -> list[str]:
    """The files with a secret in them."""
    return [path.name for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_everything_comes_back_as_it_was(place: Place) -> None:
    before, times = place.tree(), (place.data / "uploads/2").stat().st_mtime_ns
    made = place.back_up(is_verified=True)
    assert made.warning == ""
    place.lose()
    restored = place.put_back(made)
    assert place.tree() == before
    assert (place.data / "uploads/2").stat().st_mtime_ns == times
    assert place.query("SELECT * FROM jobs_job")[0][0] == JOB
    assert (restored.secrets, list(restored.replaced)) == (1, [])
    # Nothing of the queue starts a second time.
    assert place.query("SELECT paused FROM queueing_queuestate") == [(1,)]


def test_what_others_could_read_they_can_no_more(place: Place) -> None:
    (place.data / "uploads/2").chmod(0o666)
    (place.data / "uploads").chmod(0o777)
    made = place.back_up()
    place.lose()
    place.put_back(made)
    for path in (*place.backups.rglob("*"), *place.data.rglob("*")):
        if not path.is_symlink():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_no_link_is_followed_and_no_device_read(place: Place, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "shadow").write_text(SECRET)
    (place.data / f"jobs/{JOB}/output/shadow").symlink_to(tmp_path / "outside" / "shadow")
    (place.data / f"jobs/{JOB}/output/folder").symlink_to(tmp_path / "outside")
    os.mkfifo(place.data / f"jobs/{JOB}/output/pipe")
    made = place.back_up()
    assert has(place.backups, SECRET) == []
    assert made.manifest.links[f"jobs/{JOB}/output/folder"] == str(tmp_path / "outside")
    assert made.manifest.left_out == {f"jobs/{JOB}/output/pipe": "no regular file"}
    place.lose()
    place.put_back(made)
    assert (place.data / f"jobs/{JOB}/output/folder").readlink() == tmp_path / "outside"


def test_no_secret_is_in_clear_but_the_keys(place: Place) -> None:
    """A job's config has its secrets while the job trains."""
    config = {"hf_token": SECRET, "max_train_steps": 10}
    place.write(f"jobs/{JOB}/config.json", json.dumps(config).encode())
    place.write(f"jobs/{JOB}/config.json.4711.12", json.dumps(config).encode())
    place.write(f"jobs/{JOB}/dataloader.json", b'[{"broken": "token=' + SECRET.encode())
    made = place.back_up()
    assert has(place.backups, SECRET) == []
    assert has(made.folder, place.keys.secret_key) == []
    kept = json.loads((made.folder / f"files/jobs/{JOB}/config.json").read_text())
    assert kept == {"hf_token": "***", "max_train_steps": 10}


def test_keys_are_encrypted_on_demand_and_elsewhere(place: Place, tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text("correct horse battery staple\n")
    passphrase = read_passphrase(tmp_path / "passphrase")
    made = place.back_up(keys_dir=tmp_path / "safe", passphrase=passphrase)
    assert made.keys.parent == tmp_path / "safe"
    assert has(place.backups, place.keys.secret_key) == has(tmp_path / "safe", place.keys.secret_key) == []
    assert read_keys(made.keys, passphrase) == place.keys
    for wrong, why in (("", "give --passphrase-file"), ("another passphrase", "does not open")):
        with pytest.raises(BackupError, match=why):
            read_keys(made.keys, wrong)
    (tmp_path / "passphrase").write_text("short")
    with pytest.raises(BackupError, match="at least 12"):
        read_passphrase(tmp_path / "passphrase")


class Busy(SQLiteFile):
    """A database beside which the site works on: by the time that it is copied, files have come, gone and changed."""

    def back_up(self, target: Path) -> Snapshot:
        data = self.path.parent
        (data / "uploads/3").write_bytes(b"new")
        (data / "uploads/2").unlink()
        with (data / f"jobs/{JOB}/train.log").open("a") as log:
            log.write("Step 2/2\n")
        (data / "outputs/turned").unlink()
        (data / "outputs/turned").mkdir()
        (data / "outputs/turned/inner").touch()
        (data / "outputs/emptied/inner").unlink()
        (data / "outputs/emptied").rmdir()
        (data / "outputs/emptied").touch()
        snapshot = super().back_up(target)
        (data / "uploads/3").unlink()
        (data / "uploads/4").write_bytes(b"too late for a row")
        return snapshot


def test_no_row_is_without_its_file(place: Place) -> None:
    place.write("outputs/turned", b"a file")
    place.write("outputs/emptied/inner", b"a file")
    # What the second round misses, the first has; what both miss has no row.
    files = place.back_up(database=Busy(place.database.path)).folder / "files"
    assert {path.name for path in (files / "uploads").iterdir()} == {"2", "4"}
    assert (files / f"jobs/{JOB}/train.log").read_text() == "Step 1/2\nStep 2/2\n"
    assert (files / "outputs/turned/inner").is_file()
    assert (files / "outputs/emptied").is_file()


def test_what_is_large_or_of_no_use_is_left_out_and_named(place: Place) -> None:
    made = place.back_up(without=("outputs",), largest=2)
    assert set(made.manifest.files) == set()
    assert made.manifest.left_out == {
        f"jobs/{JOB}/output": "--without outputs",
        "outputs": "--without outputs",
        f"jobs/{JOB}/train.log": "0.0 MB, larger than --largest",
        "uploads/2": "0.0 MB, larger than --largest",
    }
    with pytest.raises(BackupError, match=r"no part 'output'.*There are: outputs, uploads, logs"):
        place.back_up(without=("output",))


def test_only_the_newest_stay_with_their_keys(place: Place) -> None:
    (place.backups / "mine").mkdir(parents=True)
    names = [place.back_up(keep=2).folder.name for _ in range(3)]
    assert [path.name for path in backups_in(place.backups)] == names[1:]
    assert sorted(path.stem for path in (place.backups / "keys").iterdir()) == names[1:]
    assert (place.backups / "mine").is_dir()


def test_a_place_that_can_not_be_right_is_refused(place: Place) -> None:
    with pytest.raises(BackupError, match="is in the data folder"):
        make_backup(Order(place.data / "backups", place.data, place.database, place.keys))
    place.backups.mkdir()
    folder = os.open(place.backups, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(BackupError, match="Another backup"):
        place.back_up()
    os.close(folder)
    with pytest.raises(BackupError, match="do not fit"):
        check_room(place.backups, 10**18)
    assert backups_in(place.backups) == []


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda folder: (folder / "files/uploads/2").write_bytes(b"zap"), "not what its manifest says"),
        (lambda folder: (folder / "files/uploads/2").unlink(), "lacks"),
        (lambda folder: (folder / "database").write_bytes(b"SQLite format 3\0"), "not what its manifest says"),
        (lambda folder: (folder / "manifest.json").unlink(), "not a complete backup"),
        (lambda folder: (folder / "manifest.json").write_text('{"format": 1}'), "damaged"),
        (lambda folder: edit(folder, format=2, version="9.0"), "cloudtrain 9.0, which is newer than this one"),
        (lambda folder: edit(folder, migrations={"jobs": "9999_later"}), "newer than this one: its database has jobs"),
        (lambda folder: edit(folder, vendor="postgresql"), "this site has sqlite"),
        (lambda folder: edit(folder, links={"../outside": "x"}), "outside of the data folder"),
        (lambda folder: edit(folder, counts={"jobs_job": 2}), "other rows than its manifest says"),
    ],
)
def test_what_is_damaged_or_newer_is_found(place: Place, damage: Any, why: str) -> None:
    made = place.back_up()
    damage(made.folder)
    with pytest.raises(BackupError, match=why):
        verify(made.folder, place.database, place.keys)
    before = place.tree()
    with pytest.raises(BackupError, match=why):
        place.put_back(made, replaces=True)
    assert place.tree() == before
    assert place.query("SELECT paused FROM queueing_queuestate") == [(0,)]


def edit(folder: Path, **values: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | values))


def test_secrets_that_the_keys_do_not_open_are_counted(place: Place) -> None:
    made = place.back_up()
    other = Keys("another key")
    with pytest.raises(BackupError, match="1 of the 1 secrets"):
        verify(made.folder, place.database, other)
    place.lose()
    with pytest.raises(BackupError, match="SECRET_KEY_FALLBACKS"):
        place.put_back(made, keys=other)
    assert list(place.data.iterdir()) == []
    place.put_back(made, keys=replace(other, fallbacks=(place.keys.secret_key,)))
    # A site that lost some before is backed up all the same, with a warning.
    lost = Place(place.folder, other)
    assert "1 of the 1 secrets" in lost.back_up(is_verified=True).warning
    assert place.put_back(made, keys=other, replaces=True, accepts_lost_secrets=True).manifest == made.manifest


def test_the_tree_is_compared_in_full(place: Place) -> None:
    """The comparison of these tests sees a changed byte, a mode and a link."""
    before: dict[str, Any] = dict(tree_of(place.data))
    place.write("uploads/2", b"ziP")
    (place.data / f"jobs/{JOB}/output/run.sh").chmod(0o600)
    assert len([path for path, entry in tree_of(place.data).items() if before[path] != entry]) == 2
