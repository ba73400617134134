"""Sizes of pictures and lengths of videos, and the sizes that take about as long. Pure, as `reading` is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: A resolution below it is SimpleTuner's area in megapixels.
SMALLEST_SIDE = 16
#: The side of a picture that has a given area: SimpleTuner's megapixels are millions of pixels.
PIXELS_A_MEGAPIXEL = 1_000_000
#: Sides that take about as long: a picture counts as of the first of them that is as long, or nearly.
SIZE_CLASSES = (256, 512, 768, 1024, 1280, 1536, 2048, 3072, 4096, 8192)
#: SimpleTuner buckets around 1.0 megapixels, which is a side of 1000, with sides of 1024.
NEARLY = 1.03


def size_class(side: float) -> int:
    """Return the one of SIZE_CLASSES that a picture with a side of so many pixels belongs to."""
    return next((size for size in SIZE_CLASSES if side <= size * NEARLY), SIZE_CLASSES[-1])


def megapixels(value: Any) -> float | None:
    """SimpleTuner's area of a picture; None for what is none."""
    text = value.strip() if isinstance(value, str) else ""
    if re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,20})?", text):
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < SMALLEST_SIDE else None


def values_of(datasets: Sequence[Any], name: str) -> Iterator[tuple[int, Any]]:
    """Yield what datasets have under that name, each with the number of the dataset, from 1."""
    for place, item in enumerate(datasets):
        if isinstance(item, Mapping) and item.get(name) is not None:
            yield place + 1, item[name]


def frames_given(datasets: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """Yield the number of frames that datasets have, each with the number of the dataset; 0 of videos without one."""
    videos = {place: 0 for place, kind in values_of(datasets, "dataset_type") if kind == "video"}
    inner = {
        place: video["num_frames"]
        for place, video in values_of(datasets, "video")
        if isinstance(video, Mapping) and video.get("num_frames") is not None
    }
    yield from (videos | dict(values_of(datasets, "num_frames")) | inner).items()
