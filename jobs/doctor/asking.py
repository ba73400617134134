"""Which providers the checks concern, and how they are asked at the same time."""

from __future__ import annotations

import queue
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from itertools import count
from typing import TypeVar

from jobs.models import Job, ProviderConfig
from jobs.providers import get_provider, names
from jobs.providers.base import NeedsAccess, Provider, ProviderError
from jobs.sync.asking import no_answer, start_asking

T = TypeVar("T")

#: How long the check waits for the answers: all are asked at once, and a check may take five seconds.
ANSWER_SECONDS = 3.0
_numbers = count()


def enabled_providers() -> dict[ProviderConfig, Provider]:
    """Return the providers that are switched on, with their settings."""
    configs = ProviderConfig.of_all(names()).values()
    return {config: get_provider(config.name) for config in configs if config.enabled}


def missing_access(provider: Provider) -> str:
    """Return what this process lacks to ask the provider, as a sentence; empty: nothing."""
    return provider.missing_access() if isinstance(provider, NeedsAccess) else ""


def is_used(provider: Provider) -> bool:
    """Whether the site can run jobs there, or has some there. Replicate is there from the start, without a token."""
    return not missing_access(provider) or Job.objects.active().filter(provider=provider.name).exists()


def ask_all(questions: Mapping[str, Callable[[], Awaitable[T]]]) -> dict[str, T | Exception]:
    """Return the answers by their keys, or what they failed with, within ANSWER_SECONDS and a little."""
    arrived: queue.SimpleQueue[tuple[str, T | Exception]] = queue.SimpleQueue()
    for key, question in questions.items():
        # A name of its own for each: an earlier question that still ends is not in its way.
        name = f"doctor-{next(_numbers)}-{key}"
        start_asking(name, question, ANSWER_SECONDS, partial(_put, arrived, key))
    answers: dict[str, T | Exception] = {}
    deadline = time.monotonic() + ANSWER_SECONDS + 0.5
    while len(answers) < len(questions):
        try:
            key, answer = arrived.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        answers[key] = answer
    return {key: answers.get(key, ProviderError(no_answer(ANSWER_SECONDS))) for key in questions}


def reason_of(failure: Exception) -> str:
    """Return why there is no answer, without a full stop."""
    return str(failure).rstrip(".") or type(failure).__name__


def _put(arrived: queue.SimpleQueue[tuple[str, T | Exception]], key: str, answer: T | Exception) -> None:
    arrived.put((key, answer))
