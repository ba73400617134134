"""Checkpoints: folders `checkpoint-<step>` with one JSON file, whole or not there at all.

JSON keeps a float to the last bit, so a resumed run goes on exactly as it would have without
the break.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from jobs.sample_trainer.errors import CheckpointError

STATE_FILE = "state.json"
LATEST = "latest"
NAME = re.compile(r"checkpoint-([0-9]{1,12})")


def save(output_dir: Path, step: int, state: dict[str, Any], limit: int) -> Path:
    """Write the checkpoint of a step, then remove the oldest ones beyond `limit` (0: keep all)."""
    folder = output_dir / f"checkpoint-{step}"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / STATE_FILE, state)
    others = [path for path in _all(output_dir) if path != folder]
    for old in others[max(0, limit - 1) :] if limit else ():
        shutil.rmtree(old)
    return folder


def write_json(path: Path, value: object) -> None:
    """Write beside the file and rename: a reader, or a crash, sees the old content or the new one, never half."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(json.dumps(value))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def candidates(output_dir: Path, checkpoint: str) -> list[Path]:
    """Return where to resume from, best first: for "latest" all there are, else the one named.

    A name is a path, or that of a folder in the output folder. Raises CheckpointError if there is none.
    """
    if checkpoint == LATEST:
        return _all(output_dir)
    for path in (Path(checkpoint), output_dir / checkpoint):
        if (path / STATE_FILE).is_file():
            return [path]
    raise CheckpointError(f"There is no checkpoint to resume from at {checkpoint}.")


def load(path: Path) -> dict[str, Any]:
    """Return the state that was saved. Raises CheckpointError if it can't be read."""
    try:
        state = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise CheckpointError(f"The checkpoint {path} is damaged.") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"The checkpoint {path} is damaged.")
    return state


def _all(output_dir: Path) -> list[Path]:
    """Return every complete checkpoint, newest step first."""
    numbered = [(int(name[1]), path) for path in output_dir.iterdir() if (name := NAME.fullmatch(path.name))]
    return [path for _, path in sorted(numbered, reverse=True) if (path / STATE_FILE).is_file()]
