"""Proto3 JSON into protobuf messages, and protobuf messages into plain values.

A reader of our own, because ``json_format.ParseDict`` walks the descriptors anew for each record: here every message
type becomes a table once, JSON key -> the function that sets the field. Field names may be lowerCamel or as in the
proto; unknown keys are ignored; null is the default. Rules: protobuf.dev/programming-guides/json.
"""

from __future__ import annotations

import math
import re
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from otel_events.model.errors import DecodeError
from otel_events.sources.flyte.base import VALUE_LIMIT

Put = Callable[[Any, Any], None]
Convert = Callable[[Any], Any]

_EPOCH = datetime(1970, 1, 1)
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))")
_DURATION = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s")
_SAFE_INTEGER = 2.0**53
"""Above it a double cannot represent every integer."""


def read(message: Any, value: Any) -> None:
    """Set the fields of ``message`` from a JSON object. DecodeError names the field that does not fit."""
    if not isinstance(value, dict):
        raise DecodeError(f"expected an object, got {_shown(value)}")
    table = _TABLES.get(message.DESCRIPTOR.full_name) or _table(message.DESCRIPTOR)
    key = ""
    try:
        for key, item in value.items():
            put = table.get(key)
            if put is not None and item is not None:
                put(message, item)
    except DecodeError as error:
        raise DecodeError(f"{key}: {error}") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise DecodeError(f"{key}: {_shown(item)} does not fit the field ({error})") from None


def _shown(value: Any) -> str:
    return repr(value)[:80]


def _integer(value: Any) -> int:
    """JSON integers may come as numbers, as digits in a string, or as a float without a fraction."""
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise TypeError("expected an integer")
    return int(value)


_NOT_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _double(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError("expected a number")
    return _NOT_NUMBERS[value] if value in _NOT_NUMBERS else float(value)


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("expected true or false")
    return value


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("expected a string")
    return value


def _bytes(value: Any) -> bytes:
    text = _string(value)
    padded = text + "=" * (-len(text) % 4)
    return urlsafe_b64decode(padded) if "-" in text or "_" in text else b64decode(padded, validate=True)


_SCALARS: dict[int, Convert] = {
    FieldDescriptor.TYPE_DOUBLE: _double,
    FieldDescriptor.TYPE_FLOAT: _double,
    FieldDescriptor.TYPE_INT64: _integer,
    FieldDescriptor.TYPE_UINT64: _integer,
    FieldDescriptor.TYPE_INT32: _integer,
    FieldDescriptor.TYPE_UINT32: _integer,
    FieldDescriptor.TYPE_BOOL: _bool,
    FieldDescriptor.TYPE_STRING: _string,
    FieldDescriptor.TYPE_BYTES: _bytes,
}


def _enum(field: Any) -> Convert:
    numbers = {name: value.number for name, value in field.enum_type.values_by_name.items()}

    def convert(value: Any) -> int:
        member = numbers.get(value) if isinstance(value, str) else None
        return _integer(value) if member is None else member

    return convert


def _converter(field: Any) -> Convert:
    return _enum(field) if field.enum_type else _SCALARS[field.type]


def _single(field: Any) -> Put:
    name, convert = field.name, _converter(field)
    return lambda message, value: setattr(message, name, convert(value))


def _message(field: Any) -> Put:
    name, put = field.name, _reader(field.message_type)

    def put_message(message: Any, value: Any) -> None:
        part = getattr(message, name)
        part.SetInParent()
        put(part, value)

    return put_message


def _repeated(field: Any) -> Put:
    name = field.name
    if field.message_type is None:
        convert = _converter(field)
        return lambda message, value: getattr(message, name).extend(convert(item) for item in _list(value))
    put = _reader(field.message_type)

    def put_all(message: Any, value: Any) -> None:
        items = getattr(message, name)
        for item in _list(value):
            put(items.add(), item)

    return put_all


def _map(field: Any) -> Put:
    name = field.name
    value_field = field.message_type.fields_by_name["value"]
    key_of = _converter(field.message_type.fields_by_name["key"])
    if value_field.message_type is None:
        convert = _converter(value_field)

        def put_values(message: Any, value: Any) -> None:
            items = getattr(message, name)
            for key, item in _object(value).items():
                items[key_of(key)] = convert(item)

        return put_values
    put = _reader(value_field.message_type)

    def put_messages(message: Any, value: Any) -> None:
        items = getattr(message, name)
        for key, item in _object(value).items():
            put(items[key_of(key)], item)

    return put_messages


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("expected an array")
    return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("expected an object")
    return value


def put_timestamp(message: Any, value: Any) -> None:
    """RFC 3339, with Z or an offset, at most nine digits of a second."""
    match = _TIME.fullmatch(_string(value))
    if match is None:
        raise ValueError("expected a time such as 2026-07-01T12:00:00.123456Z")
    *parts, fraction, sign, hours, minutes = match.groups()
    since = datetime(*map(int, parts)) - _EPOCH  # type: ignore[arg-type]  # six numbers, as the pattern says
    seconds = since.days * 86_400 + since.seconds
    if sign:
        offset = int(hours) * 3600 + int(minutes) * 60
        seconds -= offset if sign == "+" else -offset
    message.seconds = seconds
    message.nanos = int((fraction or "").ljust(9, "0"))


def _put_duration(message: Any, value: Any) -> None:
    match = _DURATION.fullmatch(_string(value))
    if match is None:
        raise ValueError("expected a duration such as 1.5s")
    sign, seconds, fraction = match.groups()
    factor = -1 if sign else 1
    message.seconds = factor * int(seconds)
    message.nanos = factor * int((fraction or "").ljust(9, "0"))


def _put_struct(message: Any, value: Any) -> None:
    fields = message.fields
    for key, item in _object(value).items():
        _put_value(fields[key], item)


def _put_list(message: Any, value: Any) -> None:
    for item in _list(value):
        _put_value(message.values.add(), item)


def _put_value(message: Any, value: Any) -> None:
    if value is None:
        message.null_value = 0
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, str):
        message.string_value = value
    elif isinstance(value, dict):
        message.struct_value.SetInParent()
        _put_struct(message.struct_value, value)
    elif isinstance(value, list):
        message.list_value.SetInParent()
        _put_list(message.list_value, value)
    else:
        message.number_value = value


