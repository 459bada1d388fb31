"""Events as bytes: one event alone, and the events of one root in one commit (a chunk).

An event is packed without its run, as a msgpack array that begins with the number of its kind; a chunk keeps each run
once. A chunk's bytes begin with the CRC-32 of the rest, because SQLite has no checksum of its own pages.

What msgpack cannot hold is made plain before it is kept, so that what is read back is what ``append`` returned: lone
surrogates become "?", integers of an attribute beyond 64 bits become text, other integers stop at 64 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from zlib import crc32

import msgspec
from msgspec.structs import astuple

from otel_events.journal.schema import PLACE_BITS
from otel_events.model.event import AnyEvent, Error, Link, Log, PhaseChange, Report, Run, Stat

Row = Sequence[Any]

_encoder = msgspec.msgpack.Encoder()
_encode = _encoder.encode
_decode = msgspec.msgpack.Decoder().decode

UNPACKABLE = (ValueError, OverflowError, TypeError)
"""What msgspec raises for a value that msgpack cannot hold (a lone surrogate is a UnicodeEncodeError, a ValueError)."""

_INT_MIN, _INT_MAX, _UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1
_CRC = 4


class UnreadableError(ValueError):
    """The bytes of a chunk are damaged, or of a form that this version cannot read."""


class Closing(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A decision of the fold, part of the ledger: as of this commit the span of an attempt is closed."""

    run: str
    kind: str
    attempt: int
    incomplete: bool = False
    final: bool = True
    outcome: str = ""


class Chunk(msgspec.Struct, frozen=True):
    """What one commit added to one root. ``records`` is empty if the reader left them out."""

    seq: int
    key: bytes
    events: list[AnyEvent]
    records: list[bytes | None]
    closings: list[Closing]


def _phase(e: PhaseChange) -> Row:
    error = None if e.error is None else astuple(e.error)
    links = e.links and [astuple(link) for link in e.links]
    return (0, e.id, e.time, e.attributes, links, e.phase, e.native, e.reason, error, e.next_attempt)


def _stat(e: Stat) -> Row:
    links = e.links and [astuple(link) for link in e.links]
    return (1, e.id, e.time, e.attributes, links, e.name, e.value, e.type, e.unit, e.step, e.tags)


def _log(e: Log) -> Row:
    links = e.links and [astuple(link) for link in e.links]
    return (2, e.id, e.time, e.attributes, links, e.message, e.severity, e.logger, e.event_name)


def _report(e: Report) -> Row:
    links = e.links and [astuple(link) for link in e.links]
    return (3, e.id, e.time, e.attributes, links, e.name, e.media_type, e.uri, e.content, e.step)


_ROWS: dict[type, Callable[[Any], Row]] = {PhaseChange: _phase, Stat: _stat, Log: _log, Report: _report}


def _phase_of(run: Run, row: Row) -> AnyEvent:
    _, id_, time, attributes, links, phase, native, reason, error, next_attempt = row
    return PhaseChange(
        id=id_, time=time, run=run, attributes=attributes, links=_links(links), phase=phase, native=native,
        reason=reason, error=None if error is None else Error(*error), next_attempt=next_attempt,
    )  # fmt: skip


def _stat_of(run: Run, row: Row) -> AnyEvent:
    _, id_, time, attributes, links, name, value, type_, unit, step, tags = row
    return Stat(
        id=id_, time=time, run=run, attributes=attributes, links=_links(links), name=name, value=value, type=type_,
        unit=unit, step=step, tags=tags,
    )  # fmt: skip


def _log_of(run: Run, row: Row) -> AnyEvent:
    _, id_, time, attributes, links, message, severity, logger, event_name = row
    return Log(
        id=id_, time=time, run=run, attributes=attributes, links=_links(links), message=message, severity=severity,
        logger=logger, event_name=event_name,
    )  # fmt: skip


def _report_of(run: Run, row: Row) -> AnyEvent:
    _, id_, time, attributes, links, name, media_type, uri, content, step = row
    return Report(
        id=id_, time=time, run=run, attributes=attributes, links=_links(links), name=name, media_type=media_type,
        uri=uri, content=content, step=step,
    )  # fmt: skip


_EVENTS: tuple[Callable[[Run, Row], AnyEvent], ...] = (_phase_of, _stat_of, _log_of, _report_of)


