"""What can go wrong, switched on and off while the fake runs.

Two sorts. Settings say how the service behaves in general, where the real one is known to vary or nobody
knows. Rules spoil single things: a request, a webhook, or the life of a prediction; each for some of them,
some times, or with some probability, so that several of them make a storm.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

# Before the request is looked at, unless the rule says `after`: then it has its effect, and only the reply suffers.
REQUESTS = frozenset(
    {
        "drop",  # the connection is closed without a reply
        "drop_reply",  # the same after a creation took effect
        "hang",  # nothing for `seconds`, then the connection is closed
        "slow",  # the reply comes `seconds` later
        "server_error",  # HTML of the proxy with `status`
        "garbage",  # 200, and a body that is no JSON
        "throttle",  # 429; `wait_in` says where the wait of `seconds` can be read
        "no_credit",
        "invalid_version",
        "invalid_input",
        "not_found",
        "unauthenticated",
    }
)
WEBHOOKS = frozenset({"lose", "duplicate", "reorder", "unsigned", "badly_signed", "too_old", "redirected"})
LIVES = frozenset(
    {
        "aborted",  # ends before it ever started
        "interrupted",  # the platform's failure (code: PA), in the middle
        "out_of_memory",  # the model's failure, in the middle
        "timed_out",
        "canceled",  # someone else cancels it, in the middle
        "unknown_status",  # stays in a status that nobody has heard of
    }
)
CREATE = r"^/v1/predictions$"
AIMS = {
    "drop_reply": ("POST", CREATE),
    "no_credit": ("POST", CREATE),
    "invalid_version": ("POST", CREATE),
    "invalid_input": ("POST", CREATE),
    "not_found": ("GET", r"^/v1/predictions/\w+$"),
}


@dataclass(slots=True)
class Rule:
    """One thing that goes wrong. `path` is a pattern found in a request's path, or in a webhook's event.

    `times` is how often it still may (None: always); `used` counts how often it did.
    """

    kind: str
    method: str = ""
    path: str = ""
    times: int | None = None
    probability: float = 1.0
    after: bool = False
    seconds: float | None = None
    status: int = 502
    wait_in: str = "body"
    used: int = 0

    def __post_init__(self) -> None:
        if self.kind not in REQUESTS | WEBHOOKS | LIVES:
            raise ValueError(f"there is no fault {self.kind!r}")
        if self.kind in AIMS and not self.path:
            self.method, self.path = AIMS[self.kind]
        self.after = self.after or self.kind == "drop_reply"

    def meets(self, method: str, path: str) -> bool:
        return self.times != 0 and self.method in ("", method) and re.search(self.path, path) is not None


@dataclass(slots=True)
class Faults:
    """The settings, at what is most likely true of the real service, and the rules, none at first."""

    # How often a new prediction is not found before a GET finds it.
    hidden_gets: int = 0
    # What cancelling an ended prediction answers: 200, 404 or 422.
    cancel_finished: int = 200
    # Whether a live prediction lacks what it has not got yet, or has it as null.
    nulls: bool = False
    get_omits: list[str] = field(default_factory=list)
    list_omits: list[str] = field(
        default_factory=lambda: ["logs", "webhook", "webhook_completed", "webhook_events_filter"]
    )
    # The list, and what has ended, come from another server than what is live, which saw the creation later.
    created_at_skew: float = 0.0338
    # Pages point to another origin than ours: a client that follows gives its token away.
    foreign_links: bool = False
    carriage_returns: bool = False
    log_padding_bytes: int = 0
    retention_seconds: float = 3600.0
    file_seconds: float = 86400.0
    file_limit: int = 100_000_000
    upload_bytes_per_second: int = 0
    creates_per_minute: int = 600
    others_per_minute: int = 3000
    enforce_limits: bool = False
    # The documents say that the first webhook comes with "starting", the container sends it with "processing".
    start_webhook_at_creation: bool = False
    aborted_webhook: bool = True
    webhook_throttle_seconds: float = 0.5
    webhook_timeout_seconds: float = 5.0
    # The first pause before a terminal webhook is tried again. Pauses double, and end after sixty of the first.
    webhook_retry_seconds: float = 1.0
    webhook_reorder_seconds: float = 0.3
    rules: list[Rule] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(0))

    def add(self, kind: str, **options: Any) -> Rule:
        """Let `kind` happen from now on, as a rule's options say."""
        rule = Rule(kind, **options)
        self.rules.append(rule)
        return rule

    def storm(self, probabilities: Mapping[str, float], *, seed: int = 0, **options: Any) -> None:
        """Let many kinds happen at once, each with its probability."""
        self.chance.seed(seed)
        for kind, probability in probabilities.items():
            self.add(kind, probability=probability, **options)

    def calm(self) -> None:
        """Drop all rules; the settings stay."""
        self.rules.clear()

    def draw(self, kinds: frozenset[str], path: str, method: str = "") -> Iterator[Rule]:
        """The rules that strike now, one after another; one that is yielded counts as used."""
        for rule in tuple(self.rules):
            if rule.kind in kinds and rule.meets(method, path) and self._lot(rule.probability):
                rule.used += 1
                if rule.times is not None:
                    rule.times -= 1
                yield rule

    def change(self, settings: Mapping[str, Any]) -> None:
        """Change settings by name. Raises ValueError, having changed nothing, when one isn't known or doesn't fit."""
        unknown = set(settings) - self._names()
        if unknown:
            raise ValueError(f"there is no setting {', '.join(sorted(unknown))}")
        for name, value in settings.items():
            if not _fits(value, getattr(self, name)):
                raise ValueError(f"{name} can't be {value!r}")
        for name, value in settings.items():
            setattr(self, name, value)

    def settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in sorted(self._names())}

    def _names(self) -> set[str]:
        return {part.name for part in fields(self)} - {"rules", "chance"}

    def _lot(self, probability: float) -> bool:
        return probability >= 1.0 or self.chance.random() < probability


def _fits(value: object, now: object) -> bool:
    """Whether `value` is of the type that a setting has now; a whole number also fits where a fraction may be."""
    return type(value) is type(now) or (type(now) is float and type(value) is int)
