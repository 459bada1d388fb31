"""What one commit adds to each root: which events are new, and their bytes.

One loop over the events of a commit does it: commits spread over many roots, a few events each, so what is done for
each root is what costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from otel_events.journal.pack import UNPACKABLE, Closing, check_runs, pack_all, plain, seal_chunk, seal_records
from otel_events.journal.roots import Root
from otel_events.model.event import AnyEvent, Run


class Part(msgspec.Struct, gc=False):
    """The new events of a root as they are read back, beside each its bytes and the place of its run in ``runs``.

    ``seen`` are the marks of the root's events, to which those of the new ones are added at once: whoever gives a part
    up forgets the root too.
    """

    root: Root
    seen: set[int]
    before: int
    """How many marks those were."""
    closings: Sequence[Closing] = ()
    events: list[AnyEvent] = []
    packed: list[bytes] = []
    index: list[int] = []
    runs: list[Run] = []
    records: list[bytes | None] = []

    def row(self, id_: int) -> tuple[int, int, bytes, bytearray | None]:
        """The row of the chunk of that id."""
        root = self.root
        body = seal_chunk(id_, root.key, self.runs, self.index, self.packed, self.closings)
        return id_, root.id, body, seal_records(self.records) if self.records else None


class Place(msgspec.Struct, gc=False):
    """Where the events of a run go: the part, and the place of the run in it, -1 until it has a new event."""

    part: Part
    run: Run
    hash: int
    at: int = -1


def pack_plain(events: Iterable[AnyEvent]) -> tuple[list[AnyEvent], list[bytes], dict[int, Run]]:
    """(events as they are read back, the bytes of each, their runs by ``id``: most events share one)."""
    events = list(events)
    try:
        return events, pack_all(events), _runs(events)
    except UNPACKABLE:
        events = list(map(plain, events))
        return events, pack_all(events), _runs(events)


def _runs(events: Sequence[AnyEvent]) -> dict[int, Run]:
    runs = {id(event.run): event.run for event in events}
    check_runs(runs.values())
    return runs


def places(runs: Mapping[int, Run], keys: Sequence[bytes], parts: Mapping[bytes, Part]) -> dict[int, Place]:
    """Where each run goes, by the same ``id``; ``keys`` are those of the runs' roots, in their order.

    Equal runs share a place. They are told apart by their 64-bit hashes, like the marks.
    """
    by_hash: dict[int, Place] = {}
    new_places: dict[int, Place] = {}
    for (id_, run), key in zip(runs.items(), keys, strict=True):
        hash_ = hash(run)
        place = by_hash.get(hash_)
        if place is None:
            place = by_hash[hash_] = Place(parts[key], run, hash_)
        new_places[id_] = place
    return new_places


def sort_in(
    events: Sequence[AnyEvent],
    packed: Sequence[bytes],
    records: Sequence[bytes | None] | None,
    places: Mapping[int, Place],
    dedupe: bool,
) -> None:
    """Each event goes to the part of its run (``places``, by ``id``); with ``dedupe`` only where its mark is new."""
    for number, event in enumerate(events):
        place, body = places[id(event.run)], packed[number]
        part, mark = place.part, hash((place.hash, body))  # as pack.marks
        if mark in part.seen and dedupe:
            continue
        part.seen.add(mark)
        if place.at < 0:
            place.at = len(part.runs)
            part.runs.append(place.run)
        part.events.append(event)
        part.packed.append(body)
        part.index.append(place.at)
        if records is not None:
            part.records.append(records[number])
