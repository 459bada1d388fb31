"""The runs of one root -> its trace: parents, settled outcomes, which attempt is a run's last. Pure, over folded attempts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from otel_events.event import AnyEvent, Run
from otel_events.fold import MADE_UP, Attempt, at_time, attempts, settled
from otel_events.spans import Context, context, derived_parent

Lookup = Callable[[str], Sequence[Attempt]]
"""The attempts of another run of the same root, by run id; empty where nothing is known of it."""


class Closed(msgspec.Struct, gc=False):
    """One attempt, ready to become telemetry. ``final``: it is the last of its run, so the run is finished."""

    attempt: Attempt
    where: Context
    outcome: str
    previous: Context | None
    final: bool


def parent_id(run: Run) -> str | None:
    """Id of the run that this one hangs under: as told, else the root; None for a root."""
    return run.parent or (run.root if run.id != run.root else None)


def outcome_of(lookup: Lookup, run_id: str | None) -> str:
    """Outcome of a run as far as it is known: of its last attempt; "" while it is open or unknown."""
    found = lookup(run_id) if run_id else ()
    return found[-1].outcome if found else ""


def place(attempt: Attempt, lookup: Lookup, closed_world: bool = False) -> Context:
    """The context of an attempt. In a closed world (replay: nothing more will come) a parent that never showed up is
    replaced by the root where that one is known, so that no span points nowhere."""
    run = attempt.run
    above = _above(run, attempt.start, lookup, closed_world)
    if above is None:
        return context(run, attempt.attributes, derived_parent(run))
    own = context(run, attempt.attributes, above.span_id)
    if above.foreign and not own.foreign:
        return Context(above.trace_id, own.span_id, above.span_id)
    return own


def _above(run: Run, start: int, lookup: Lookup, closed_world: bool) -> Context | None:
    parent = parent_id(run)
    if parent is None:
        return None
    found = [one for one in lookup(parent) if one.start]
    if not found and closed_world and parent != run.root:
        found = [one for one in lookup(run.root) if one.start]
    if not found:
        return None
    number = at_time(found, start)
    chosen = next(one for one in found if one.run.attempt == number)
    return context(chosen.run, chosen.attributes)


def close(found: Sequence[Attempt], index: int, lookup: Lookup, closed_world: bool = False) -> Closed:
    """Close one attempt of a run, given all attempts of that run by number and its neighbours."""
    attempt = found[index]
    later = any(one.start for one in found[index + 1 :])
    outcome = settled(attempt, later, outcome_of(lookup, parent_id(attempt.run)))
    before = next((one for one in reversed(found[:index]) if one.start), None)
    previous = place(before, lookup, closed_world) if before else None
    return Closed(attempt, place(attempt, lookup, closed_world), outcome, previous, final=not later)


def close_all(events: Iterable[AnyEvent]) -> tuple[list[Closed], list[Attempt]]:
    """Everything of one root, in a closed world: (attempts with a span, by start, run id and number; the others)."""
    by_run: dict[str, list[AnyEvent]] = {}
    for event in events:
        by_run.setdefault(event.run.id, []).append(event)
    folded = {run_id: attempts(members) for run_id, members in by_run.items()}

    def lookup(run_id: str) -> Sequence[Attempt]:
        return folded.get(run_id, ())

    spans = [
        close(found, index, lookup, closed_world=True)
        for run_id, found in folded.items()
        for index, one in enumerate(found)
        if run_id and one.start
    ]
    spans.sort(key=_order)
    rest = [one for run_id, found in folded.items() for one in found if not (run_id and one.start)]
    return spans, rest


def _order(closed: Closed) -> tuple[int, str, int]:
    return closed.attempt.start, closed.attempt.run.id, closed.attempt.run.attempt


def told(attempt: Attempt) -> Iterator[tuple[AnyEvent, bool]]:
    """The events of an attempt that become log records, in order of time, each with whether it is late (law 6).

    A phase change that the fold made up (the end of an attempt that its successor implies) is nobody's word: no log.
    """
    kept: list[tuple[AnyEvent, bool]] = [(event, True) for event in attempt.late]
    for in_time in (attempt.phases, attempt.reports, attempt.logs):
        kept.extend((event, False) for event in in_time)
    kept.sort(key=lambda pair: (pair[0].time, pair[0].id, pair[1]))
    for event, late in kept:
        if not event.id.endswith(MADE_UP):
            yield event, late
