"""The runs of one root become its trace: parents, settled outcomes, the last attempt of each run. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from otel_events.core.fold import MADE_UP, RESERVED, Attempt, at_time, attempts, settled, with_workflow
from otel_events.core.spans import Context, context, derived_parent
from otel_events.model.event import AnyEvent, Run

Lookup = Callable[[str], Sequence[Attempt]]
"""The attempts of another run of the same root, by run id; empty where the run is unknown."""

_CONTEXT_KEYS = frozenset(RESERVED)


class Closed(msgspec.Struct, gc=False):
    """One attempt, ready to become telemetry."""

    attempt: Attempt
    where: Context
    outcome: str
    """The settled outcome; "" for an incomplete attempt."""
    previous: Context | None
    """Context of the run's attempt before this one."""
    final: bool
    """Whether it is the last attempt of its run, so that the run is finished."""


def parent_id(run: Run) -> str | None:
    """Id of the run above this one: its parent (but never itself), else the root; None for a root."""
    if run.parent and run.parent != run.id:
        return run.parent
    return run.root if run.id != run.root else None


def outcome_of(lookup: Lookup, run_id: str | None) -> str:
    """Outcome of a run: that of its last attempt; "" while the run is open or unknown."""
    attempts_of_run = lookup(run_id) if run_id else ()
    return next((attempt.outcome for attempt in reversed(attempts_of_run) if attempt.start), "")


def place(attempt: Attempt, lookup: Lookup, closed_world: bool = False) -> Context:
    """The context of an attempt in its trace.

    Args:
        attempt: The attempt.
        lookup: The attempts of other runs of its root.
        closed_world: Whether nothing more will come (replay). A parent without any event is then replaced by the root,
            if that has some, so that no span points to one that does not exist.

    Returns:
        The ids of its span and of its parent's.
    """
    run = attempt.run
    own = context(run, attempt.attributes)
    if own.parent_span_id:
        return own
    parent = above(run, attempt.start, lookup, closed_world)
    parent_span_id = context(parent.run, parent.attributes).span_id if parent else derived_parent(run)
    trace = own.trace_id if own.foreign else _inherited(run, attempt.start, lookup) or own.trace_id
    return Context(trace, own.span_id, parent_span_id, own.foreign)


def above(run: Run, start: int, lookup: Lookup, or_root: bool = False) -> Attempt | None:
    """The attempt of the parent that was under way when ``run`` began.

    Args:
        run: The run below.
        start: When it began (ns).
        lookup: The attempts of other runs of its root.
        or_root: Whether to take the root's attempt where the parent is unknown.

    Returns:
        The attempt; None for a root, and where neither is known.
    """
    parent = parent_id(run)
    if parent is None:
        return None
    candidates = [attempt for attempt in lookup(parent) if attempt.start]
    if not candidates and or_root and parent != run.root != run.id:
        candidates = [attempt for attempt in lookup(run.root) if attempt.start]
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    number = at_time(candidates, start)
    return next(attempt for attempt in candidates if attempt.run.attempt == number)


def _inherited(run: Run, start: int, lookup: Lookup) -> bytes | None:
    """Id of the foreign trace that the nearest run above with a carried context is in: all below are in the same."""
    seen = {run.id}  # a source may name two runs as each other's parents
    while (parent := above(run, start, lookup, or_root=True)) and parent.run.id not in seen:
        if not _CONTEXT_KEYS.isdisjoint(parent.attributes):
            return context(parent.run, parent.attributes).trace_id
        run, start = parent.run, parent.start
        seen.add(run.id)
    return None


def close(attempts_of_run: Sequence[Attempt], index: int, lookup: Lookup, closed_world: bool = False) -> Closed:
    """Close one attempt of a run.

    Args:
        attempts_of_run: All attempts of the run, by number.
        index: Place of the attempt among them.
        lookup: The attempts of other runs of the same root.
        closed_world: See ``place``.

    Returns:
        The attempt with its context and settled outcome.
    """
    attempt = attempts_of_run[index]
    later = any(other.start for other in attempts_of_run[index + 1 :])
    outcome = settled(attempt, later, outcome_of(lookup, parent_id(attempt.run)))
    before = next((other for other in reversed(attempts_of_run[:index]) if other.start), None)
    previous = place(before, lookup, closed_world) if before else None
    return Closed(attempt, place(attempt, lookup, closed_world), outcome, previous, final=not later)


def close_all(events: Iterable[AnyEvent]) -> tuple[list[Closed], list[Attempt]]:
    """Close all attempts of one root, in a closed world.

    Args:
        events: All events of the root, in any order, with any repeats.

    Returns:
        The attempts that have a span, by start, run id and number; and the others, by run id and number.
    """
    by_run: dict[str, list[AnyEvent]] = {}
    for event in events:
        by_run.setdefault(event.run.id, []).append(event)
    folded = _with_workflows({run_id: attempts(members) for run_id, members in by_run.items()})

    def lookup(run_id: str) -> Sequence[Attempt]:
        return folded.get(run_id, ())

    spans = [
        close(of_run, index, lookup, closed_world=True)
        for run_id, of_run in folded.items()
        for index, attempt in enumerate(of_run)
        if run_id and attempt.start
    ]
    spans.sort(key=_order)
    rest = [
        attempt for run_id, of_run in sorted(folded.items()) for attempt in of_run if not (run_id and attempt.start)
    ]
    return spans, rest


def _with_workflows(folded: dict[str, list[Attempt]]) -> dict[str, list[Attempt]]:
    """Each attempt with the workflow that its root names."""
    workflows = {run_id: of_run[0].run.workflow for run_id, of_run in folded.items() if of_run}
    return {
        run_id: [with_workflow(attempt, workflows.get(attempt.run.root, "")) for attempt in of_run]
        for run_id, of_run in folded.items()
    }


def _order(closed: Closed) -> tuple[int, str, int]:
    return closed.attempt.start, closed.attempt.run.id, closed.attempt.run.attempt


def log_events(attempt: Attempt) -> Iterator[tuple[AnyEvent, bool]]:
    """The events of an attempt that become log records, by time.

    Args:
        attempt: The attempt, as the fold has it.

    Yields:
        Each event, and whether it is late (law 6). An end that the fold inferred from the next attempt's beginning is
        no event of the source and is left out.
    """
    pairs: list[tuple[AnyEvent, bool]] = [(event, True) for event in attempt.late]
    for in_time in (attempt.phases, attempt.reports, attempt.logs):
        pairs.extend((event, False) for event in in_time)
    pairs.sort(key=lambda pair: (pair[0].time, pair[0].id, pair[1]))
    for event, late in pairs:
        if not event.id.endswith(MADE_UP):
            yield event, late
