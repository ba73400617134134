"""The output of a run: sentences on stdout, the bar on stderr, both at once and in order.

In a log of both streams each bar and each sentence begins on a line of its own.
"""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

# Seconds between two drawings of a bar, however fast the steps are.
INTERVAL = 0.5

# No thread to redraw a slow bar: a step takes less than a second.
tqdm.monitor_interval = 0


class Screen:
    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.bar: tqdm[Any] | None = None
        # Whether the bar has drawn its line, which it leaves without an end.
        self.drawn = False

    def say(self, line: str) -> None:
        if self.drawn:
            sys.stderr.write("\n")
            sys.stderr.flush()
            self.drawn = False
        # A data set's name may hold what this terminal can't show; that is no reason to stop training.
        encoding = sys.stdout.encoding
        sys.stdout.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()

    def count_images(self, count: int) -> None:
        """Show a bar as a real trainer does while it fills its caches."""
        with tqdm(total=count, desc="Caching latents", file=sys.stderr, mininterval=INTERVAL) as bar:
            bar.update(count)

    def open_bar(self, step: int, steps: int) -> None:
        self.bar = tqdm(
            total=steps,
            initial=step,
            desc=self._name(1),
            file=sys.stderr,
            mininterval=INTERVAL,
            miniters=1,
        )
        self.drawn = True

    def advance(self, epoch: int, loss: float, rate: float) -> None:
        assert self.bar is not None
        self.bar.set_description(self._name(epoch), refresh=False)
        self.bar.set_postfix(step_loss=loss, lr=rate, refresh=False)
        self.bar.update(1)
        self.drawn = True

    def redraw_bar(self) -> None:
        if self.bar is not None:
            self.bar.refresh()
            self.drawn = True

    def close_bar(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
            self.drawn = False

    def _name(self, epoch: int) -> str:
        return f"Epoch {epoch}/{self.epochs}, Steps"