def _put_bool_value(message: Any, value: Any) -> None:
    message.value = _bool(value)


_SPECIAL: dict[str, Put] = {
    "google.protobuf.Timestamp": put_timestamp,
    "google.protobuf.Duration": _put_duration,
    "google.protobuf.Struct": _put_struct,
    "google.protobuf.ListValue": _put_list,
    "google.protobuf.Value": _put_value,
    "google.protobuf.BoolValue": _put_bool_value,
}
"""The types with a JSON form of their own that Flyte's messages use (a test walks them all)."""

_TABLES: dict[str, dict[str, Put]] = {}


def _reader(descriptor: Descriptor) -> Put:
    return _SPECIAL.get(descriptor.full_name, read)


def _table(descriptor: Descriptor) -> dict[str, Put]:
    table: dict[str, Put] = {}
    for field in descriptor.fields:
        table[field.name] = table[field.json_name] = _setter(field)
    _TABLES[descriptor.full_name] = table
    return table


def _setter(field: Any) -> Put:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _map(field)
    if field.is_repeated:
        return _repeated(field)
    return _message(field) if field.message_type is not None else _single(field)


def plain(message: Any) -> Any:
    """A message as plain values: fields by their proto names, defaults left out, enum names, times as RFC 3339."""
    form = _PLAIN.get(message.DESCRIPTOR.full_name)
    if form is not None:
        return form(message)
    return {field.name: _plain_field(field, value) for field, value in message.ListFields()}


def _plain_field(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        item = field.message_type.fields_by_name["value"]
        return {str(key): _plain_item(item, part) for key, part in value.items()}
    if field.is_repeated:
        return [_plain_item(field, item) for item in value]
    return _plain_item(field, value)


def _plain_item(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return plain(value)
    if field.enum_type is not None:
        member = field.enum_type.values_by_number.get(value)
        return member.name if member is not None else value
    return _plain_number(value) if isinstance(value, float) else value


def _plain_number(value: float) -> int | float | str:
    """JSON has no NaN: as the proto3 JSON words. A double that holds an integer shows as one."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return int(value) if value.is_integer() and abs(value) < _SAFE_INTEGER else value


def _plain_value(message: Any) -> Any:
    kind = message.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    value = getattr(message, kind)
    if kind == "number_value":
        return _plain_number(value)
    return plain(value) if kind in ("struct_value", "list_value") else value


_PLAIN: dict[str, Convert] = {
    "google.protobuf.Timestamp": lambda message: message.ToJsonString(),
    "google.protobuf.Duration": lambda message: message.ToJsonString(),
    "google.protobuf.Struct": lambda message: {key: _plain_value(value) for key, value in message.fields.items()},
    "google.protobuf.ListValue": lambda message: [_plain_value(value) for value in message.values],
    "google.protobuf.Value": _plain_value,
    "google.protobuf.BoolValue": lambda message: message.value,
}


def as_json(value: Any) -> tuple[str, int]:
    """(JSON text with sorted keys, cut at VALUE_LIMIT characters; its length before the cut)."""
    text = msgspec.json.encode(value, order="sorted").decode()
    return text[:VALUE_LIMIT], len(text)


def message_text(message: Any) -> str:
    """A message as one attribute. DecodeError when a time in it is no time."""
    try:
        return as_json(plain(message))[0]
    except (ValueError, OverflowError) as error:
        raise DecodeError(f"{message.DESCRIPTOR.full_name} cannot be put as JSON: {error}; check its times") from None
