"""Redaction before the journal (law 8): what looks like a secret never reaches disk or wire.

A string is redacted by the name of its attribute (``SECRET_KEYS``), or where its text holds something of a secret's
shape (``SECRET_VALUES``). Numbers and booleans are never secrets: ``max_tokens=512`` stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from otel_events.event import AnyEvent, Error, Log, PhaseChange, Report, Scalar, Stat

REDACTED = "[redacted]"

SECRET_WORDS = (
    "passwd",
    "password",
    "passphrase",
    "secret",
    "token",
    "api[-_. ]?key",
    "access[-_. ]?key",
    "private[-_. ]?key",
    "authorization",
    "credential",
    "cookie",
    "dsn",
)
"""A name that holds one of these, in any case, names a secret (regular expressions)."""

_WORDS = "|".join(SECRET_WORDS)
SECRET_KEYS = re.compile(rf"(?i){_WORDS}")

SECRET_VALUES: tuple[tuple[str, str], ...] = (
    ("private key in PEM", r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"),
    ("JSON Web Token", r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)?"),
    ("AWS access key id", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("GitHub or Slack token", r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|xox[abprs]-[A-Za-z0-9-]{10,})"),
    ("user and password in a URL", r"(?<=://)[^/\s:@\"']+:[^/\s@\"']+(?=@)"),
    ("bearer or basic credentials", r"(?i:(?<=bearer )|(?<=basic ))[A-Za-z0-9._~+/=-]{8,}"),
    (
        "value after a secret's name",
        rf"(?i:[\w.-]{{0,64}}(?:{_WORDS})[\w.-]{{0,64}}[\\\"']{{0,3}}\s?[=:]\s?[\\\"']{{0,3}}(?:bearer |basic )?)"
        r"(?P<value>[^\s\\\"',;&)}\]]{2,})",
    ),
)
"""(what it is, pattern); the group ``value`` is redacted where there is one, else the whole match."""

_VALUE = re.compile("|".join(f"(?:{pattern})" for _, pattern in SECRET_VALUES), re.DOTALL)
_VALUE_BYTES = re.compile(_VALUE.pattern.encode(), re.DOTALL)

_NEEDLES = (
    *(b"passw", b"passphrase", b"secret", b"token", b"api", b"key-", b"access", b"private", b"authoriz", b"credential"),
    *(b"cookie", b"dsn", b"eyj", b"akia", b"asia", b"gh", b"xox", b"bearer", b"basic", b"-----begin"),
)
# A text that holds none of these cannot match: the cheap screen of the hot path. "@" stands for URL user info.
_SCREEN = tuple(n for n in _NEEDLES if n not in (b"api", b"gh", b"access", b"key-")) + (b"apik", b"api-k", b"api_k")
_SCREEN += (b"api.k", b"api k", b"access", b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"@")


def suspicious(record: bytes) -> bool:
    """Whether a record whose strings stand in it as plain UTF-8 may hold a secret. False is certain, True is not.

    JSON can hide letters behind escapes and base64 behind anything: ask this of binary protobuf only.
    """
    lowered = record.lower()
    return any(needle in lowered for needle in _SCREEN)


def text(value: str) -> str:
    """The text with everything that looks like a secret replaced by ``[redacted]``."""
    return _VALUE.sub(_replace, value) if value else value


def mask(record: bytes) -> bytes:
    """The record with secrets overwritten by ``*``, byte for byte, so that lengths (and so protobuf framing) hold."""
    return _VALUE_BYTES.sub(_stars, record)


def attributes(values: dict[str, Scalar]) -> dict[str, Scalar]:
    """The attributes with secret ones redacted: the same dict where nothing changed."""
    changed = {k: clean for k, v in values.items() if isinstance(v, str) and (clean := _attribute(k, v)) != v}
    return {**values, **changed} if changed else values


def event(event: AnyEvent) -> AnyEvent:
    """The event without what looks like a secret: attributes, reason, error, message, uri, content and tags."""
    changes: dict[str, object] = {}
    clean = attributes(event.attributes)
    if clean is not event.attributes:
        changes["attributes"] = clean
    for field in _TEXT_FIELDS[type(event)]:
        value = getattr(event, field)
        if value and (redacted := text(value)) != value:
            changes[field] = redacted
    if isinstance(event, PhaseChange) and event.error is not None and (error := _error(event.error)) != event.error:
        changes["error"] = error
    if isinstance(event, Stat) and event.tags and (tags := attributes(dict(event.tags))) != event.tags:
        changes["tags"] = tags
    return msgspec.structs.replace(event, **changes) if changes else event


def events(found: Iterable[AnyEvent]) -> list[AnyEvent]:
    return [event(one) for one in found]


_TEXT_FIELDS: dict[type, tuple[str, ...]] = {
    PhaseChange: ("reason",),
    Stat: (),
    Log: ("message",),
    Report: ("uri", "content"),
}


def _attribute(key: str, value: str) -> str:
    # A trace context is no secret, whatever letters its hex digits happen to form.
    if key == "traceparent":
        return value
    return REDACTED if SECRET_KEYS.search(key) else text(value)


def _error(error: Error) -> Error:
    return Error(type=text(error.type), message=text(error.message), kind=error.kind, stack=text(error.stack))


def _replace(match: re.Match[str]) -> str:
    value = match.group("value")
    return REDACTED if value is None else match.group(0)[: -len(value)] + REDACTED


def _stars(match: re.Match[bytes]) -> bytes:
    value = match.group("value")
    whole = match.group(0)
    return b"*" * len(whole) if value is None else whole[: -len(value)] + b"*" * len(value)
