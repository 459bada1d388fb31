"""Inputs of a task -> the key of its result in the cache: the same in every process, on every run.

    key = blake2b-256 of (SCHEME, name of the definition, cache_version, each input's name and value, by name)

A value is written as its type's tag, its length and its content, so that no two of different type or structure write
the same: 1, 1.0, True and "1" differ, as do a list and a tuple. Sets and dicts are written in the order of their parts'
digests: they have none of their own that matters. An object of a dataclass or msgspec.Struct is written as its fields;
of an Enum, its member's name. Any other object is written as its pickle: equal objects must pickle alike for a hit.
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
    """64 hex digits. Raises what pickling an input raises, and ValueError for one that is too deep."""
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
        return _framed(_ORDERED[kind], b"".join([_written(one, depth + 1) for one in value]))
    if kind in _UNORDERED:
        return _framed(_UNORDERED[kind], b"".join(sorted(_digest(_written(one, depth + 1)) for one in value)))
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
        return named + _pairs([(one.name, getattr(value, one.name)) for one in dataclasses.fields(value)], depth)
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
