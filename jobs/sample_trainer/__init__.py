"""A trainer small enough for any machine: it denoises tiny images with a network in plain Python.

    python -m jobs.sample_trainer --config CONFIG.json --output-dir DIR

It stands in where no real trainer is installed. What it reads, prints, writes and returns is
what a SimpleTuner run does; what it learns is real, if of no use. It imports nothing of the
site, so that it runs, and may fail, as any foreign program would.

Exit codes: 0 trained to the end, 1 failed while running, 2 the config or the arguments are
wrong, 128 plus the signal's number (143 for SIGTERM) stopped after saving a checkpoint.
"""

from __future__ import annotations
