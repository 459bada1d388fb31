"""Inputs of a task -> the key of its result in the cache: the same in every process, on every run.

    key = blake2b-256 of (SCHEME, name of the definition, cache_version, each input's name and value, by name)

A value is written as the tag of its type, its length and its content, so that values of different type or structure
never write the same: 1, 1.0, True and "1" differ, as do a list and a tuple. The parts of sets and dicts are written in
the order of their digests, since their own order does not matter. An object of a dataclass or msgspec.Struct is written
as its fields; of an Enum, its member's name. Any other object is written as its pickle, so only objects that pickle
alike are a hit.
"""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from typing import Any
from uuid import UUID

import msgspec

SCHEME = b"otel-events cache 1"
DEEPEST = 100
"""Levels of values in values; deeper ones raise ValueError (and what holds itself does)."""


def key(name: str, version: str, inputs: Mapping[str, Any]) -> str:
    """The key of a result.

    Args:
        name: Of the definition.
        version: The ``cache_version`` of the task.
        inputs: Value of each parameter.

    Returns:
        64 hex digits.

    Raises:
        ValueError: An input is nested too deep. Also what pickling an input raises.

    >>> key("load", "1", {"rows": 1}) == key("load", "1", {"rows": 1})
    True
    >>> key("load", "1", {"rows": 1}) == key("load", "1", {"rows": True})
    False
    """
    digest = blake2b(digest_size=32)
    for part in (SCHEME, name.encode("utf-8", "surrogatepass"), version.encode("utf-8", "surrogatepass")):
        digest.update(_framed(b"k", part))
    for variable, value in sorted(inputs.items()):
        digest.update(_framed(b"v", variable.encode("utf-8", "surrogatepass")) + _written(value, 0))
    return digest.hexdigest()


def _framed(tag: bytes, content: bytes) -> bytes:
    return tag + str(len(content)).encode() + b":" + content


def _written(value: Any, depth: int) -> bytes:
    if depth > DEEPEST:
        raise ValueError(f"an input is nested more than {DEEPEST} levels deep")
    kind = type(value)
    if kind in _SCALARS:
        tag, write = _SCALARS[kind]
        return _framed(tag, write(value))
    if kind in _ORDERED:
        return _framed(_ORDERED[kind], b"".join([_written(item, depth + 1) for item in value]))
    if kind in _UNORDERED:
        return _framed(_UNORDERED[kind], b"".join(sorted(_digest(_written(item, depth + 1)) for item in value)))
    if kind is dict:
        return _framed(b"D", _pairs(value.items(), depth))
    return _framed(b"O", _object(value, depth))


def _pairs(pairs: Iterable[tuple[Any, Any]], depth: int) -> bytes:
    written = (_written(name, depth + 1) + _written(value, depth + 1) for name, value in pairs)
    return b"".join(sorted(map(_digest, written)))


def _digest(written: bytes) -> bytes:
    return blake2b(written, digest_size=32).digest()


def _object(value: Any, depth: int) -> bytes:
    kind = type(value)
    named = _framed(b"c", f"{kind.__module__}.{kind.__qualname__}".encode("utf-8", "surrogatepass"))
    if isinstance(value, Enum):
        return named + _framed(b"e", value.name.encode("utf-8", "surrogatepass"))
    if dataclasses.is_dataclass(value):
        return named + _pairs([(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)], depth)
    if isinstance(value, msgspec.Struct):
        return named + _pairs([(name, getattr(value, name)) for name in value.__struct_fields__], depth)
    return named + _framed(b"p", pickle.dumps(value, protocol=4))


def _text(value: object) -> bytes:
    return str(value).encode("utf-8", "surrogatepass")


_SCALARS: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {
    type(None): (b"n", lambda value: b""),
    bool: (b"b", lambda value: b"1" if value else b"0"),
    int: (b"i", lambda value: hex(value).encode()),
    float: (b"f", lambda value: float(value).hex().encode()),
    complex: (b"z", lambda value: f"{value.real.hex()} {value.imag.hex()}".encode()),
    str: (b"s", _text),
    bytes: (b"y", bytes),
    bytearray: (b"a", bytes),
    datetime: (b"t", lambda value: f"{value.isoformat()} {value.fold}".encode()),
    date: (b"d", lambda value: value.isoformat().encode()),
    time: (b"h", lambda value: f"{value.isoformat()} {value.fold}".encode()),
    timedelta: (b"w", lambda value: f"{value.days} {value.seconds} {value.microseconds}".encode()),
    Decimal: (b"m", _text),
    UUID: (b"u", lambda value: value.bytes),
}
_ORDERED: dict[type, bytes] = {list: b"L", tuple: b"T"}
_UNORDERED: dict[type, bytes] = {set: b"S", frozenset: b"F"}
