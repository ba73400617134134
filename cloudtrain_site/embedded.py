"""What the embedded default keeps in its data folder so that a first start needs no setting."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def kept_secret_key(data_dir: Path) -> str:
    """The key in `data_dir/secret_key`, made (mode 600) when there is none.

    Two processes that start at once agree: the file appears whole under its name or not at all.
    Raises OSError when the folder can't be written.
    """
    path = data_dir / "secret_key"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        draft = data_dir / f".secret_key.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(50))
        try:
            os.link(draft, path)  # refuses to replace the key of whoever was first
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()
