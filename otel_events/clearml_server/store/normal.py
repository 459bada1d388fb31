"""Events as they come -> rows of the store, by series, and the reasons of those that are refused. Pure functions.

An event is checked and changed as ClearML's server does it, except that one bad event never loses the others.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from otel_events.clearml_server.store.model import IMAGE, LOG, PLOT, SCALAR, TYPES, VECTOR

NUMBER, MISSING, NULL = 0, 1, 2
"""Slots of an iteration: a number, absent, null. They are three different keys, as they are for ClearML."""
INT64 = 1 << 63
MAX_NAME = 1024
"""Characters of the name of a metric, a variant or a worker."""
_PACK_FROM = 2048
"""Bodies of at least so many bytes are compressed: plots are mostly repeated text."""
_NUMBERS = {t: n for n, t in enumerate(TYPES)}
_COLUMNS = frozenset(
    "type task iter metric variant timestamp ts worker model_event allow_locked @timestamp x_axis_label".split()
)
_SCALAR_COLUMNS = _COLUMNS | {"value", "values"}
_SOURCE = re.compile(r'"source"\s*:\s*"([A-Za-z][A-Za-z0-9+.\-]*://(?:[^"\\]|\\.)*)"')

SeriesKey = tuple[str, bool, int, str, str]
"""(owner, model, number of the type, metric, variant)"""


class Row(NamedTuple):
    """One event of a series. Only scalars have ``value``, only reports ``key`` and ``url``; ``body``: other fields."""

    slot: int
    iter: int
    time: float
    worker: str
    value: float | int | None
    body: bytes | None
    label: str | None = None
    key: str = ""
    url: str = ""


class RefusalError(ValueError):
    """An event cannot be stored. The text is the reason without values of the event, because reasons are counted."""


def sort_out(
    events: Iterable[dict[str, Any]], worker: str, now_ms: int
) -> tuple[dict[SeriesKey, list[Row]], Counter[str]]:
    """Rows of a batch by series.

    Args:
        events: Each has a ``type`` of TYPES and a ``task``.
        worker: For events that name none.
        now_ms: The time of events that have none.

    Returns:
        Rows by series, in order of arrival, and how many events were refused, by reason.
    """
    series: dict[SeriesKey, list[Row]] = {}
    reasons: Counter[str] = Counter()
    for event in events:
        try:
            metric, variant = event.get("metric") or "", event.get("variant") or ""
            kind = event["type"]
            row = _ROWS[kind](event, worker, now_ms)
            key = (event["task"], event.get("model_event") is True, _NUMBERS[kind], metric, variant)
            rows = series.get(key)
            if rows is None:
                _check_name("metric", metric)
                _check_name("variant", variant)
                rows = series[key] = []
        except RefusalError as refusal:
            reasons[str(refusal)] += 1
        except TypeError:  # a name that is a list or an object cannot be a key
            reasons["metric and variant must be strings"] += 1
        except (ValueError, OverflowError, RecursionError):  # lone surrogates, numbers beyond JSON, hostile nesting
            reasons["the event cannot be written as JSON"] += 1
        else:
            rows.append(row)
    return series, reasons


def _check_name(what: str, name: object) -> None:
    if type(name) is not str:
        raise RefusalError(f"{what} must be a string")
    if len(name) > MAX_NAME:
        raise RefusalError(f"{what} is longer than {MAX_NAME} characters")
    if "\x00" in name:
        raise RefusalError(f"{what} holds a NUL character")  # SQLite's functions on texts end there
    name.encode()


def _iteration(event: dict[str, Any]) -> tuple[int, int]:
    value = event.get("iter", msgspec.UNSET)
    if type(value) is int:
        number = value
    elif value is msgspec.UNSET:
        return MISSING, 0
    elif value is None:
        return NULL, 0
    elif isinstance(value, int | float | str):
        try:
            # ClearML casts texts and fractions too; 32 characters, because int() of a long text takes long.
            number = int(value[:32] if isinstance(value, str) else value)
        except (ValueError, OverflowError):
            raise RefusalError("iter must be an integer") from None
    else:
        raise RefusalError("iter must be an integer")
    if not -INT64 <= number < INT64:
        raise RefusalError("iter is beyond 64 bits")
    return NUMBER, number


def _time(event: dict[str, Any], now_ms: int) -> float:
    value = event.get("timestamp")
    if value is None:
        value = event.get("ts")
        if value is None:
            return now_ms
    if type(value) is not int and type(value) is not float:
        raise RefusalError("timestamp must be a number of milliseconds")
    if not -INT64 < value < INT64:
        raise RefusalError("timestamp is beyond 64 bits")
    return value


def _worker(event: dict[str, Any], default: str) -> str:
    if "worker" not in event:
        return default
    worker = event["worker"]
    if type(worker) is not str:
        raise RefusalError("worker must be a string")
    worker.encode()  # raises for lone surrogates, which SQLite cannot store
    return worker if len(worker) <= MAX_NAME else worker[:MAX_NAME]


def _scalar(event: dict[str, Any], worker: str, now_ms: int) -> Row:
    slot, number = _iteration(event)
    value: Any = event["values"] if "values" in event else event.get("value")
    kind = type(value)
    rest: dict[str, Any] | None = None
    if kind is float:
        if value - value != 0:  # NaN and the infinities
            raise RefusalError("value must be a finite number")
    elif kind is int:
        if not -INT64 <= value < INT64:
            rest = {"value": value}  # exact, for who reads the event; SQLite's integers have 64 bits
            value = float(value)
    elif value is not None:
        raise RefusalError("value must be a number")
    elif "value" in event or "values" in event:
        rest = {"value": None}  # a null that was sent comes back, unlike a value that was not sent
    if more := event.keys() - _SCALAR_COLUMNS:
        rest = {name: event[name] for name in event if name in more} | (rest or {})
    label = event.get("x_axis_label")
    if type(label) is str:
        label.encode()  # raises for lone surrogates, which SQLite cannot store
    return Row(
        slot,
        number,
        _time(event, now_ms),
        _worker(event, worker),
        value,
        None if rest is None else _json(rest),
        label if type(label) is str else None,
    )


def _log(event: dict[str, Any], worker: str, now_ms: int) -> Row:
    slot, number = _iteration(event)
    rest = {name: value for name, value in event.items() if name not in _COLUMNS}
    return Row(slot, number, _time(event, now_ms), _worker(event, worker), None, _body(rest))


def _report(event: dict[str, Any], worker: str, now_ms: int, **more: object) -> Row:
    slot, number = _iteration(event)
    rest = {name: value for name, value in event.items() if name not in _COLUMNS} | more
    key = _text(event, "key")
    return Row(
        slot,
        number,
        _time(event, now_ms),
        _worker(event, worker),
        None,
        _body(rest),
        None,
        "" if key is None else "k" + key,
        _text(event, "url") or "",
    )


def _text(event: dict[str, Any], name: str) -> str | None:
    value = event.get(name)
    if value is None:
        return None
    if type(value) is not str:
        raise RefusalError(f"{name} must be a string")
    return value


def _vector(event: dict[str, Any], worker: str, now_ms: int) -> Row:
    values = event["values"] if "values" in event else event.get("value")
    if values is not None and not (isinstance(values, list) and all(map(_is_number, values))):
        raise RefusalError("values must be a list of numbers")
    event = {name: value for name, value in event.items() if name != "values"}
    return _report(event, worker, now_ms, value=values)


def _is_number(value: object) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _plot(event: dict[str, Any], worker: str, now_ms: int) -> Row:
    text = _text(event, "plot_str") or ""
    more: dict[str, object] = {"plot_len": len(text)}
    if urls := list(dict.fromkeys(_SOURCE.findall(text))):
        more["source_urls"] = urls
    return _report(event, worker, now_ms, **more)


_ROWS = {SCALAR: _scalar, VECTOR: _vector, IMAGE: _report, PLOT: _plot, LOG: _log}


def _finite(value: object) -> bool:
    """Whether JSON can hold it: NaN and infinities anywhere inside are refused."""
    if type(value) is float:
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    return all(map(_finite, value)) if isinstance(value, list) else True


def _json(fields: dict[str, Any]) -> bytes:
    if not _finite(fields):
        raise RefusalError("NaN and infinity are no JSON")
    return msgspec.json.encode(fields)


def _body(fields: dict[str, Any]) -> bytes:
    body = _json(fields)
    return body if len(body) < _PACK_FROM else zlib.compress(body, 1)


def opened(body: bytes) -> dict[str, Any]:
    """The fields that ``_body`` packed."""
    fields: dict[str, Any] = msgspec.json.decode(body if body[:1] == b"{" else zlib.decompress(body))
    return fields
