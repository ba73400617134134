"""Keeps secrets out of logs and pages: by the name of a key, by the form of a value, and by known values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import Any
from urllib.parse import unquote

MASK = "***"
# Deeper than any real config. Deeper values are masked whole, so that no nesting can exhaust the stack.
MAX_DEPTH = 40
# Shorter values occur in too many other places to be masked as secrets.
MIN_KNOWN_LENGTH = 8
MIN_FOUND_LENGTH = 12

_WORDS = frozenset(
    (
        *("token", "key", "secret", "password", "authorization", "passwd", "pwd", "pgpassword", "passphrase"),
        *(
            "credential",
            "cookie",
            "apikey",
            "authkey",
            "privatekey",
            "secretkey",
            "accesskey",
            "accesstoken",
            "authtoken",
        ),
        *("refreshtoken", "csrftoken", "csrfmiddlewaretoken", "sessionid"),
    )
)
# `api_keys` holds secrets and `max_tokens` a number: a plural counts at the end of a name, and never for a number.
_PLURALS = frozenset(f"{word}s" for word in _WORDS)
# After these words a name describes a secret and doesn't hold one: KeyError, token_count, key_name.
_HARMLESS_AFTER = frozenset(("count", "error", "errors", "type", "length", "size", "limit", "name", "names", "expires"))
_SEGMENT = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?")
_HOLDS_NOTHING = frozenset(["", "none", "null", "true", "false", MASK])

# Every text that a pattern below matches contains one of these. Searching for them costs 4 µs, the patterns 40.
_HINTS = (
    *("token", "key", "secret", "passw", "pwd", "passphrase", "credential", "cookie", "sessionid", "authorization"),
    *("signature=", "sig=", "bearer", "r8_", "whsec_", "hf_", "ct_", "sk-", "ghp_", "ghs_", "github_pat_", "akia"),
    *("/webhook", "hooks.slack", "api.telegram"),
    *("/login/emergency/", "/login/sso/callback?", "/account/email/"),
)
_BEARER = re.compile(r"\b(bearer)(\s+|%20)[\w.~+/=-]+", re.IGNORECASE)
_USERINFO = re.compile(r"""(://[^:/?#@\s"']*:)[^/?#\s"']*(?=@)""")
_USERINFO_PASSWORD = re.compile(r"://[^:/?#@\s]*:([^/?#\s]+)@")
# The whole address of a signed download, S3's or Azure's, gives access to the file.
_SIGNATURE = re.compile(r"([?&](?:[\w-]{1,20}-)?sig(?:nature)?=)[^&#\s\"'<>\\)]+", re.IGNORECASE)
# The whole address of a chat's webhook lets its holder write there: Discord, Slack, Telegram, Teams, in this order.
_CHAT_WEBHOOK = re.compile(
    r"(discord(?:app)?\.com/api/(?:v\d{1,3}/)?webhooks/\d{1,30}/"
    r"|hooks\.slack(?:-gov)?\.com/(?:services|triggers|workflows/[\w-]{1,100})/(?:[\w-]{1,100}/){2}"
    r"|api\.telegram\.org/(?:file/)?bot\d{1,30}(?::|%3A)"
    r"|office(?:365)?\.com/webhook\w{0,10}/[^/\s\"'<>\\?#]{1,200}/IncomingWebhook/)"
    r"[^\s\"'<>\\?#,;)\]}]+",
    re.IGNORECASE,
)
# Our own addresses that let in: the links of mails and of emergencies, and what a sign-on provider sends back.
_LINK = re.compile(
    r"(/login/(?:emergency/|sso/callback\?)|/password/\w{1,13}/(?=\w{1,13}-[0-9a-f]{32})|/account/email/(?=[\w-]{1,20}:))"
    r"[^\s\"'<>\\]+"
)
_TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(?:(?P<long>r8_|whsec_)[\w+/=-]{4,}"
    # A digit or twenty letters, since hf_transfer and ct_something are names of things.
    r"|(?P<plain>hf_|ct_)(?=[A-Za-z]*\d|[A-Za-z]{20})[A-Za-z0-9]{6,}"
    r"|(?P<other>sk-|gh[ps]_|github_pat_|AKIA)(?=[\w-]{16})[\w-]+)"
)
_PEM = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?=-----END|\Z)", re.DOTALL)
# `token=x`, `"api_key": "x y"`, `X-API-Key: x`. The bound and the look-behind keep a megabyte of letters linear.
_ASSIGNMENT = re.compile(r"""(?<![\w.-])-{0,2}(?P<name>[A-Za-z_][\w.-]{0,99})(?P<between>\\?["']?\s*[=:]\s*)""")
_FLAG = re.compile(r"(?<![\w-])(--[\w-]{1,100})(\s+)([^\s-]\S*)")
_VALUE = re.compile(
    r"""[bBrRuU]?(?:\\"(?P<escaped>.*?)(?:\\"|\Z)"""
    r"""|"(?P<double>(?:[^"\\]|\\.)*)(?:"|\Z)"""
    r"""|'(?P<single>(?:[^'\\]|\\.)*)(?:'|\Z))|(?P<nested>[\[{(][^\]})]*)"""
    r"""|(?:(?:bearer|basic|token|digest)\s+)?(?P<bare>(?:[^\s&;,)}\]"'<>\\]|,(?!\s|[\w.-]+=|\Z))+)""",
    re.IGNORECASE | re.DOTALL,
)

