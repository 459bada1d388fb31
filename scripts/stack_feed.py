"""Recorded events as if they happened now: every wave has runs of its own, and ends at the present."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from otel_events.cli.demo import bundled as demo_records
from otel_events.intake.ingest import decode_records
from otel_events.intake.records import Record, Refused, read
from otel_events.model.event import AnyEvent
from otel_events.sources import decoder

LONGEST = 120 * 1_000_000_000
"""A recorded hour is told as two minutes: nanoseconds that a wave takes at most."""
BATCH = 2_000

Case = tuple[str, list[AnyEvent]]


def bundled() -> list[Case]:
    """(source, events) of the records that the package ships."""
    return [(source, _decoded(source, records)) for source, records in demo_records()]


def captured(folder: Path, sources: Sequence[str], without: Sequence[str] = ()) -> Iterator[Case]:
    """(source, events) of every captured case in ``folder/SOURCE/CASE``, but those that are named."""
    for source in sources:
        for case in sorted(path for path in (folder / source).iterdir() if path.name not in without):
            files = sorted(case.glob("records.*")) or sorted(case.glob("posts.jsonl*")) or sorted(case.glob("*.pb"))
            yield source, _decoded(source, read([str(path) for path in files]))


def _decoded(source: str, records: Iterable[Record | Refused]) -> list[AnyEvent]:
    """Events of no run are told by sources only: our own endpoint does not take them."""
    return [event for event in decode_records(source, decoder(source), list(records)).events if event.run.id]


def moved(events: Sequence[AnyEvent], mark: str, now: int) -> list[AnyEvent]:
    """The events as of now, squeezed into LONGEST, of runs and with ids that end in ``mark``: of no other telling."""
    first, last = min(event.time for event in events), max(event.time for event in events)
    squeeze = max(1.0, (last - first) / LONGEST)

    def marked(name: str | None) -> str | None:
        return name and name + mark

    found = []
    for event in events:
        run = event.run
        own = msgspec.structs.replace(run, id=marked(run.id), root=marked(run.root), parent=marked(run.parent))
        at = now - round((last - event.time) / squeeze)
        links = tuple(msgspec.structs.replace(link, id=marked(link.id)) for link in event.links)
        found.append(msgspec.structs.replace(event, id=event.id + mark, time=at, run=own, links=links))
    return found


def mark(number: int, case: int) -> str:
    """Of a case in a wave: recorded cases were made of the same few run ids."""
    return f"~{number}.{case}"


def wave(url: str, cases: Iterable[Case], number: int) -> int:
    """Send all cases as of now to a gateway; how many events there were."""
    sent = 0
    for case, (_, events) in enumerate(cases):
        told = moved(events, mark(number, case), time.time_ns()) if events else []
        for at in range(0, len(told), BATCH):
            post(url, told[at : at + BATCH])
        sent += len(told)
    return sent


def post(url: str, events: Sequence[AnyEvent]) -> None:
    """OSError unless the gateway kept them."""
    body = b"\n".join(msgspec.json.encode(event) for event in events)
    request = urllib.request.Request(f"{url}/v1/events", body, {"Content-Type": "application/x-ndjson"})  # noqa: S310 - an address of our own
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
        answer.read()
