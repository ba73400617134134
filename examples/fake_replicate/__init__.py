"""A stand-in for Replicate's HTTP API: a server of its own that trains for real and fails on demand.

    python -m examples.fake_replicate --port 0 --token T

prints its address as one line of JSON, and can be steered over HTTP (`control` says how). In a test:

    with FakeReplicate.start(script=INSTANT) as fake:
        fake.faults.add("drop_reply", times=1)
        ...
        assert len(fake.predictions.marked(job_marker)) == 1

It answers what the real service was seen to answer, where that is known; where it isn't, a setting of
`faults.Faults` chooses.
"""

from __future__ import annotations

from examples.fake_replicate.fake import FakeReplicate
from examples.fake_replicate.faults import Faults, Rule
from examples.fake_replicate.predictions import INSTANT, Prediction, Script
from examples.fake_replicate.process import FakeReplicateProcess

__all__ = ["INSTANT", "FakeReplicate", "FakeReplicateProcess", "Faults", "Prediction", "Rule", "Script"]
