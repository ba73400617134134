"""The pictures of a validation: what the network makes of noise, as PNG files under SimpleTuner's names."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from jobs.sample_trainer.data import SIDE

FOLDER = "validation_images"
#: As SimpleTuner calls the blank prompt and the config's own.
PROMPTS = ("unconditional", "validation")
PICTURE_SIDE = 128
#: Red, green and blue from the darkest to the lightest value.
COLOURS = ((16, 20, 46), (36, 68, 120), (52, 138, 148), (236, 196, 104), (255, 246, 220))


def save_pictures(output_dir: Path, step: int, images: Sequence[Sequence[float]]) -> None:
    """Write one picture a prompt. Each is whole from its first moment on."""
    folder = output_dir / FOLDER
    folder.mkdir(exist_ok=True)
    for prompt, image in zip(PROMPTS, images, strict=True):
        path = folder / f"step_{step}_{prompt}_{PICTURE_SIDE}x{PICTURE_SIDE}.png"
        draft = path.with_name(f".{path.name}")
        draft.write_bytes(png_of(image))
        draft.replace(path)


def png_of(image: Sequence[float]) -> bytes:
    """Return the picture of SIDE x SIDE values around 0, enlarged with smooth steps between them."""
    rows = [image[first : first + SIDE] for first in range(0, SIDE * SIDE, SIDE)]
    wide = [[_shade(value) for value in _stretched(row)] for row in rows]
    columns = [_stretched(column) for column in zip(*wide, strict=True)]
    # A byte before each row names its filter: none.
    lines = b"".join(b"\x00" + bytes(map(round, line)) for line in zip(*columns, strict=True))
    header = struct.pack(">IIBBBBB", PICTURE_SIDE, PICTURE_SIDE, 8, 3, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"PLTE", _palette()), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _shade(value: float) -> float:
    """Return 0 to 255; 0 is in the middle."""
    return 255 / (1 + math.exp(-2 * max(-20.0, min(20.0, value))))


def _stretched(values: Sequence[float]) -> list[float]:
    """Return PICTURE_SIDE values on the straight lines between the given ones."""
    last = len(values) - 1
    places = [last * place / (PICTURE_SIDE - 1) for place in range(PICTURE_SIDE)]
    return [_between(values, min(int(place), last - 1), place) for place in places]


def _between(values: Sequence[float], first: int, place: float) -> float:
    share = place - first
    return values[first] * (1 - share) + values[first + 1] * share


def _palette() -> bytes:
    last = len(COLOURS) - 1
    places = [last * shade / 255 for shade in range(256)]
    channels = list(zip(*COLOURS, strict=True))
    return bytes(round(_between(channel, min(int(place), last - 1), place)) for place in places for channel in channels)
