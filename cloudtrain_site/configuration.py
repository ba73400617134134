"""What is said when the configuration is wrong."""

from __future__ import annotations


class ConfigurationError(Exception):
    """A setting can't be used. The message is a sentence for whoever set it: what is wrong, and what is allowed."""
