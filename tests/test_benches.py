"""What a bench promises to whoever shares the machine with it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cloudtrain_site.serving.processes import is_running

ROOT = Path(__file__).resolve().parent.parent
BENCH = """
import signal
from bench.ending import end_as_by_ctrl_c
from examples.fake_replicate.process import FakeReplicateProcess

end_as_by_ctrl_c()
with FakeReplicateProcess.start() as fake:
    print(fake.process.pid, flush=True)
    signal.pause()
"""


@pytest.mark.slow
def test_a_bench_that_is_terminated_leaves_no_server_behind() -> None:
    with subprocess.Popen([sys.executable, "-c", BENCH], cwd=ROOT, stdout=subprocess.PIPE, text=True) as bench:
        assert bench.stdout is not None
        server = int(bench.stdout.readline())
        bench.terminate()
        assert bench.wait(30) == 128 + signal.SIGTERM
    assert not is_running(server)
