"""The runs of one root -> its trace: parents, settled outcomes, which attempt is a run's last. Pure, over attempts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from otel_events.core.fold import MADE_UP, RESERVED, Attempt, at_time, attempts, settled, with_workflow
from otel_events.core.spans import Context, context, derived_parent
from otel_events.model.event import AnyEvent, Run

Lookup = Callable[[str], Sequence[Attempt]]
"""The attempts of another run of the same root, by run id; empty where nothing is known of it."""

_TOLD = frozenset(RESERVED)


class Closed(msgspec.Struct, gc=False):
    """One attempt, ready to become telemetry. ``final``: it is the last of its run, so the run is finished."""

    attempt: Attempt
    where: Context
    outcome: str
    previous: Context | None
    final: bool


def parent_id(run: Run) -> str | None:
    """Id of the run that this one hangs under: as told (but never itself), else the root; None for a root."""
    if run.parent and run.parent != run.id:
        return run.parent
    return run.root if run.id != run.root else None


def outcome_of(lookup: Lookup, run_id: str | None) -> str:
    """Outcome of a run as far as it is known: of its last attempt; "" while it is open or unknown."""
    found = lookup(run_id) if run_id else ()
    return next((one.outcome for one in reversed(found) if one.start), "")


def place(attempt: Attempt, lookup: Lookup, closed_world: bool = False) -> Context:
    """The context of an attempt. In a closed world (replay: nothing more will come) a parent that never showed up is
    replaced by the root where that one is known, so that no span points nowhere."""
    run = attempt.run
    own = context(run, attempt.attributes)
    if own.parent_span_id:
        return own
    found = above(run, attempt.start, lookup, closed_world)
    parent = context(found.run, found.attributes).span_id if found else derived_parent(run)
    trace = own.trace_id if own.foreign else _inherited(run, attempt.start, lookup) or own.trace_id
    return Context(trace, own.span_id, parent, own.foreign)


def above(run: Run, start: int, lookup: Lookup, or_root: bool = False) -> Attempt | None:
    """The parent's attempt under way when ``run`` began; ``or_root``: the root's, where the parent is unknown."""
    parent = parent_id(run)
    if parent is None:
        return None
    found = [one for one in lookup(parent) if one.start]
    if not found and or_root and parent != run.root != run.id:
        found = [one for one in lookup(run.root) if one.start]
    if len(found) < 2:
        return found[0] if found else None
    number = at_time(found, start)
    return next(one for one in found if one.run.attempt == number)


def _inherited(run: Run, start: int, lookup: Lookup) -> bytes | None:
    """Id of the trace that a run above this one was told to be in: a trace is one, whoever named it."""
    seen = {run.id}
    while (found := above(run, start, lookup, or_root=True)) and found.run.id not in seen:
        if not _TOLD.isdisjoint(found.attributes):
            return context(found.run, found.attributes).trace_id
        run, start = found.run, found.start
        seen.add(run.id)
    return None


def close(found: Sequence[Attempt], index: int, lookup: Lookup, closed_world: bool = False) -> Closed:
    """Close one attempt of a run, given all attempts of that run by number and its neighbours."""
    attempt = found[index]
    later = any(one.start for one in found[index + 1 :])
    outcome = settled(attempt, later, outcome_of(lookup, parent_id(attempt.run)))
    before = next((one for one in reversed(found[:index]) if one.start), None)
    previous = place(before, lookup, closed_world) if before else None
    return Closed(attempt, place(attempt, lookup, closed_world), outcome, previous, final=not later)


def close_all(events: Iterable[AnyEvent]) -> tuple[list[Closed], list[Attempt]]:
    """Everything of one root, in a closed world: (attempts with a span, by start, run id and number; the others, by run
    id and number)."""
    by_run: dict[str, list[AnyEvent]] = {}
    for event in events:
        by_run.setdefault(event.run.id, []).append(event)
    folded = _named({run_id: attempts(members) for run_id, members in by_run.items()})

    def lookup(run_id: str) -> Sequence[Attempt]:
        return folded.get(run_id, ())

    spans = [
        close(found, index, lookup, closed_world=True)
        for run_id, found in folded.items()
        for index, one in enumerate(found)
        if run_id and one.start
    ]
    spans.sort(key=_order)
    rest = [one for run_id, found in sorted(folded.items()) for one in found if not (run_id and one.start)]
    return spans, rest


def _named(folded: dict[str, list[Attempt]]) -> dict[str, list[Attempt]]:
    """Each with the workflow that its root tells."""
    told = {run_id: found[0].run.workflow for run_id, found in folded.items() if found}
    return {
        run_id: [with_workflow(one, told.get(one.run.root, "")) for one in found] for run_id, found in folded.items()
    }


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
