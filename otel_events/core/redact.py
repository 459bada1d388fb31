"""Redaction before the journal (law 8): what looks like a secret never reaches disk or wire.

A string is redacted by the name of its attribute (``SECRET_KEYS``), or where a part of its text has the shape of a
secret (``SECRET_VALUES``). Numbers and booleans are never secrets: ``max_tokens=512`` stays. A second redaction changes
nothing, and each pattern takes time linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from otel_events.model.event import REDACTED, AnyEvent, Error, Link, Log, PhaseChange, Report, Run, Scalar, Stat

SECRET_WORDS = (
    "passw(?:or)?d",
    "passphrase",
    "secret",
    "(?:api|access|private)[-_. ]?key",
    "authorization",
    "credential",
    "cookie",
    "(?:x-amz|x-goog)-signature",
    "(?:(?<![A-Za-z])dsn|(?-i:Dsn|DSN))(?![a-z])",
    "env_?vars",
    "serialized_?runtime_?env",
)
"""A name that holds one of these, in any case, names a secret (regular expressions)."""
COUNTED_WORDS = ("token(?!i[sz])",)
"""The same, unless the value is a number: models count tokens. Tokenizers and tokenization are no secrets."""

SHAPES: tuple[tuple[str, str], ...] = (
    (
        "private key in PEM",
        r"-----BEGIN [A-Z ]{0,24}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]{0,24}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    ),
    ("JSON Web Token", r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{6,1024}+\.[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){0,3}"),
    ("AWS access key id", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("GitHub or Slack token", r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|xox[abeprs]-[A-Za-z0-9-]{10,})"),
    ("user and password in a URL", r"(?<=://)(?:[^/\s:@\"'<>]*:[^/\s\"'<>]+|[^/\s:@\"'<>]{20,})(?=@)"),
)
"""(what it is, pattern): secrets that can be recognized anywhere; the whole match is redacted."""

_WORDS = "|".join(SECRET_WORDS + COUNTED_WORDS)
_IS = r"(?:\\*[\"'])?\s{0,2}(?:=>|[=:])\s{0,2}"
SECRET_VALUES: tuple[tuple[str, str], ...] = (
    *SHAPES,
    (
        # At least one capital, digit or sign beyond the first letter: "basic validation" is prose.
        "bearer or basic credentials",
        r"(?i:(?<=bearer )|(?<=basic ))(?=[A-Za-z]?[a-z._~-]*[A-Z0-9+/=])[A-Za-z0-9._~+/=-]{8,}",
    ),
    ("cookie header", rf"(?i:cookie2?{_IS})(?P<line>[^\s\\\"'][^\r\n\\\"']*)"),
    (
        "value after a secret's name",
        rf"(?P<name>(?i:{_WORDS}))[\w.-]{{0,64}}+{_IS}(?!(?i:{_WORDS})[\w.-]{{0,64}}+{_IS})"
        r"(?:(?P<quote>\\*[\"'])(?P<quoted>.*?)(?:(?<!\\)(?P=quote)|\Z)|(?P<list>\[[^\]]*\]?)"
        r"|(?P<object>\{(?:[^{}]|\{[^{}]*\})*\}?)"
        r"|(?i:(?:bearer|basic|token|digest|negotiate) )?+(?P<plain>[^\s\\\"',;&(){}\[\]]+))",
    ),
)
"""(what it is, pattern) of all that is redacted in free text; where a group holds the value, only that is redacted. A
quoted value ends at the quote with as many backslashes before it as the first one has (JSON in a JSON string)."""

SECRET_KEYS = re.compile(_WORDS, re.IGNORECASE | re.ASCII)
_CERTAIN_KEYS = re.compile("|".join(SECRET_WORDS), re.IGNORECASE | re.ASCII)
_NUMBERS = re.compile(r"[-+\d.,eE\s\[\]]*")
_GROUPS = ("line", "quoted", "list", "object", "plain")


def _compiled(table: tuple[tuple[str, str], ...]) -> re.Pattern[str]:
    # ASCII: case and word characters mean the same in text as in the bytes of its UTF-8.
    return re.compile("|".join(f"(?:{pattern})" for _, pattern in table), re.DOTALL | re.ASCII)


_SHAPE, _VALUE = _compiled(SHAPES), _compiled(SECRET_VALUES)
_BEGIN = "-----BEGIN "
_PEM = _compiled(SHAPES[:1])
"""Redacted first: after the name of a secret only the first word or line of such a key would be redacted."""

_KEN = re.compile("k(?:e[ny]|i[ea])").search  # token, key, cookie, akia: one run for four
_GITHUB = re.compile("gh[pousr]_").search
_USER = re.compile(r"://[^/\s]*@").search


def _has_clue(lowered: str) -> bool:
    """Whether a text in lower case may match any pattern: each pattern needs one of these clues.

    Every record pays for this check, so each clue is one search in C, shared where clues have letters in common, and
    skipped where a single character, which is searched fastest, is missing. ("dsn" needs no clue of its own: the URL
    behind it has an "@".)
    """
    return (
        ("@" in lowered and _USER(lowered) is not None)
        or "pass" in lowered
        or ("cre" in lowered and ("secret" in lowered or "credential" in lowered))
        or _KEN(lowered) is not None
        or ("z" in lowered and ("authoriz" in lowered or "serializedruntime" in lowered or "serialized_r" in lowered))
        or ("v" in lowered and ("env_vars" in lowered or "envvars" in lowered))
        or ("j" in lowered and "eyj" in lowered)
        or "asia" in lowered
        or ("x" in lowered and "xox" in lowered)
        or ("_" in lowered and "gh" in lowered and _GITHUB(lowered) is not None)
        or ("=" in lowered and "-signature" in lowered)
        or (" " in lowered and ("bearer " in lowered or "basic " in lowered))
    )


def suspicious(record: bytes) -> bool:
    """Whether a record may hold a secret: False is certain, True is a maybe.

    Args:
        record: A record whose strings stand in it as plain UTF-8, such as binary protobuf. It is not for JSON, which
            can hide letters behind escapes, or for anything with base64 in it.
    """
    return _has_clue(str(record.lower(), "latin-1"))


def text(value: str) -> str:
    """The text with everything that looks like a secret replaced by ``[redacted]``.

    Example:
        >>> text("connect with password=hunter2 please")
        'connect with password=[redacted] please'
    """
    if not _has_clue(value.lower()):
        return value
    return _VALUE.sub(_replace, _PEM.sub(REDACTED, value) if _BEGIN in value else value)


def _replace(match: re.Match[str]) -> str:
    start, end = _secret(match)
    whole, at = match.group(), match.start()
    return whole if start == end else whole[: start - at] + REDACTED + whole[end - at :]


def _secret(match: re.Match[str]) -> tuple[int, int]:
    """(start, end) of the secret in the text of a match; empty for a count of tokens and what is redacted already."""
    group = next((group for group in _GROUPS if match[group] is not None), None)
    if group is None:
        return match.span()
    start, end = match.span(group)
    if match[group] == REDACTED or start == end:
        return start, start
    if match["name"] and _NUMBERS.fullmatch(match[group]):
        certain = _CERTAIN_KEYS.search(match.string[match.start() : start])
        return (start, end) if certain else (start, start)
    return start, end


def attributes(values: dict[str, Scalar]) -> dict[str, Scalar]:
    """The attributes with secrets redacted.

    Args:
        values: Attributes of an event.

    Returns:
        A copy; the same dict where nothing changed.

    Example:
        >>> attributes({"api_key": "abc", "max_tokens": 512})
        {'api_key': '[redacted]', 'max_tokens': 512}
    """
    changed = {
        k: clean
        for k, v in values.items()
        if isinstance(v, str) and (clean := _repeated_attribute(k, v) if len(v) <= _SHORT else _attribute(k, v)) != v
    }
    return {**values, **changed} if changed else values


def _attribute(key: str, value: str) -> str:
    secret = _names_secret(key)
    if not secret:
        return text(value)
    counted = secret == _COUNTED and _NUMBERS.fullmatch(value)
    return value if counted or not value else REDACTED


_SHORT = 256
"""Characters of a text whose redaction is remembered: names, ids and states come again in many events."""
_repeated_attribute = lru_cache(maxsize=8192)(_attribute)
_repeated_text = lru_cache(maxsize=8192)(text)

_COUNTED, _CERTAIN = 1, 2


@lru_cache(maxsize=8192)
def _names_secret(key: str) -> int:
    """Whether the values of an attribute are secrets: 0 no, _COUNTED those that are no numbers, _CERTAIN all."""
    if _CERTAIN_KEYS.search(key):
        return _CERTAIN
    return _COUNTED if SECRET_KEYS.search(key) else 0


def event(event: AnyEvent) -> AnyEvent:
    """The event with secrets redacted; the same object where nothing changed.

    In texts, attributes and tags that is everything of SECRET_VALUES; in ids and names, which must stay distinct, only
    what has one of the SHAPES.
    """
    changes: dict[str, object] = {}
    clean = attributes(event.attributes)
    if clean is not event.attributes:
        changes["attributes"] = clean
    if (run := _run(event.run)) is not event.run and run != event.run:
        changes["run"] = run
    if (name := _shapes(event.id)) != event.id:
        changes["id"] = name
    if event.links and (links := tuple(map(_link, event.links))) != event.links:
        changes["links"] = links
    for field in _TEXT_FIELDS[type(event)]:
        value = getattr(event, field)
        if value and (redacted := _repeated_text(value) if len(value) <= _SHORT else text(value)) != value:
            changes[field] = redacted
    if isinstance(event, PhaseChange) and event.error is not None and (error := _error(event.error)) != event.error:
        changes["error"] = error
    if isinstance(event, Stat) and event.tags and (tags := attributes(dict(event.tags))) != event.tags:
        changes["tags"] = tags
    return msgspec.structs.replace(event, **changes) if changes else event


def events(decoded: Iterable[AnyEvent]) -> list[AnyEvent]:
    """Each event as ``event`` leaves it."""
    return [event(each) for each in decoded]


_TEXT_FIELDS: dict[type, tuple[str, ...]] = {
    PhaseChange: ("native", "reason"),
    Stat: ("name",),
    Log: ("message", "logger", "event_name"),
    Report: ("name", "uri", "content"),
}


def _shapes(value: str) -> str:
    return _SHAPE.sub(REDACTED, value) if _has_clue(value.lower()) else value


name = lru_cache(maxsize=8192)(_shapes)
"""A name without what shows a secret's shape."""


