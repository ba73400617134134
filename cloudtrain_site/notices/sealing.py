"""Addresses and signing secrets, encrypted."""

from __future__ import annotations

from collections.abc import Sequence

from cloudtrain_site.encryption import open_sealed, seal


def seal_texts(texts: Sequence[str]) -> str:
    return seal([((index,), text) for index, text in enumerate(texts)])


def open_texts(sealed: str) -> list[str]:
    """Return the texts of `seal_texts`. Raises SecretsLostError."""
    return [str(text) for _, text in open_sealed(sealed)]
