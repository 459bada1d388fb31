"""Bodies of requests -> records: read with limits as they stream in, then taken apart by content type."""

from __future__ import annotations

import asyncio
import io
import zlib
from base64 import b64encode
from collections.abc import Iterator
from types import TracebackType
from typing import Any
from urllib.parse import unquote

import msgspec
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request

from otel_events.intake.records import HEAD_BYTES, MAX_RECORD_BYTES, Record, Refused, lines
from otel_events.model.nesting import shallow
from otel_events.sources import cloudevent_types

MIB = 1024 * 1024
LINES_TYPES = frozenset({"application/x-ndjson", "application/jsonl", "application/json"})
"""Only types that no web page can send to another site without asking it first (no text/plain, no form)."""
STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"

PIECE = 256 * 1024
"""Bytes that are unpacked before the limit is looked at."""
UNROUTED = "events"
"""The source under which CloudEvents that no source takes are counted and kept."""


class Limits(msgspec.Struct, frozen=True):
    """What one client, and all together, may cost. Sizes in bytes, times in seconds."""

    body: int = 20 * MIB
    """Of one request: as it comes, and after gzip."""
    body_time: float = 30.0
    records: int = 100_000
    """Lines, or values of a batch, in one request: more are refused before any is taken."""
    in_flight: int = 128 * MIB
    """Of all bodies in memory at a time; past it, clients are told to come again."""
    header: int = 32 * 1024
    header_time: float = 10.0
    idle_time: float = 5.0
    connections: int = 256


class Budget:
    """The bytes of bodies in memory. One event loop uses it."""

    def __init__(self, limit: int) -> None:
        self._limit, self.used = limit, 0

    def held(self) -> Held:
        return Held(self)

    def take(self, size: int) -> None:
        if self.used + size > self._limit:
            raise HTTPException(503, "too many large requests at a time: send again", {"Retry-After": "1"})
        self.used += size


class Held:
    """What one request holds of the budget; given back at the end of ``with``."""

    def __init__(self, budget: Budget) -> None:
        self._budget, self._size = budget, 0

    def take(self, size: int) -> None:
        self._budget.take(size)
        self._size += size

    def __enter__(self) -> Held:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._budget.used -= self._size


def media_type(headers: Headers) -> str:
    """Type and subtype of the body in lower case; "" where none is told. 415 for a charset other than UTF-8."""
    name, _, parameters = headers.get("content-type", "").lower().partition(";")
    if "charset" in parameters and "utf-8" not in parameters.replace("utf8", "utf-8"):
        raise HTTPException(415, "a charset other than UTF-8: send UTF-8")
    return name.strip()


def too_large(limit: int, what: str = "the body") -> HTTPException:
    return HTTPException(413, f"{what} is over {limit:,} bytes: send it in parts")


class Plain:
    """A body as it is."""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """What ``chunk`` adds to the body, piece by piece: the reader stops at its limit."""
        yield chunk

    def finish(self) -> None:
        """Called at the end of the body; HTTPException when it is not whole."""


class Gunzip(Plain):
    """A gzip body, unpacked as it comes and in small pieces. One member, one layer."""

    def __init__(self) -> None:
        self._engine = zlib.decompressobj(wbits=31)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        piece = bytes(PIECE)
        while chunk or len(piece) == PIECE:  # a full piece may leave more inside the engine
            try:
                piece = self._engine.decompress(chunk, PIECE)
            except zlib.error as error:
                raise HTTPException(400, f"the body is not gzip ({error}): check Content-Encoding") from error
            if self._engine.unused_data:
                raise HTTPException(400, "bytes after the end of the gzip body: send one gzip member")
            chunk = self._engine.unconsumed_tail
            yield piece

    def finish(self) -> None:
        if not self._engine.eof:
            raise HTTPException(400, "the gzip body ends too soon: send it again, whole")


ENCODINGS: dict[str, type[Plain]] = {"": Plain, "identity": Plain, "gzip": Gunzip, "x-gzip": Gunzip}


async def read_body(request: Request, limits: Limits, held: Held) -> io.BytesIO:
    """The whole body, unpacked, at its start. HTTPException 400, 408, 413, 415, 503 by the limits."""
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in ENCODINGS:
        raise HTTPException(
            415, f"Content-Encoding {encoding[:80]!r}: send gzip, once, or none", {"Accept-Encoding": "gzip"}
        )
    if int(request.headers.get("content-length", "0")) > limits.body:
        raise too_large(limits.body)
    try:
        async with asyncio.timeout(limits.body_time):
            return await _stream(request, ENCODINGS[encoding](), limits.body, held)
    except TimeoutError as error:
        reason = f"the body took more than {limits.body_time:g} seconds: send it faster or in parts"
        raise HTTPException(408, reason, {"Connection": "close"}) from error