@lru_cache(maxsize=8192)
def _run(run: Run) -> Run:
    texts = ("id", "name", "root", "parent", "namespace", "workflow")
    changed = {field: clean for field in texts if (old := getattr(run, field)) and (clean := _shapes(old)) != old}
    return msgspec.structs.replace(run, **changed) if changed else run


def _link(link: Link) -> Link:
    return msgspec.structs.replace(link, id=_shapes(link.id), root=_shapes(link.root))


def _error(error: Error) -> Error:
    return Error(type=text(error.type), message=text(error.message), kind=error.kind, stack=text(error.stack))


def mask(record: bytes) -> bytes:
    """The record with secrets overwritten by ``*``, byte for byte.

    Tags, lengths and numbers of a protobuf message stay, so that it still parses.
    """
    if not suspicious(record):
        return record
    masked = bytearray(record)
    _mask(masked, record, 0, len(record), 0)
    return bytes(masked)


_DEEPEST = 32
"""Nesting of messages that is parsed; anything deeper is masked as text."""
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def _mask(masked: bytearray, record: bytes, start: int, end: int, depth: int) -> None:
    """Mask ``record[start:end]``: the contents of its fields if it is a message, else all of it as text. What holds no
    control character is text, even if its letters could be read as tags and lengths."""
    binary = depth < _DEEPEST and _CONTROL.search(record, start, end)
    inner = _contents(record, start, end) if binary else None
    for low, high in inner or ():
        _mask(masked, record, low, high, depth + 1)
    if inner is None:
        plain = _PEM.sub(_stars, str(record[start:end], "latin-1"))
        masked[start:end] = plain.encode("latin-1")
        for match in _VALUE.finditer(plain):
            low, high = _secret(match)
            masked[start + low : start + high] = b"*" * (high - low)


def _stars(match: re.Match[str]) -> str:
    return "*" * len(match[0])


def _contents(record: bytes, at: int, end: int) -> list[tuple[int, int]] | None:
    """Where the contents of length-delimited fields are, if ``record[at:end]`` can be a protobuf message; else None."""
    contents: list[tuple[int, int]] = []
    while at < end:
        tag, at = _varint(record, at, end)
        wire = tag & 7
        if tag < 8:
            return None
        if wire == 0:
            _, at = _varint(record, at, end)
        elif wire == 2:
            size, at = _varint(record, at, end)
            contents.append((at, at + size))
            at += size
        elif wire in _FIXED:
            at += _FIXED[wire]
        else:
            return None
    return contents if at == end else None


_FIXED = {1: 8, 5: 4}


def _varint(record: bytes, at: int, end: int) -> tuple[int, int]:
    """(number, where it ends); beyond ``end`` where it does not end in time."""
    value = shift = 0
    while at < end and shift < 70:
        byte = record[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    return 0, end + 1
