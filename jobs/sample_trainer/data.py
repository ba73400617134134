"""The images: smooth patterns of eight by eight pixels, mixed at random, and the noise laid over them.

All images are mixtures of a few patterns, so a network that learns the patterns can tell the
image from the noise: the loss has somewhere to fall to.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

SIDE = 8
PIXELS = SIDE * SIDE
IMAGES = 40
HELD_OUT = 16
PATTERNS = ((0, 1), (1, 0), (1, 1), (2, 0), (0, 2))
NOISE = 0.5

# Noisy images a step learns from: more for a larger batch, but a batch of 64 must not take a minute a step.
VIEWS = 192
VIEWS_PER_EXTRA_IMAGE = 32
COUNTED_BATCH = 4

Vector = list[float]


def make_images(count: int, rng: random.Random) -> list[Vector]:
    """Return images with a mean square of 1 a pixel: that is the loss of a network that answers all grey."""
    patterns = [_pattern(across, down) for across, down in PATTERNS]
    return [_mixture(patterns, rng) for _ in range(count)]


def _pattern(across: int, down: int) -> Vector:
    return _scaled(
        math.cos(math.pi * across * (x + 0.5) / SIDE) * math.cos(math.pi * down * (y + 0.5) / SIDE)
        for y in range(SIDE)
        for x in range(SIDE)
    )


def _mixture(patterns: list[Vector], rng: random.Random) -> Vector:
    shares = [rng.gauss(0.0, 1.0) for _ in patterns]
    return _scaled(
        sum(share * value for share, value in zip(shares, pixel, strict=True)) for pixel in zip(*patterns, strict=True)
    )


def _scaled(values: Iterable[float]) -> Vector:
    pixels = list(values)
    size = math.sqrt(sum(pixel * pixel for pixel in pixels) / PIXELS)
    return [pixel / size for pixel in pixels]


def views_per_step(batch_size: int) -> int:
    return VIEWS + VIEWS_PER_EXTRA_IMAGE * (min(batch_size, COUNTED_BATCH) - 1)


def draw_views(images: list[Vector], count: int, rng: random.Random) -> tuple[list[Vector], list[Vector]]:
    clean = [images[rng.randrange(len(images))] for _ in range(count)]
    return [add_noise(image, rng) for image in clean], clean


def add_noise(image: Vector, rng: random.Random) -> Vector:
    return [pixel + rng.gauss(0.0, NOISE) for pixel in image]
