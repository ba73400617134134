"""The step at which a run began: another than 0 for one that goes on from a checkpoint. Pure, linear in the log."""

from __future__ import annotations

import re
from collections.abc import Iterator

from jobs.providers.log_lines import read_count

#: tqdm draws a bar so before anything is counted in this run.
FRESH_BAR = "[00:00<?"
#: One of these stands in each sentence below. Looking for them takes a hundredth of the pattern's time.
MARKS = ("teps completed:", "esum", "ontinu", "oing on after step")
#: "Steps completed: 25000" (SimpleTuner), "Resuming from checkpoint checkpoint-500" (diffusers), "Continuing training
#: from global step 500" (transformers), "going on after step 100" (the sample trainer).
GOES_ON = re.compile(
    r"(?:steps completed:|\b(?:resum(?:e|ed|ing)|continu(?:e|ed|ing)|going on)\b.{0,120}?\b(?:step|checkpoint)[-_ :=])"
    r" {0,2}([0-9]{1,9})(?![0-9]|[.,][0-9])"
)
LINE_CHARACTERS = 300
#: A log that repeats a mark more often says nothing by it.
MAX_HITS = 1000


def first_step(log: str, total: int | None) -> int | None:
    """Return the step at which the run of this log, of `total` steps, began; None when it doesn't say.

    Of several answers it is the largest: the fewest steps are the run's own.
    """
    steps = [int(match[1]) for line in _lines_with(log, *MARKS) if (match := GOES_ON.search(line))]
    for line in _lines_with(log, FRESH_BAR):
        count = read_count(line)
        if count is not None and count.step is not None and count.total == total:
            steps.append(count.step)
    return max(steps, default=None)


def _lines_with(log: str, *marks: str) -> Iterator[str]:
    """Yield the lines that hold one of the marks, in lower case and of bounded length."""
    for mark in marks:
        at = log.find(mark)
        for _ in range(MAX_HITS):
            if at < 0:
                break
            earliest = max(0, at - LINE_CHARACTERS)
            begin = max(earliest, log.rfind("\n", earliest, at) + 1, log.rfind("\r", earliest, at) + 1)
            line = re.split(r"[\r\n]", log[at : at + LINE_CHARACTERS], maxsplit=1)[0]
            yield (log[begin:at] + line).lower()
            at = log.find(mark, at + len(mark))