_QUOTED = frozenset(("escaped", "double", "single"))


class _KnownSecrets:
    """Values that are masked in every text, plain and as JSON writes them."""

    def __init__(self) -> None:
        self.values: tuple[str, ...] = ()
        self.written: tuple[str, ...] = ()
        #: Of each source that changes its secret, the last two: the one before may be in use for a while.
        self._latest: dict[str, tuple[str, ...]] = {}

    def add(self, value: str, source: str = "") -> None:
        if len(value) < MIN_KNOWN_LENGTH or value in self.values:
            return
        of_source = (*self._latest.get(source, ()), value)
        if source:
            self._latest[source] = of_source[-2:]
        self.values = (*(secret for secret in self.values if secret not in of_source[:-2]), value)
        written = {*self.values, *(json.dumps(secret)[1:-1] for secret in self.values)}
        # The longest first: one may be a part of another.
        self.written = tuple(sorted(written, key=len, reverse=True))


_known_secrets = _KnownSecrets()


def register_secret(value: str, *, source: str = "") -> None:
    """Mask `value` from now on in every text. Very short ones are ignored.

    `source` names what changes its secret again and again, as a token's file does: of those the last two are masked.
    """
    _known_secrets.add(value, source)


def register_secrets_of(environment: Mapping[str, str]) -> None:
    """Register the values of variables with a secret's name, and the passwords in addresses like DATABASE_URL's.

    Those that are short enough to be a plain word, like the password `postgres`, are left out.
    """
    for name, value in environment.items():
        is_secret = is_secret_name(name) and not _is_working_folder(name, value)
        secrets = [value] if is_secret else _USERINFO_PASSWORD.findall(value)
        for secret in secrets:
            if len(secret) >= MIN_FOUND_LENGTH:
                _known_secrets.add(secret)
                _known_secrets.add(unquote(secret))


@lru_cache(maxsize=4096)
def _words_in(name: str) -> tuple[bool, bool]:
    """Whether `name` names a secret, and whether it only does so by a plural."""
    segments = [segment.lower() for segment in _SEGMENT.findall(name[:200])]
    for segment, following in zip_longest(segments, segments[1:], fillvalue=""):
        if segment in _WORDS and following not in _HARMLESS_AFTER:
            return True, False
    plural = bool(segments) and segments[-1] in _PLURALS
    return plural, plural


def is_secret_name(name: str) -> bool:
    """Whether a key, header, variable or option of this name holds a secret: `hf_token`, `X-API-Key`, `apiKey`."""
    return _words_in(name)[0]


def _holds_secret(name: object, value: object) -> bool:
    if not isinstance(name, str):
        return False
    secret, by_plural = _words_in(name)
    if not secret or value is None or isinstance(value, bool) or _is_working_folder(name, value):
        return False
    if isinstance(value, str):
        return value.lower() not in _HOLDS_NOTHING and not (by_plural and _NUMBER.fullmatch(value))
    return not (by_plural and isinstance(value, int | float))


