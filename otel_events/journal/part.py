"""What one commit adds to one root: which events are new, and their bytes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from otel_events.event import AnyEvent
from otel_events.journal.pack import (
    UNPACKABLE,
    Closing,
    marks,
    pack_all,
    plain,
    plain_closing,
    seal_chunk,
    seal_records,
)

Records = list[bytes | None] | None


class Part(msgspec.Struct):
    """The new events of a root as they are read back, what they are recognised by, and the row of their chunk."""

    events: list[AnyEvent]
    marks: set[int]
    body: bytearray
    records: bytearray | None


def part(
    seq: int,
    key: bytes,
    events: list[AnyEvent],
    records: Records,
    closings: Sequence[Closing],
    seen: set[int],
    dedupe: bool,
) -> Part | None:
    """The part of commit ``seq`` that is new to a root of which ``seen`` are the marks; None where nothing is."""
    try:
        return _part(seq, key, events, records, closings, seen, dedupe)
    except UNPACKABLE:
        plain_events, plain_closings = list(map(plain, events)), list(map(plain_closing, closings))
        return _part(seq, key, plain_events, records, plain_closings, seen, dedupe)


def _part(
    seq: int,
    key: bytes,
    events: list[AnyEvent],
    records: Records,
    closings: Sequence[Closing],
    seen: set[int],
    dedupe: bool,
) -> Part | None:
    packed = pack_all(events)
    runs = [event.run for event in events]
    hashes = list(map(hash, runs))
    found = marks(hashes, packed)
    unique = set(found)
    if dedupe and (len(unique) < len(found) or not seen.isdisjoint(unique)):
        at = _first_seen(found, seen)
        events, packed = [events[i] for i in at], [packed[i] for i in at]
        runs, hashes = [runs[i] for i in at], [hashes[i] for i in at]
        records = None if records is None else [records[i] for i in at]
        unique -= seen
    if not events and not closings:
        return None
    body = seal_chunk(seq, key, runs, hashes, packed, closings)
    return Part(events, unique, body, None if records is None else seal_records(records))


def _first_seen(found: Sequence[int], seen: set[int]) -> list[int]:
    """The places of marks that are neither in ``seen`` nor earlier in the list."""
    places: dict[int, int] = {}
    for at, mark in enumerate(found):
        if mark not in seen:
            places.setdefault(mark, at)
    return list(places.values())
