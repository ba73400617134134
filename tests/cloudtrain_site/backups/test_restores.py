"""Where a restore may go, and what is left of one that is killed.

`CLOUDTRAIN_BACKUP_KILLS=1000` tries the kill at each step.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cloudtrain_site.backups.manifest import BackupError, backups_in
from cloudtrain_site.backups.verifying import verify
from cloudtrain_site.conf import occupancy
from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.conf.occupancy import RESTORING, enter, serving_processes
from tests.cloudtrain_site.backups.places import Place

#: What changes files, and what reads them.
STEPS = ("open", "os.", "shutil.", "sqlite3.")
KILLS = int(os.environ.get("CLOUDTRAIN_BACKUP_KILLS", "6"))


def die_at(work: Callable[[], object], step: int) -> int | None:
    """Do the work in a process that is killed at its step. Returns how many steps it had if it came to its end."""
    reader, writer = os.pipe()
    if pid := os.fork():
        os.close(writer)
        with os.fdopen(reader) as answer:
            _, status = os.waitpid(pid, 0)
            done = answer.read()
        assert done or os.WTERMSIG(status) == signal.SIGKILL
        return int(done) if done else None
    taken = 0

    def count(event: str, arguments: object) -> None:
        nonlocal taken
        if event.startswith(STEPS):
            taken += 1
            if taken == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    try:
        work()
        os.write(writer, str(taken).encode())
    finally:
        os._exit(0)


def steps_to_try(work: Callable[[], object]) -> list[int]:
    """Some steps of all the work, and each of the last ones."""
    total = die_at(work, 0)
    assert total
    return sorted({*range(1, total, max(1, total // KILLS)), *range(max(1, total - KILLS), total + 1)})


@pytest.mark.slow
def test_a_backup_that_is_killed_leaves_none_that_passes_for_a_whole_one(place: Place) -> None:
    steps = steps_to_try(place.back_up)
    for step in steps:
        die_at(place.back_up, step)
        for backup in backups_in(place.backups):
            verify(backup, place.database, place.keys)
    assert len(backups_in(place.backups)) < len(steps)
    place.back_up()
    assert [path.name for path in place.backups.iterdir() if path.name.startswith(".")] == []


@pytest.mark.slow
@pytest.mark.parametrize("is_lost", [True, False], ids=["into an empty folder", "over a site"])
def test_a_restore_that_is_killed_leaves_the_old_or_nothing(place: Place, is_lost: bool) -> None:
    made, new = place.back_up(), place.tree()
    place.write("uploads/2", b"changed since")
    old = {} if is_lost else place.tree()

    def reset() -> None:
        place.lose()
        place.data.mkdir()
        if not is_lost:
            place.put_back(made)
            place.write("uploads/2", b"changed since")

    def restore() -> None:
        place.put_back(made, replaces=not is_lost)

    reset()
    steps = steps_to_try(restore)
    left = set()
    for step in steps:
        reset()
        die_at(restore, step)
        if (place.data / RESTORING).exists():
            left.add("nothing")
            with pytest.raises(ConfigurationError, match=r"was interrupted: run manage\.py restore again"):
                enter(place.data, serves=False, command="up")
            enter(place.data, serves=False, command="restore")
        else:
            found = {path: entry for path, entry in place.tree().items() if not path.startswith(".restore-")}
            left.add("new" if found == new else "old" if found == old else f"half, at step {step}")
        # Done again it does all of it.
        place.put_back(made, replaces=True)
        assert place.tree() == new
        verify(made.folder, place.database, place.keys)
    assert left == {"old", "nothing", "new"}


def test_only_an_empty_place_is_filled_unless_the_operator_says_so(place: Place) -> None:
    made = place.back_up()
    new = place.tree()
    place.write("uploads/2", b"precious")
    with pytest.raises(BackupError, match=r"is not empty: there is jobs, outputs, uploads, the database\. Add --repl"):
        place.put_back(made)
    assert (place.data / "uploads/2").read_bytes() == b"precious"
    (replaced,) = place.put_back(made, replaces=True).replaced
    assert (place.tree(), (replaced / "uploads/2").read_bytes()) == (new, b"precious")
    # Neither in the next backup nor in the way of the next restore.
    assert not [path for path in place.back_up().manifest.files if path.startswith("replaced")]


def test_the_database_alone_leaves_the_files(place: Place) -> None:
    made = place.back_up()
    place.write("uploads/2", b"newer")
    with closing(sqlite3.connect(place.database.path)) as database, database:
        database.execute("DELETE FROM jobs_job")
    with pytest.raises(BackupError, match=r"there is the database\. Add --replace"):
        place.put_back(made, database_only=True)
    place.put_back(made, database_only=True, replaces=True)
    assert (place.data / "uploads/2").read_bytes() == b"newer"
    assert len(place.query("SELECT * FROM jobs_job")) == 1
    (place.data / RESTORING).write_text('{"database_only": false}')
    with pytest.raises(BackupError, match="run it without --database-only"):
        place.put_back(made, database_only=True, replaces=True)


def test_no_restore_while_a_site_runs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occupancy, "_held", {})
    made = place.back_up()
    place.lose()  # its processes go on all the same
    enter(place.data, serves=True, command="up")
    assert serving_processes(place.data) == [os.getpid()]
    with pytest.raises(BackupError, match=f"A site runs on .* {os.getpid()}.: stop it first"):
        place.put_back(made)
    assert list(place.data.iterdir()) == []
    for held in occupancy._held.values():
        held.close()
    place.put_back(made)


def test_no_restore_under_another_machine_that_works_with_the_database(place: Place) -> None:
    made = place.back_up()
    process = "CREATE TABLE cloudtrain_site_siteprocess AS SELECT 'two' machine, 'web' role, datetime('now') seen_at"
    place.query(process)
    with pytest.raises(BackupError, match="in use by a web process on two"):
        place.put_back(made, replaces=True)


def test_two_restores_do_not_meet(place: Place) -> None:
    made = place.back_up()
    folder = os.open(place.data, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(BackupError, match="Another restore"):
        place.put_back(made, replaces=True)
    os.close(folder)


def test_a_database_elsewhere_is_put_back_there(place: Place, tmp_path: Path) -> None:
    elsewhere = tmp_path / "databases" / "site.sqlite3"
    elsewhere.parent.mkdir()
    for path in place.database.files():
        path.rename(elsewhere.with_name(path.name.replace("cloudtrain", "site")))
    database = type(place.database)(elsewhere)
    made = place.back_up(database=database)
    assert "cloudtrain.sqlite3" not in made.manifest.files
    place.lose()
    elsewhere.write_bytes(b"torn")
    place.put_back(made, database=database, replaces=True)
    assert verify(place.back_up(database=database).folder, database, place.keys) == 1
    assert json.loads((place.data / "last_backup.json").read_text())["where"] == str(place.backups)