def _is_working_folder(name: str, value: object) -> bool:
    """The shell's PWD. Known as a secret, it would mask every path below it; `pwd` and DB_PWD are passwords."""
    return name == "PWD" and isinstance(value, str) and value.startswith("/")


def may_hold_secret(text: str) -> bool:
    """False when `mask_text` would surely change nothing; much cheaper."""
    lowered = text.lower()
    for hint in _HINTS:
        if hint in lowered:
            return True
    for secret in _known_secrets.written:
        if secret in text:
            return True
    return "@" in text and "://" in text


def mask_secrets(value: Any, depth: int = 0) -> Any:
    """Return a copy of `value` without its secrets: mappings and sequences are walked, texts searched."""
    if isinstance(value, str):
        return mask_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return _mask_mapping(value, depth) if depth < MAX_DEPTH else MASK
    if isinstance(value, list | tuple):
        return _mask_sequence(value, depth) if depth < MAX_DEPTH else MASK
    return value


def _mask_mapping(mapping: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
    return {
        mask_text(key) if isinstance(key, str) else key: MASK
        if _holds_secret(key, value)
        else mask_secrets(value, depth + 1)
        for key, value in mapping.items()
    }


def _mask_sequence(items: Sequence[Any], depth: int) -> Sequence[Any]:
    """Mask an item after `--hub_token`, or the second of a pair like a header, by the name before it."""
    masked = [mask_secrets(item, depth + 1) for item in items]
    is_pair = len(items) == 2
    for index, name in enumerate(items[:-1]):
        names_next = isinstance(name, str) and "=" not in name and (is_pair or name.startswith("--"))
        if names_next and _holds_secret(name, items[index + 1]):
            masked[index + 1] = MASK
    return masked if isinstance(items, list) else tuple(masked)


def mask_text(text: str) -> str:
    """Return `text` with `***` for each secret: a known value, a token by its form, a value after a secret's name."""
    if not may_hold_secret(text):
        return text
    for secret in _known_secrets.written:
        text = text.replace(secret, MASK)
    text = _PEM.sub(rf"\1{MASK}", text)
    text = _USERINFO.sub(rf"\1{MASK}", text)
    text = _BEARER.sub(rf"\1\2{MASK}", text)
    text = _SIGNATURE.sub(rf"\1{MASK}", text)
    text = _CHAT_WEBHOOK.sub(rf"\1{MASK}", text)
    text = _LINK.sub(rf"\1{MASK}", text)
    text = _TOKEN.sub(_keep_prefix, text)
    text = _FLAG.sub(_mask_flag, text)
    return _mask_assignments(text)


def _keep_prefix(match: re.Match[str]) -> str:
    """Return `hf_***`: the token's kind is no secret, and says where to look."""
    return f"{match['long'] or match['plain'] or match['other']}{MASK}"


def _mask_flag(match: re.Match[str]) -> str:
    name, space, value = match.groups()
    return f"{name}{space}{MASK}" if _holds_secret(name, value) else match[0]


def _mask_assignments(text: str) -> str:
    pieces = []
    done = 0
    while match := _ASSIGNMENT.search(text, done):
        value = _VALUE.match(text, match.end()) if _assigns(match) else None
        # Only a certain secret is skipped: another value may contain a further assignment.
        end = match.end()
        if value and value.lastgroup and _holds_secret(match["name"], value[value.lastgroup]):
            end = value.end(value.lastgroup)
            # The value's quotes stay, so that JSON stays JSON; a scheme like Bearer is masked with the value.
            start = value.start(value.lastgroup) if value.lastgroup in _QUOTED else match.end()
            pieces += [text[done:start], MASK]
        else:
            pieces.append(text[done:end])
        done = end
    return "".join([*pieces, text[done:]])


def _assigns(match: re.Match[str]) -> bool:
    """Whether the name has a value. In "Unknown key: interval" it is a word of a sentence."""
    is_sentence = match["between"].strip() == ":" and match["name"].lower() in ("key", "keys")
    return is_secret_name(match["name"]) and not is_sentence
