"""A network with one hidden layer and the Adam optimizer, in plain Python and the same to the bit on every run.

Everything is a product of two matrices written row by row, since `sum(map(mul, ...))` is the
fastest dot product that the interpreter has without a library.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any

from jobs.sample_trainer.data import PIXELS

Matrix = list[list[float]]
Rows = Sequence[Sequence[float]]

DECAY_OF_MEAN = 0.9
DECAY_OF_SQUARE = 0.99
SMALLEST_DIVISOR = 1e-8


def product(left: Rows, right: Rows) -> Matrix:
    return [[sum(map(mul, row, other)) for other in right] for row in left]


def transposed(rows: Rows) -> Rows:
    return list(zip(*rows, strict=True))


def zeros_like(matrix: Matrix) -> Matrix:
    return [[0.0] * len(row) for row in matrix]


@dataclass(slots=True)
class Layer:
    weights: Matrix
    means: Matrix
    squares: Matrix

    @classmethod
    def random(cls, outputs: int, inputs: int, spread: float, rng: random.Random) -> Layer:
        weights = [[rng.gauss(0.0, spread) for _ in range(inputs)] for _ in range(outputs)]
        return cls(weights, zeros_like(weights), zeros_like(weights))

    def follow(self, gradient: Matrix, rate: float, step: int) -> None:
        """One step of Adam against the gradient; `step` counts from 1."""
        mean_share, square_share = 1 - DECAY_OF_MEAN**step, 1 - DECAY_OF_SQUARE**step
        rate *= math.sqrt(square_share) / mean_share
        for row, slopes in enumerate(gradient):
            means = self.means[row] = _blend(self.means[row], slopes, DECAY_OF_MEAN)
            squares = self.squares[row] = _blend(self.squares[row], map(mul, slopes, slopes), DECAY_OF_SQUARE)
            self.weights[row] = [
                weight - rate * mean / (math.sqrt(square) + SMALLEST_DIVISOR)
                for weight, mean, square in zip(self.weights[row], means, squares, strict=True)
            ]


def _blend(old: list[float], new: Iterable[float], decay: float) -> list[float]:
    fresh = 1 - decay
    return [decay * before + fresh * now for before, now in zip(old, new, strict=True)]


class Denoiser:
    """Learns to restore the image under the noise. The loss is the mean square error a pixel."""

    def __init__(self, hidden: Layer, output: Layer, step: int = 0) -> None:
        self.hidden = hidden
        self.output = output
        self.step = step

    @classmethod
    def untrained(cls, width: int, rng: random.Random) -> Denoiser:
        # The output starts near zero: the first loss is then that of an all grey image, about 1.
        hidden = Layer.random(width, PIXELS, 1 / math.sqrt(PIXELS), rng)
        return cls(hidden, Layer.random(PIXELS, width, 0.1 / math.sqrt(width), rng))

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Denoiser:
        return cls(Layer(**state["hidden"]), Layer(**state["output"]), state["step"])

    def state(self) -> dict[str, Any]:
        layers = {"hidden": self.hidden, "output": self.output}
        return {"step": self.step} | {
            name: {"weights": layer.weights, "means": layer.means, "squares": layer.squares}
            for name, layer in layers.items()
        }

    def loss(self, noisy: Rows, clean: Rows) -> float:
        return _mean_square(_difference(self._forward(noisy)[1], clean))

    def denoised(self, noisy: Rows) -> Matrix:
        return self._forward(noisy)[1]

    def learn(self, noisy: Rows, clean: Rows, rate: float) -> float:
        """Take one step towards the clean images. Returns the loss before it."""
        active, output = self._forward(noisy)
        errors = _difference(output, clean)
        scale = 2 / (len(errors) * PIXELS)
        slopes = [[scale * error for error in row] for row in errors]
        back = product(slopes, transposed(self.output.weights))
        back = [
            [slope * (1 - unit * unit) for slope, unit in zip(row, units, strict=True)]
            for row, units in zip(back, active, strict=True)
        ]
        self.step += 1
        self.output.follow(product(transposed(slopes), transposed(active)), rate, self.step)
        self.hidden.follow(product(transposed(back), transposed(noisy)), rate, self.step)
        return _mean_square(errors)

    def _forward(self, noisy: Rows) -> tuple[Matrix, Matrix]:
        active = [list(map(math.tanh, row)) for row in product(noisy, self.hidden.weights)]
        return active, product(active, self.output.weights)


def _difference(left: Rows, right: Rows) -> Matrix:
    return [[a - b for a, b in zip(row, other, strict=True)] for row, other in zip(left, right, strict=True)]


def _mean_square(rows: Matrix) -> float:
    return sum(sum(map(mul, row, row)) for row in rows) / (len(rows) * PIXELS)
