"""Replay: the whole input into the journal, then root by root out of it. Event time only, and flat memory.

Because roots come in the order of their trace ids, runs in the order of their times, and nothing depends on when a
record was read, the same input gives the same bytes however it is shuffled or repeated. Runs still open at the end of
the input are closed as incomplete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec

from otel_events.core.fold import Attempt
from otel_events.core.measure import count_attempt, count_event, count_run
from otel_events.core.metrics import Metrics
from otel_events.core.spans import NOWHERE, Context, context
from otel_events.core.traces import Closed, close_all, log_events
from otel_events.intake.ingest import DeadLetter, decode_records
from otel_events.intake.records import Record, Refused
from otel_events.journal import Journal
from otel_events.model.event import AnyEvent, PhaseChange, Stat
from otel_events.sources import decoder

BATCH = 1_000
"""Records a journal transaction, at most."""
BATCH_BYTES = 1 << 20
"""Of records in a journal transaction, so that a source whose records are batches of events takes no more memory."""

Progress = Callable[[str, int, int | None], None]
"""(what is being done, how many are done, of how many or None)."""


class Line(msgspec.Struct, gc=False):
    """One log record to be: an event, the context and number of its attempt, whether it is the first change of that
    attempt, and whether it is late."""

    event: AnyEvent
    where: Context
    attempt: int
    first: bool
    late: bool


class ReplaySink(Protocol):
    """Where a replay goes. ``write`` takes what one root gave; raising ends the replay."""

    def write(self, closed: list[Closed], lines: list[Line]) -> None: ...
    def finish(self, metrics: Metrics, dead: list[DeadLetter]) -> None: ...


class Summary(msgspec.Struct):
    """What a replay took and gave."""

    records: int = 0
    events: int = 0
    duplicates: int = 0
    roots: int = 0
    spans: int = 0
    incomplete: int = 0
    logs: int = 0
    dead: list[DeadLetter] = []


def replay(
    source: str,
    records: Iterable[Record | Refused],
    *,
    journal: Journal,
    sink: ReplaySink,
    metrics: Metrics,
    progress: Progress = lambda what, done, total: None,
) -> Summary:
    """Read, journal, fold, write. Raises ConfigError (unknown source), JournalError, and what the sink raises."""
    summary = Summary(dead=[])
    _take_in(source, records, journal, metrics, summary, progress)
    total = journal.stats().roots
    for row in journal.roots(order="key"):
        events = [event for chunk in journal.root_chunks(row.key, records=False) for event in chunk.events]
        _fold_root(events, sink, metrics, summary)
        summary.roots += 1
        progress("folding", summary.roots, total)
    sink.finish(metrics, summary.dead)
    return summary


def _take_in(
    source: str,
    records: Iterable[Record | Refused],
    journal: Journal,
    metrics: Metrics,
    summary: Summary,
    progress: Progress,
) -> None:
    decode = decoder(source)
    for some in _batched(records):
        batch = decode_records(source, decode, some)
        for letter in batch.dead:
            journal.dead(letter.source, letter.where, letter.reason, letter.record, letter.length)
        summary.dead.extend(batch.dead)
        summary.records += batch.records
        metrics.internal.received(source, batch.records)
        # Repeats are dropped by the fold, root by root: remembering every id here would cost memory without bound.
        journal.append(batch.events, dedupe=False)
        summary.events += len(batch.events)
        progress("reading", summary.records, None)


def _batched(records: Iterable[Record | Refused]) -> Iterator[list[Record | Refused]]:
    some: list[Record | Refused] = []
    size = 0
    for record in records:
        some.append(record)
        size += len(record.body if isinstance(record, Record) else record.head)
        if len(some) == BATCH or size >= BATCH_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def _fold_root(events: list[AnyEvent], sink: ReplaySink, metrics: Metrics, summary: Summary) -> None:
    closed, rest = close_all(events)
    lines = [line for ended in closed for line in _lines(ended.attempt, ended.where)]
    for attempt in rest:
        where = context(attempt.run, attempt.attributes) if attempt.run.id else NOWHERE
        lines += _lines(attempt, where)
    lines.sort(key=_order)
    ours = [ended for ended in closed if not ended.where.foreign]
    _count(closed, rest, metrics)
    summary.duplicates += len(events) - len({(event.run.id, event.id) for event in events})
    summary.spans += len(ours)
    summary.incomplete += sum(not ended.outcome for ended in closed)
    summary.logs += len(lines)
    sink.write(ours, lines)


def _lines(attempt: Attempt, where: Context) -> Iterator[Line]:
    first = True
    for event, late in log_events(attempt):
        yield Line(event, where, attempt.run.attempt, first, late)
        first = first and (late or not isinstance(event, PhaseChange))


def _order(line: Line) -> tuple[int, str, int, str, bool]:
    event = line.event
    return event.time, event.run.id, line.attempt, event.id, line.late


def _count(closed: list[Closed], rest: list[Attempt], metrics: Metrics) -> None:
    for ended in closed:
        metrics.runs.seen(ended.attempt.run)
        count_attempt(metrics, ended)
        if ended.final:
            count_run(metrics, ended.attempt, ended.outcome, ended.where)
    for attempt in [ended.attempt for ended in closed] + rest:
        for stat in attempt.stats:
            count_event(metrics, stat, attempt.run)
        for event in attempt.late:
            count_event(metrics, event, attempt.run, late=not isinstance(event, Stat))