async def _stream(request: Request, unpack: Plain, limit: int, held: Held) -> io.BytesIO:
    body, wire = io.BytesIO(), 0
    async for chunk in request.stream():
        wire += len(chunk)
        if wire > limit:
            raise too_large(limit)
        for piece in unpack.feed(chunk):
            if body.tell() + len(piece) > limit:
                raise too_large(limit, "the unpacked body")
            held.take(len(piece))
            body.write(piece)
    unpack.finish()
    body.seek(0)
    return body


# --- records ---------------------------------------------------------------------------------------------------------


def is_json(body: bytes) -> bool:
    """Whether ``body`` is exactly one JSON value."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


def event_records(body: io.BytesIO, kind: str, where: str, limits: Limits) -> Iterator[Record | Refused]:
    """Our events: a record a line; ``application/json`` that is one value over several lines is one record."""
    data = body.getvalue()
    if data.count(b"\n") > limits.records:
        raise HTTPException(413, f"over {limits.records:,} lines: send them in parts")
    if kind == "application/json" and is_json(data):
        return iter((_bounded(data, "", where),))
    return lines(body, "", where, MAX_RECORD_BYTES)


def _bounded(data: bytes, hint: str, where: str) -> Record | Refused:
    if len(data) > MAX_RECORD_BYTES:
        return Refused(
            where,
            f"a record of more than {MAX_RECORD_BYTES:,} bytes: leave large values out",
            data[:HEAD_BYTES],
            len(data),
        )
    return Record(data, hint, where)


class _Envelope(msgspec.Struct):
    """What routing needs of a CloudEvent; the rest is the decoder's."""

    type: str


def cloud_events(data: bytes, headers: Headers, where: str, limits: Limits) -> Iterator[tuple[str, Record | Refused]]:
    """(source, record) of each CloudEvent in structured, batch or binary mode; 415 when it is none of these."""
    kind = media_type(headers)
    if kind == STRUCTURED:
        return iter((_routed(data, where),))
    if kind == BATCHED:
        return _batch(data, where, limits)
    if "ce-type" in headers and not kind.startswith("application/cloudevents"):
        return iter((_binary(data, headers, kind, where),))
    reason = f"not a CloudEvent: send {STRUCTURED}, {BATCHED}, or ce-* headers (binary mode)"
    raise HTTPException(415, reason)


def _batch(data: bytes, where: str, limits: Limits) -> Iterator[tuple[str, Record | Refused]]:
    if data.count(b",") >= limits.records * 5:  # bounds the values without parsing; an event has ten commas and more
        raise HTTPException(413, f"over {limits.records * 5:,} values in the batch: send it in parts")
    try:
        events = msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise HTTPException(400, f"the batch is not a JSON array ({error}): send an array of CloudEvents") from error
    return (_routed(bytes(event), f"{where}:{number}") for number, event in enumerate(events, 1))


def _routed(data: bytes, where: str) -> tuple[str, Record | Refused]:
    try:
        kind = msgspec.json.decode(shallow(data), type=_Envelope).type
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        return UNROUTED, _refused(where, f"not a CloudEvent ({error}): an object with `type` is needed", data)
    for start, source in cloudevent_types():
        if kind.startswith(start):
            return source, _bounded(data, STRUCTURED, where)
    types = ", ".join(f"{start}* ({source})" for start, source in cloudevent_types())
    return UNROUTED, _refused(where, f"no source takes CloudEvents of type {kind[:200]!r}; known: {types}", data)


def _refused(where: str, reason: str, data: bytes) -> Refused:
    return Refused(where, reason, data[:HEAD_BYTES], len(data))


def _binary(data: bytes, headers: Headers, kind: str, where: str) -> tuple[str, Record | Refused]:
    """Binary mode as the same event in structured mode: headers are attributes (percent-encoded), the body its data."""
    event: dict[str, Any] = {
        name.removeprefix("ce-"): unquote(value)
        for name, value in headers.items()
        if name.startswith("ce-") and name not in ("ce-data", "ce-data_base64")
    }
    if kind:
        event["datacontenttype"] = kind
    if kind in ("", "application/json") or kind.endswith("+json"):
        if data and not is_json(data):
            return UNROUTED, _refused(where, "the data is not JSON, though its content type says so", data)
        event |= {"data": msgspec.Raw(data)} if data else {}
    else:
        event["data_base64"] = b64encode(data).decode()
    return _routed(msgspec.json.encode(event), where)
