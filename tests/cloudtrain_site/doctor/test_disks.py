"""Which mount holds a path, and what a database on a network disk is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import connection

from cloudtrain_site.doctor import database, disks
from cloudtrain_site.doctor.findings import Status, worst_of

TABLE = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:40 / /srv rw shared:5 - nfs4 server:/export rw
31 30 0:41 / /srv/fast\\040disk rw - xfs /dev/sdb rw
32 22 0:42 / /srv/fast\\040disk rw - tmpfs tmpfs rw
"""


@pytest.fixture(autouse=True)
def _table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mountinfo").write_text(TABLE)
    monkeypatch.setattr(disks, "MOUNTS", tmp_path / "mountinfo")


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/var/lib", "ext4"), ("/srv/data", "nfs4"), ("/srvs", "ext4"), ("/srv/fast disk/x", "tmpfs"), ("/", "ext4")],
)
def test_a_mount_is_the_deepest_and_last_that_holds_the_path(path: str, kind: str) -> None:
    assert disks.mount_of(Path(path)).kind == kind


def test_without_a_table_the_kind_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "MOUNTS", Path("/nowhere"))
    assert disks.mount_of(Path("/srv")).kind == "unknown"


@pytest.mark.django_db
def test_sqlite_on_a_network_disk_or_without_room_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "sqlite":
        assert [one.status for one in database.sqlite_file()] == [Status.SKIPPED]
        return
    assert worst_of(one.status for one in database.sqlite_file()) == Status.OK
    monkeypatch.setattr(database, "mount_of", lambda file: disks.Mount(Path("/srv"), "nfs4"))
    monkeypatch.setattr(database, "free_bytes", lambda file: 1000)
    first, second, _ = database.sqlite_file()
    assert "a network file system (nfs4)" in first.message
    assert "/srv has 0.0 MB free" in second.message
