"""Records -> events that may reach the disk: decoded, redacted; and those that cannot be decoded, as dead letters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from otel_events.core import redact
from otel_events.intake.records import ParsedRecord, Record, Refused
from otel_events.model.errors import DecodeError, PartlyDecoded
from otel_events.model.event import AnyEvent
from otel_events.sources import Decode

_TEXT_STARTS = (b"{", b"[", b'"')
"""How JSON and text begin: escapes and base64 can hide letters in it, so only a full look at the values counts."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that gave no events: kept as it came (secrets masked), counted, and named."""

    source: str
    where: str
    reason: str
    record: bytes
    length: int
    """Bytes of the whole record; more than ``record`` holds where that was too long to keep."""


class Batch(msgspec.Struct):
    """What a number of records gave. ``masked`` holds, per event, its record with secrets masked, or None."""

    events: list[AnyEvent]
    masked: list[bytes | None]
    dead: list[DeadLetter]
    records: int = 0


class Accepted(msgspec.Struct):
    """What became of a batch: new events now on disk, events that were there already, records that were refused."""

    accepted: int = 0
    duplicates: int = 0
    refused: list[DeadLetter] = []


def decode_records(source: str, decode: Decode, records: Iterable[Record | Refused], keep: bool = False) -> Batch:
    """Decode and redact. A bad record costs itself only. ``keep``: hand the masked records on as well."""
    events: list[AnyEvent] = []
    masked: list[bytes | None] = []
    dead: list[DeadLetter] = []
    number = 0
    for record in records:
        number += 1
        if isinstance(record, Refused):
            dead.append(_letter(source, record.where, record.reason, record.head, record.length))
            continue
        body = record.body
        try:
            decoded = decode(body, record.hint)
        except PartlyDecoded as error:
            decoded = error.events
            dead += [_letter(source, f"{record.where}{at}", why, part, len(part)) for at, why, part in error.refused]
        except DecodeError as error:
            dead.append(_letter(source, record.where, str(error), body, len(body)))
            continue
        except Exception as error:  # noqa: BLE001  # a fault of a decoder must cost one record, not the gateway
            dead.append(_letter(source, record.where, _reason(source, error), body, len(body)))
            continue
        if body.lstrip().startswith(_TEXT_STARTS) or redact.suspicious(body):
            decoded = redact.events(decoded)
        events += decoded
        if keep and decoded:
            masked.append(redact.mask(body))
            masked += [None] * (len(decoded) - 1)
    return Batch(events, masked, dead, number)


def decode_parsed(source: str, records: Sequence[ParsedRecord], keep: bool = False) -> Batch:
    """Decode and redact records that were parsed already; the bytes of one are made only where it is stored.

    Args:
        source: The name of the source.
        records: The records; one that cannot be decoded becomes a dead letter alone.
        keep: Hand the masked bytes of each record on with its first event.

    Returns:
        The events, and the dead letters.
    """
    batch = Batch([], [], [], len(records))
    for record in records:
        try:
            events = redact.events(record.decode())
        except Exception as error:  # noqa: BLE001  # a fault of a decoder must cost one record, not the gateway
            body = record.encode()
            batch.dead.append(_letter(source, record.where, _reason(source, error), body, len(body)))
            continue
        batch.events += events
        if keep and events:
            batch.masked += [redact.mask(record.encode()), *[None] * (len(events) - 1)]
    return batch


def _reason(source: str, error: Exception) -> str:
    if isinstance(error, DecodeError):
        return str(error)
    return f"the {source} decoder failed on it ({type(error).__name__}: {error}); please report this record"


def _letter(source: str, where: str, reason: str, record: bytes, length: int) -> DeadLetter:
    return DeadLetter(source, where, redact.text(reason), redact.mask(record), length)
