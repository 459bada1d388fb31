"""Protobuf wire format, as far as OTLP needs it: lengths, texts and attributes, with a cache of encoded attributes.

An attribute is a whole field of its message: tag, length, KeyValue. Most repeat, so their bytes are cached by (tag,
type, key, value). The type is part of the key because ``1 == 1.0 == True`` for a dict; a float is never cached because
``0.0 == -0.0``. A key with too many values (run ids, URIs) leaves the cache: then only what stands before its text is
cached, by length. All caches are bounded, whatever the input. Threads may share them: in a race the same bytes are
encoded twice.

Sizes: a value is cached up to LONG bytes, a key has up to VALUES values, a tag up to KEYS keys, and all together
ENTRIES; when those are reached, all values are dropped and the cache fills anew with what is in use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any, Protocol

from otel_events.model.event import Scalar

VALUES, KEYS, ENTRIES, LONG = 4096, 1024, 1 << 16, 256
MAX_FIXED64 = (1 << 64) - 1

_double = Struct("<d").pack


class Fields(Protocol):
    """A value -> the bytes of its whole field."""

    def __getitem__(self, value: Any, /) -> bytes: ...


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


SMALL = [_varint(number) for number in range(1 << 14)]
"""Varints of up to two bytes, by number."""


def varint(number: int) -> bytes:
    """``number`` (int64 or uint64) as a varint; a negative one takes 10 bytes."""
    return SMALL[number] if 0 <= number < 1 << 14 else _varint(number & MAX_FIXED64)


def utf8(text: str) -> bytes:
    """The one place where text becomes bytes: lone surrogates, which UTF-8 cannot hold, become "?"."""
    return text.encode("utf-8", "replace")


def field(tag: bytes, body: bytes) -> bytes:
    """A length-delimited field."""
    size = len(body)
    return tag + (SMALL[size] if size < 1 << 14 else _varint(size)) + body


class _Headers(dict[int, bytes]):
    """Length of a text in bytes -> all that stands before it, from the innermost of ``around`` outwards.

    ``around`` are (what follows the tag's length, tag) pairs: the text's own tag first.
    """

    __slots__ = ("_around",)

    def __init__(self, *around: tuple[bytes, bytes]) -> None:
        self._around = around

    def __missing__(self, size: int) -> bytes:
        header = b""
        for tag, before in self._around:
            header = tag + varint(len(before) + len(header) + size) + before + header
        if size < LONG * 4:
            self[size] = header
        return header


class _Text:
    """Fields of one tag that hold a text inside ``around`` (see _Headers)."""

    __slots__ = ("_headers",)

    def __init__(self, *around: tuple[bytes, bytes]) -> None:
        self._headers = _Headers(*around)

    def __getitem__(self, value: str) -> bytes:
        data = value.encode("utf-8", "replace")  # utf8(), without the call
        return self._headers[len(data)] + data


class _Int:
    """KeyValue fields of one tag and key that hold an integer; one beyond 64 bits goes out as text."""

    __slots__ = ("_before", "_tag", "_texts")

    def __init__(self, tag: bytes, key: bytes) -> None:
        self._tag, self._before, self._texts = tag, key, _key_text(tag, key)

    def __getitem__(self, value: int) -> bytes:
        if -(1 << 63) <= value < 1 << 63:
            return field(self._tag, self._before + field(b"\x12", b"\x18" + varint(value)))
        return self._texts[_digits(value)]


def _digits(value: int) -> str:
    return str(value) if value.bit_length() < 1 << 13 else hex(value)  # str() refuses long ones


class _Float:
    """KeyValue fields of one tag and key that hold a float."""

    __slots__ = ("_before",)

    def __init__(self, tag: bytes, key: bytes) -> None:
        self._before = tag + varint(len(key) + 11) + key + b"\x12\x09\x21"

    def __getitem__(self, value: float) -> bytes:
        return self._before + _double(value)


class _Interned(dict[Any, bytes]):
    """A cache of encoded fields by value. At VALUES entries it replaces itself in ``owner`` with ``fields``, which
    encodes each time."""

    __slots__ = ("_fields", "_name", "_owner")

    def __init__(self, owner: _Names, name: Any, fields: Fields) -> None:
        self._owner, self._name, self._fields = owner, name, fields

    def __missing__(self, value: Any) -> bytes:
        encoded = self._fields[value]
        if len(encoded) <= LONG:
            if len(self) >= VALUES:
                self._owner[self._name] = self._fields
                return encoded
            _CACHE.count_entry()
            self[value] = encoded
        return encoded


class _Names(dict[Any, Fields]):
    """Name (an attribute's key, or a tag) -> its fields, which ``make`` creates when the name is first used."""

    __slots__ = ("_make", "_seen")

    def __init__(self, make: Callable[[Any], Fields], intern: bool = True) -> None:
        self._make, self._seen = make, intern
        if intern:
            _CACHE.owners.append(self)

    def __missing__(self, name: Any) -> Fields:
        fields = self._make(name)
        if len(self) >= KEYS or (isinstance(name, str) and len(name) > LONG):
            return fields
        self[name] = fields = _Interned(self, name, fields) if self._seen else fields
        return fields


class _Cache:
    """Counts the values in all caches together (about, when threads race) and empties all of them at ENTRIES."""

    def __init__(self) -> None:
        self.count = 0
        self.owners: list[_Names] = []

    def count_entry(self) -> None:
        self.count += 1
        if self.count > ENTRIES:
            self.count = 0
            for owner in self.owners:
                for fields in list(owner.values()):
                    if isinstance(fields, _Interned):
                        fields.clear()


_CACHE = _Cache()


def _key_text(tag: bytes, key: bytes) -> _Text:
    return _Text((b"\x0a", b""), (b"\x12", b""), (tag, key))


class _Plain:
    """Values of a type that OTLP does not have, each sent as its nearest scalar."""

    __slots__ = ("_key", "_types")

    def __init__(self, types: Types, key: str) -> None:
        self._types, self._key = types, key

    def __getitem__(self, value: Any) -> bytes:
        plain = as_sent(value)
        return self._types[type(plain)][self._key][plain]


def as_sent(value: Any) -> Scalar:
    """The scalar that is sent for ``value``: itself, or the nearest one where OTLP has no type for it."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -(1 << 63) <= value < 1 << 63 else _digits(value)
    if isinstance(value, float):
        return float(value)
    return str.__str__(value) if isinstance(value, str) else str(value)  # str() of an Enum is its name instead


class Types(dict[type, _Names]):
    """Type of a value -> key -> value -> bytes, with one ``maker`` of Fields for a key by type.

    Subclasses and other types go the way of their nearest scalar.
    """

    def __init__(self, makers: Mapping[type, Callable[[str], Fields]]) -> None:
        for kind, make in makers.items():
            self[kind] = _Names(make, intern=kind in (str, int))

    def __missing__(self, kind: type) -> _Names:
        return _Names(lambda key: _Plain(self, key), intern=False)


def _makers(number: int) -> dict[type, Callable[[str], Fields]]:
    """Of the KeyValue fields of one tag."""
    tag = bytes([number])

    def before(key: str) -> bytes:
        return field(b"\x0a", utf8(key)) if key else b""

    def bools(key: str) -> Fields:
        encoded = (field(tag, before(key) + b"\x12\x02\x10" + value) for value in (b"\x00", b"\x01"))
        return dict(zip((False, True), encoded, strict=True))

    return {
        str: lambda key: _key_text(tag, before(key)),
        int: lambda key: _Int(tag, before(key)),
        float: lambda key: _Float(tag, before(key)),
        bool: bools,
    }


RESOURCE, EVENT, LINK, LOG, POINT, SPAN = 0x0A, 0x1A, 0x22, 0x32, 0x3A, 0x4A
"""Tag (field number and type, one byte) of the attributes of each message; histogram points use SPAN too."""

ATTRIBUTES: dict[int, Types] = {tag: Types(_makers(tag)) for tag in (RESOURCE, EVENT, LINK, LOG, POINT, SPAN)}
"""tag -> type -> key -> value -> field; ``ATTRIBUTES[SPAN][type(v)][k][v]`` is what a fast loop inlines."""

NAMES: Mapping[int, Fields] = _Names(lambda tag: _Text((bytes([tag]), b"")))
"""tag -> text -> field, for texts of few values: names of spans, events and metrics, severities."""

BODY = _Text((b"\x0a", b""), (b"\x2a", b""))
"""text -> the field of a log record's body."""


def attribute(tag: int, key: str, value: Scalar) -> bytes:
    """One attribute as a field of a message.

    Args:
        tag: One of the tags above.
        key: Name of the attribute.
        value: Its value; one that OTLP has no type for is sent as the nearest scalar.

    Returns:
        The encoded field.

    Example:
        >>> attribute(LOG, "a", 1)
        b'2\\x07\\n\\x01a\\x12\\x02\\x18\\x01'
    """
    return ATTRIBUTES[tag][type(value)][key][value]


def attributes(tag: int, values: Mapping[str, Scalar]) -> bytes:
    """Several attributes as fields of a message, in their order.

    Args:
        tag: One of the tags above.
        values: Attributes by name.

    Returns:
        The encoded fields, one after the other.
    """
    types = ATTRIBUTES[tag]
    return b"".join([types[type(value)][key][value] for key, value in values.items()])
