"""Requests and answers as bytes: paths and versions, query arguments, bodies, the envelope.

Rules of the recorded server (2.3.0, API 2.34): any method, the body is JSON whatever its type says, but exactly
``application/json-lines``; query arguments go over the body's fields.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from otel_events.clearml_server.api.base import ApiError, Version, failed_validation, parsed
from otel_events.model.nesting import shallow

NEWEST: Version = (2, 34)
LINES = "application/json-lines"
MALFORMED = "The browser (or proxy) sent a request that this server could not understand."
MAX_ARGUMENTS = 1_000

_PATH = re.compile(r"/?(?:v(?P<version>\d{1,6}\.\d{1,6})/)?(?P<name>[\w-]{1,100}\.[\w-]{1,100})/?", re.ASCII)
_WHOLE = re.compile(r"-?\d{1,18}", re.ASCII)
_FRACTION = re.compile(r"-?\d{1,18}\.\d{1,18}", re.ASCII)
_WORDS = {"true": True, "false": False}


class Target(msgspec.Struct, frozen=True):
    """The endpoint that a path names, and the version as the path has it."""

    name: str
    version: str

    @property
    def number(self) -> Version:
        """The numbers of the version."""
        return parsed(self.version)


def target(path: str) -> Target:
    """The endpoint and version of a path; the newest version where it names none.

    Raises:
        ApiError: 400/0, the path has not the form of an endpoint's.

    >>> target("/v2.9/events.get_task_log")
    Target(name='events.get_task_log', version='2.9')
    """
    match = _PATH.fullmatch(path)
    if not match:
        raise ApiError(400, 0, f"Invalid request path {path[:200]}")
    return Target(match["name"], match["version"] or dotted(NEWEST))


def dotted(version: Version) -> str:
    """``(2, 9)`` -> ``2.9``."""
    return f"{version[0]}.{version[1]}"


def arguments(query: str) -> dict[str, Any]:
    """Query arguments as fields: what looks like a number or boolean is one, ``a[]`` and repeated names become lists,
    dotted names become objects.

    Raises:
        ApiError: 400/0, there are more than MAX_ARGUMENTS.

    >>> arguments("a=1&b[]=x&c.d=true")
    {'a': 1, 'b': ['x'], 'c': {'d': True}}
    """
    nested: dict[str, Any] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_ARGUMENTS)
    except ValueError as error:
        raise ApiError(400, 0, f"too many query arguments: {MAX_ARGUMENTS} at most") from error
    for name, text in pairs:
        _put(nested, name, _value(text))
    return nested


def _value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _FRACTION.fullmatch(text) else text


def _put(holder: dict[str, Any], name: str, value: Any) -> None:
    *outer, last = name.split(".")[:10]
    for part in outer:
        inner = holder.setdefault(part, {})
        if not isinstance(inner, dict):
            return
        holder = inner
    if last.endswith("[]"):
        before = holder.setdefault(last[:-2], [])
        if isinstance(before, list):
            before.append(value)
    elif last in holder:
        before = holder[last]
        holder[last] = [*before, value] if isinstance(before, list) else [before, value]
    else:
        holder[last] = value


def fields(body: bytes) -> dict[str, Any]:
    """The object of a JSON body; {} for an empty one.

    Raises:
        ApiError: 400/0, it is no JSON; 400/12, it is no object.
    """
    if not body.strip():
        return {}
    document = _decoded(body)
    if not isinstance(document, dict):
        raise failed_validation(f"the body must be an object, found: {type(document).__name__}")
    return document


def lines(body: bytes) -> list[dict[str, Any]]:
    """The objects of a body with one a line; a newline at the end is fine.

    Raises:
        ApiError: 400/0, a line is blank or no object. Then all lines are refused, as the recorded server does.
    """
    text = body.replace(b"\r\n", b"\n").removesuffix(b"\n")
    if not text:
        return []
    objects = [_decoded(line) for line in text.split(b"\n")]
    for value in objects:
        if not isinstance(value, dict):
            raise ApiError(400, 0, f"json lines must contain objects, found: {type(value).__name__}")
    return objects


_NO_JSON_NUMBER = re.compile(rb"\b(?:NaN|-?Infinity)\b")


def _decoded(text: bytes) -> Any:
    try:
        shallow(text)
    except msgspec.DecodeError as error:
        raise ApiError(400, 0, MALFORMED) from error
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        if not _NO_JSON_NUMBER.search(text):
            raise ApiError(400, 0, MALFORMED) from error
    return _lenient(text)


def _lenient(text: bytes) -> Any:
    """Decode JSON with NaN or Infinity in it, which Python's own encoder writes: only the event that has the value is
    refused later, not the whole batch."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, 0, MALFORMED) from error


def envelope(
    at: Target | None, actual: Version | None, data: Mapping[str, Any], error: ApiError | None = None
) -> bytes:
    """The bytes of an answer.

    Args:
        at: What was called; None where the path names nothing.
        actual: The version that answers; None where no endpoint fits.
        data: The answer's ``data``.
        error: Instead of ``data``.

    Returns:
        JSON with ``meta`` and ``data``. Versions below 2.1 are numbers in it, as in the recorded server's answers.
    """
    number = uuid.uuid4().hex
    numeric = at is None or at.number < (2, 1)
    meta = {
        "id": number,
        "trx": number,
        "endpoint": {
            "name": at.name if at else "",
            "requested_version": _shown(at.version if at else "1.0", numeric),
            "actual_version": _shown(dotted(actual), numeric) if actual else None,
        },
        "result_code": error.code if error else 200,
        "result_subcode": error.subcode if error else 0,
        "result_msg": error.message[:10_000] if error else "OK",
        "error_stack": None,
        "error_data": {},
    }
    return msgspec.json.encode({"meta": meta, "data": {} if error else data})


def _shown(version: str, numeric: bool) -> str | float:
    return float(version) if numeric else version
