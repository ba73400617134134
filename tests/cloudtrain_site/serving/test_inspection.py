"""A trainer that runs as the site's own user looks into the site's processes, and is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudtrain_site.conf.places import BASE_DIR
from cloudtrain_site.serving.inspection import DEBUGGABLE_VARIABLE
from cloudtrain_site.serving.processes import is_running
from tests.cloudtrain_site.process_stacks import running_stack
from tests.site import Site

#: Root may read everything: another account then, which may still read this checkout and its Python, wherever they are.
ANOTHER = 65534
AS_ANOTHER = (
    *("setpriv", f"--reuid={ANOTHER}", f"--regid={ANOTHER}", "--clear-groups"),
    *("--inh-caps=+dac_override", "--ambient-caps=+dac_override"),
)
LOOKED_AT = ["environ", "mem", "maps", "fd/2", "cwd"]
#: Tells of every process of its user what it could look at.
PROBE = f"""
import json, os
def look(pid, name):
    path = f"/proc/{{pid}}/{{name}}"
    try:
        os.readlink(path) if name in ("fd/2", "cwd") else open(path, "rb").close()
    except PermissionError:
        return False
    return True
seen = {{}}
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        if f"Uid:\\t{{os.getuid()}}\\t" in open(f"/proc/{{pid}}/status").read():
            seen[pid] = [name for name in {LOOKED_AT} if look(pid, name)]
    except FileNotFoundError:
        pass
print(json.dumps({{"own": os.getpid(), "runner": os.getppid(), "seen": seen}}))
"""


class ProtectedSite(Site):
    """A site whose processes are known by their descent: what is in them can't be read."""

    @property
    def environment(self) -> dict[str, str]:
        return {name: value for name, value in super().environment.items() if name != DEBUGGABLE_VARIABLE}

    def pids(self, **extra: str) -> set[int]:
        if self.up is None or not is_running(self.up.pid):
            return set()
        found = {self.up.pid}
        while more := {pid for pid, parent in parents().items() if parent in found} - found:
            found |= more
        return found

    def end(self) -> None:
        if self.up is not None:
            self.up.terminate()
            self.up.wait(15)
        super().end()


def parents() -> dict[int, int]:
    """The parent of every process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            found[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


@pytest.mark.parametrize(("debuggable", "dumpable"), [("", "0"), ("no", "0"), ("true", "1"), (" TRUE ", "1")])
def test_an_operator_may_allow_it(debuggable: str, dumpable: str) -> None:
    code = "import ctypes, cloudtrain_site.serving.inspection as i; i.forbid_inspection()"
    code += "; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"  # PR_GET_DUMPABLE
    environment = os.environ | {DEBUGGABLE_VARIABLE: debuggable}
    done = subprocess.run([sys.executable, "-c", code], cwd=BASE_DIR, env=environment, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (dumpable, "")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another account reaches too, as those of pytest are not."""
    path = Path(tempfile.mkdtemp(prefix="cloudtrain-inspected-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def site(folder: Path) -> Iterator[ProtectedSite]:
    (folder / "probe.py").write_text(PROBE)
    with running_stack(folder) as stack:
        site = ProtectedSite(stack.folder, stack.database_url, stack.mark, stack.started)
        if os.geteuid() == 0:
            site.runner = AS_ANOTHER
            for path in (folder, folder / "data"):
                shutil.chown(path, ANOTHER, ANOTHER)
        command = ["{python}", "-S", str(folder / "probe.py")]
        site.config.write_text(json.dumps({"providers": {"local": {"command": command}}}))
        try:
            site.ensure_up()
            site.make_people()
            yield site
        finally:
            site.end()


@pytest.mark.slow
@pytest.mark.long
def test_a_training_can_look_into_no_process_of_the_site(site: ProtectedSite) -> None:
    job_id = site.submit("bob")
    site.until(job_id, "completed")
    report: dict[str, Any] = json.loads(site.trained(job_id))
    ours = site.pids()
    assert len(ours) >= 6  # supervisor, web, background, and the cluster with its workers
    assert {pid: report["seen"].get(str(pid)) for pid in ours} == {pid: [] for pid in ours}
    # The others of its user it can look into.
    for whose in ("own", "runner"):
        assert report["seen"][str(report[whose])] == LOOKED_AT