def _links(rows: Row) -> tuple[Link, ...]:
    return tuple([Link(*row) for row in rows]) if rows else ()


def pack_all(events: Sequence[AnyEvent]) -> list[bytes]:
    """As ``pack``, but raises one of ``UNPACKABLE`` where a value has to be made plain first."""
    rows, encode = _ROWS, _encode
    return [encode(rows[type(event)](event)) for event in events]


def pack(event: AnyEvent) -> bytes:
    """The event without its run, as bytes. Never raises for a value that an event may hold."""
    try:
        return _encode(_ROWS[type(event)](event))
    except UNPACKABLE:
        return _encode(_plain_row(_ROWS[type(event)](event)))


def unpack(run: Run, packed: bytes) -> AnyEvent:
    """The event of these bytes, as ``pack`` made them; its run is ``run``."""
    row = _decode(packed)
    make: Callable[[Run, Row], AnyEvent] = _EVENTS[row[0]]
    return make(run, row)


def plain(event: AnyEvent) -> AnyEvent:
    """The event as it is read back: itself, unless something in it or in its run has to be made plain."""
    run = plain_run(event.run)
    try:
        packed = pack_all([event])[0]
        if run is event.run:
            return event
    except UNPACKABLE:
        packed = pack(event)
    return unpack(run, packed)


def plain_run(run: Run) -> Run:
    """The run itself, or one equal to it that msgpack can hold."""
    values = astuple(run)
    try:
        _encode(values)
    except UNPACKABLE:
        return Run(*[_int64(v) if isinstance(v, int) else _plain(v) for v in values])
    return run


def plain_closing(closing: Closing) -> Closing:
    """The closing with the id and kind that its run has where it is read back."""
    return Closing(*[_int64(v) if isinstance(v, int) else _plain(v) for v in astuple(closing)])


def plain_text(text: str) -> str:
    """The text with "?" for each lone surrogate, as identity.py hashes it."""
    return text.encode("utf-8", "replace").decode()


