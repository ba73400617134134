"""The ways a run can fail; each message says what to put right."""

from __future__ import annotations


class ConfigError(Exception):
    """The config, the dataloader or an argument can't be used; nothing was trained."""


class CheckpointError(Exception):
    """A checkpoint isn't there, is damaged, or belongs to another config."""