def _plain_row(row: Row) -> Row:
    numbers = _NUMBERS[row[0]]
    return [numbers[at](value) if at in numbers else _plain(value) for at, value in enumerate(row)]


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return plain_text(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if _INT_MIN <= value <= _UINT_MAX else _digits(value)
    if isinstance(value, dict):
        return {_plain(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return plain_text(str(value))


def _digits(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # Python refuses to print integers of more than 4,300 digits in decimal
        return hex(value)


def _int64(value: Any) -> Any:
    return min(max(value, _INT_MIN), _INT_MAX) if isinstance(value, int) and not isinstance(value, bool) else value


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


_NUMBERS: dict[int, dict[int, Callable[[Any], Any]]] = {
    0: {2: _int64},
    1: {2: _int64, 6: _float, 9: _int64},
    2: {2: _int64, 6: _int64},
    3: {2: _int64, 9: _int64},
}
"""Kind of event -> place in its row -> how a number there is made to fit: these fields must stay numbers."""


def seal(value: Any) -> bytearray:
    """msgpack with its CRC-32 in front."""
    sealed = bytearray(_CRC)
    _encoder.encode_into(value, sealed, _CRC)
    sealed[:_CRC] = crc32(memoryview(sealed)[_CRC:]).to_bytes(_CRC, "big")
    return sealed


def unseal(sealed: bytes) -> Any:
    """The value that ``seal`` took; UnreadableError where a bit has changed since."""
    body = unguard(sealed)
    try:
        return _decode(body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise UnreadableError(str(error)) from error


def guard(value: bytes) -> bytes:
    """The value with its CRC-32 in front."""
    return crc32(value).to_bytes(_CRC, "big") + value


def unguard(guarded: Any) -> bytes:
    """The value that ``guard`` took; UnreadableError where a bit has changed since, or where it is no bytes at all."""
    if not isinstance(guarded, bytes):
        raise UnreadableError(f"bytes expected, {type(guarded).__name__} found")
    value = guarded[_CRC:]
    if len(guarded) < _CRC or crc32(value) != int.from_bytes(guarded[:_CRC], "big"):
        raise UnreadableError("the checksum does not fit")
    return value


def check_runs(runs: Iterable[Run]) -> None:
    """Raises one of UNPACKABLE where a run has to be made plain first."""
    encode_into, buffer = _encoder.encode_into, bytearray()
    for run in runs:
        encode_into(run, buffer)


def seal_chunk(
    id_: int,
    key: bytes,
    runs: Sequence[Run],
    index: Sequence[int],
    packed: Sequence[bytes],
    closings: Sequence[Closing],
) -> bytes:
    """The body of the chunk of that id: ``packed[i]`` is of ``runs[index[i]]``. The runs are plain."""
    seq = id_ >> PLACE_BITS
    head = (runs[0].source, runs[0].namespace, runs[0].root) if runs else ("", "", "")
    rows = [_run_row(run, head) for run in runs]
    try:
        return guard(_encode((seq, key, head, rows, index, packed, closings)))
    except UNPACKABLE:
        return guard(_encode((seq, key, head, rows, index, packed, list(map(plain_closing, closings)))))


def _run_row(run: Run, head: tuple[str, str, str]) -> Row:
    row = (run.kind, run.id, run.name, run.parent, run.attempt, run.workflow, run.parent_kind)
    own = (run.source, run.namespace, run.root)
    # Two roots that differ in spelling can share a key (a trace id that a source derives may hold no namespace): each
    # has its own names.
    return row if own == head else row + own


def _run_of(row: Row, head: Sequence[str]) -> Run:
    kind, id_, name, parent, attempt, workflow, parent_kind = row[:7]
    source, namespace, root = row[7:] or head
    return Run(source, kind, id_, name, root, parent, attempt, namespace, workflow, parent_kind)


class Opened(msgspec.Struct, frozen=True):
    """A chunk's body, its events still packed."""

    key: bytes
    head: tuple[str, str, str]
    runs: list[Run]
    index: list[int]
    packed: list[bytes]
    closings: list[Closing]

    def events(self) -> list[AnyEvent]:
        runs = self.runs
        return [unpack(runs[at], packed) for at, packed in zip(self.index, self.packed, strict=True)]

    def marks(self) -> list[int]:
        """The marks of the events, by which repeats are recognized (see ``marks``)."""
        hashes = list(map(hash, self.runs))
        return marks([hashes[at] for at in self.index], self.packed)


def marks(hashes: Sequence[int], packed: Sequence[bytes]) -> list[int]:
    """One 64-bit number for each event, equal for exact repeats. Of this process only: Python keys its hashes anew.

    ``hashes`` are those of the events' runs. Two events of one root are taken for one with a chance of 2^-64.
    """
    return list(map(hash, zip(hashes, packed, strict=True)))


_T = TypeVar("_T")


def _guarded(read: Callable[[], _T]) -> _T:
    try:
        return read()
    except UnreadableError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, msgspec.MsgspecError) as error:
        raise UnreadableError(f"not a form that this version knows: {error}") from error


def open_chunk(seq: int, body: bytes) -> Opened:
    """The body of a chunk of commit ``seq``; UnreadableError where it is damaged, or of another commit."""

    def read() -> Opened:
        of, key, head, rows, index, packed, closings = unseal(body)
        if of != seq:
            raise UnreadableError(f"a chunk of commit {of} stands in the place of one of {seq}")
        runs = [_run_of(row, head) for row in rows]
        return Opened(key, tuple(head), runs, index, packed, [Closing(*row) for row in closings])

    return _guarded(read)


def read_chunk(seq: int, body: bytes, records: bytes | None = None) -> Chunk:
    """A chunk with its events, and its records where their bytes are given; UnreadableError where it is damaged."""

    def read() -> Chunk:
        opened = open_chunk(seq, body)
        none: list[bytes | None] = [None] * len(opened.packed)
        originals = none if records is None else open_records(records)
        return Chunk(seq, opened.key, opened.events(), originals, opened.closings)

    return _guarded(read)


def seal_records(records: Sequence[bytes | None]) -> bytearray | None:
    """The source records of the events of a chunk, a record once where neighbours share it; None without records."""
    distinct: list[bytes] = []
    index: list[int] = []
    last: bytes | None = None
    for record in records:
        if record is not None and record is not last:
            distinct.append(record)
            last = record
        index.append(-1 if record is None else len(distinct) - 1)
    return seal((distinct, index)) if distinct else None


def open_records(sealed: bytes) -> list[bytes | None]:
    """The records that ``seal_records`` was given."""
    distinct, index = unseal(sealed)
    return [None if at < 0 else distinct[at] for at in index]
