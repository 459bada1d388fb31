"""The fold: what the events of a run, in any order and with any repeats, say of its attempts (laws 1 and 6).

State is a set of events; everything else is read off it sorted by (time, rank, id). So the join is set union, which is
commutative, associative and idempotent, and no order of arrival can leave a trace. Nothing here reads a clock, draws a
random number or does I/O. What the engine holds of open runs (gateway/state.py) is Structs that encode, so another
engine can keep it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter

import msgspec

from otel_events.model.declared import traits_of
from otel_events.model.event import INTERNAL, PHASES, AnyEvent, Error, Link, Log, PhaseChange, Report, Run, Scalar, Stat
from otel_events.model.traits import KindTraits, Traits, TraitsOf

ILLEGAL: frozenset[tuple[str, str]] = frozenset(
    {("running", "pending"), ("finalizing", "pending"), ("finalizing", "running"), ("finalizing", "paused")}
)
"""(from, to) that no source should make; counted, never raised."""

DEADLINE_PROOF: frozenset[str] = frozenset({"failed", "crashed", "timed_out", "succeeded"})
"""Outcomes of the parent that say: nobody aborted this run, so its abort was a deadline. Not of a parent task: an array
that fails, or has enough successes, aborts what is left of its sub-tasks."""


RESERVED = ("traceparent", "otel_events.parent.traceparent", INTERNAL)
"""Attributes that are no facts to be shown: they carry a foreign trace context (the run's own, its parent's), or say
that the run is not to be shown."""

MADE_UP = "\0gave-up"
"""Suffix of the id of an outcome that only the next attempt's beginning implies: in the span, never a log. It starts
with what no source's id holds, so that nobody's own event is taken for one."""

_RESERVED = frozenset(RESERVED)
_RANKS = {row.name: row.rank for row in PHASES.values()}
_STICKY = ("name", "workflow")


class Attempt(msgspec.Struct, gc=False):
    """One attempt as its events tell it; times in ns since the epoch, 0 where there was none."""

    run: Run
    """Identity with every field that any event told; ``attempt`` is the number counted or told."""
    start: int
    first_running: int
    end: int
    """Time of the outcome; of the last sign of life where ``outcome`` is ""."""
    outcome: str
    native: str
    error: Error | None
    phases: list[PhaseChange]
    reports: list[Report]
    stats: list[Stat]
    logs: list[Log]
    late: list[AnyEvent]
    """Absorbed: what the source dated after the outcome. Never part of the span; a log, marked."""
    attributes: dict[str, Scalar]
    links: list[Link]
    skewed: bool = False
    """The outcome is dated before every other sign of the attempt: clocks disagree."""
    illegal: int = 0
    created: int = 0
    """Start of the run's first attempt: queue and run durations of the run count from its first attempt."""
    run_running: int = 0

    @property
    def reused(self) -> bool:
        return bool(self.attributes.get("otel_events.reused"))


def rank(event: AnyEvent) -> int:
    """Order among events of one nanosecond: facts, then phases as PHASES ranks them."""
    return _RANKS.get(event.phase, -1) if type(event) is PhaseChange else -1


def ordered(events: Iterable[AnyEvent]) -> list[AnyEvent]:
    """Each event once, by (time, rank, id). Of two with one id and other content the fuller one stays."""
    unique: dict[str, AnyEvent] = {}
    for event in events:
        other = unique.setdefault(event.id, event)
        if other is not event:
            unique[event.id] = _fuller(other, event)
    return sorted(unique.values(), key=_order)


def _order(event: AnyEvent) -> tuple[int, int, str]:
    return event.time, _RANKS.get(event.phase, -1) if type(event) is PhaseChange else -1, event.id


def _fuller(event: AnyEvent, other: AnyEvent) -> AnyEvent:
    """A choice that no order of arrival changes: the longer of the two as written, else the greater. Equality would not
    do: it takes 1 for True and passes over the order of attributes, and both show in the bytes that are sent."""
    ours, theirs = repr(event), repr(other)
    return event if (len(ours), ours) >= (len(theirs), theirs) else other


def attempts(events: Sequence[AnyEvent], traits: TraitsOf = traits_of) -> list[Attempt]:
    """The attempts of one run, by number.

    Args:
        events: the events of one run, in any order, with any repeats.
        traits: the traits of a source by its name; by default those that the installed sources declare.

    Returns:
        Its attempts. One without any phase change has ``start`` 0: it makes no span.
    """
    if not events:
        return []
    plain = _plain(events)
    return [plain] if plain else _general(events, traits(events[0].run.source))


def _general(events: Iterable[AnyEvent], traits: Traits) -> list[Attempt]:
    in_order = ordered(events)
    identity = _identity(in_order)
    kind = traits.of(identity.kind)
    counted = all(event.run.attempt == 0 for event in in_order)
    split = _split_counted(in_order, kind) if counted else _split_numbered(in_order)
    folded = [_attempt(identity, number, members, kind) for number, members in sorted(split.items())]
    with_span = [attempt for attempt in folded if attempt.start]
    created = min((attempt.start for attempt in with_span), default=0)
    running = min((attempt.first_running for attempt in with_span if attempt.first_running), default=0)
    for attempt in folded:
        attempt.created, attempt.run_running = created, running
    return folded


def _plain(events: Sequence[AnyEvent]) -> Attempt | None:
    """The attempt of a run that had just one, told in order, with its outcome last; None where it is not so plain.

    It is what the general way makes of the same: past sorting and splitting, for what nearly all runs are.
    """
    run = events[0].run
    if not run.attempt or len({event.id for event in events}) < len(events):
        return None
    last = events[-1].time
    attempt = Attempt(run, events[0].time, 0, last, "", "", None, [], [], [], [], [], {}, [])
    phases, merged = attempt.phases, attempt.attributes
    before, phase = 0, ""
    for event in events:
        if event.run is not run and event.run != run:
            return None
        if type(event) is PhaseChange:
            info = PHASES.get(event.phase)
            if event.time <= before or info is None or attempt.outcome or (phase, event.phase) in ILLEGAL:
                return None  # out of order, repeated, or with something to be counted
            before, phase = event.time, event.phase
            if phase == "running" and not attempt.first_running:
                attempt.first_running = before
            if info.outcome:
                attempt.outcome, attempt.native = phase, event.native
            if event.error or event.links or info.error:
                return None
            phases.append(event)
            merged.update(event.attributes)
        elif type(event) is Report and event.time == before and not (event.links or attempt.outcome):
            if attempt.reports and attempt.reports[-1].time == before:
                return None
            if not _RESERVED.isdisjoint(event.attributes):
                return None
            attempt.reports.append(event)
        else:
            return None
    if not attempt.outcome:
        return None
    attempt.created, attempt.run_running = attempt.start, attempt.first_running
    return attempt


def _identity(in_order: Sequence[AnyEvent]) -> Run:
    """Sticky facts of identity: the last telling of each field; an event that lacks one erases nothing."""
    seen = in_order[0].run
    facts = {"name": seen.name, "workflow": seen.workflow, "parent": seen.parent, "parent_kind": seen.parent_kind}
    first, before = seen, facts.copy()
    for event in in_order:
        run = event.run
        if run is seen or run == seen:
            continue
        seen = run
        for field in _STICKY:
            if value := getattr(run, field):
                facts[field] = value
        # A parent and its kind are one fact: the kind of another parent would make the id of a span that is none.
        if run.parent and (run.parent_kind or run.parent != facts["parent"]):
            facts["parent"], facts["parent_kind"] = run.parent, run.parent_kind
    return first if facts == before else msgspec.structs.replace(first, **facts)


def _split_numbered(in_order: Sequence[AnyEvent]) -> dict[int, list[AnyEvent]]:
    split: dict[int, list[AnyEvent]] = {}
    for event in in_order:
        # A fact that names no attempt (0) of a run whose attempts are told belongs to the first.
        split.setdefault(event.run.attempt or 1, []).append(event)
    return split


def _split_counted(in_order: Sequence[AnyEvent], traits: KindTraits) -> dict[int, list[AnyEvent]]:
    """Attempts counted from the order of phases: ``next_attempt`` ends the one under way and begins another. Where
    nothing is known of one under way (its beginning was lost), the first attempt that is known counts as the first."""
    split: dict[int, list[AnyEvent]] = {1: []}
    number, before, over = 1, "", False
    for event in in_order:
        if type(event) is PhaseChange and event.phase in PHASES:
            if begins_next(event, before, traits):
                if not over:
                    split[number].append(_gave_up(event))
                number, over = number + 1, False
                split[number] = []
            over = over or PHASES[event.phase].outcome
            before = event.phase
        split[number].append(event)
    return split


def begins_next(event: PhaseChange, before: str, traits: KindTraits) -> bool:
    """Whether a change ends the attempt under way, which is in phase ``before`` ("": none is), and begins the next."""
    if not event.next_attempt or not before:
        return False
    if not traits.next_only_after_run:
        return True
    return PHASES[before].outcome or (before == "running" and event.phase == "pending")


def _gave_up(event: PhaseChange) -> PhaseChange:
    """The end of the attempt that this change of phase leaves behind: as failed, or crashed where the system did it."""
    event_id = f"{event.id}{MADE_UP}"
    phase = "crashed" if event.error and event.error.kind == "system" else "failed"
    return msgspec.structs.replace(event, id=event_id, phase=phase, next_attempt=False, attributes={}, links=())


def _attempt(identity: Run, number: int, members: Sequence[AnyEvent], traits: KindTraits) -> Attempt:
    run = identity if identity.attempt == number else msgspec.structs.replace(identity, attempt=number)
    attempt = Attempt(run, 0, 0, 0, "", "", None, [], [], [], [], [], {}, [])
    links: dict[Link, None] = {}
    previous = ""
    for event in members:
        if attempt.outcome:  # facts of the outcome's own moment sort before it, so this one is dated after it
            _absorb(attempt, event, traits)
            continue
        if event.links:
            links.update(dict.fromkeys(event.links))
        if type(event) is PhaseChange:
            attempt.attributes.update(event.attributes)
            previous = _enter(attempt, event, previous, traits)
        else:
            # What a log, stat or report tells is of its moment and goes out with it; only a trace context is the run's.
            attempt.attributes.update((key, event.attributes[key]) for key in RESERVED if key in event.attributes)
            _LISTS[type(event)](attempt).append(event)
    attempt.links.extend(links)
    if attempt.start and not attempt.outcome:
        attempt.end = members[-1].time
    return attempt


_LISTS = {Report: attrgetter("reports"), Stat: attrgetter("stats"), Log: attrgetter("logs")}


def _absorb(attempt: Attempt, event: AnyEvent, traits: KindTraits) -> None:
    attempt.late.append(event)
    if isinstance(event, PhaseChange) and event.phase in PHASES:
        if event.phase != attempt.outcome and (attempt.outcome, event.phase) not in traits.echoes:
            attempt.illegal += 1
        if len(attempt.phases) == 1 and not PHASES[event.phase].outcome:
            attempt.skewed = True


def _enter(attempt: Attempt, event: PhaseChange, previous: str, traits: KindTraits) -> str:
    """Take one change of phase into the attempt; returns the phase it is in now."""
    info = PHASES.get(event.phase)
    if info is None:
        attempt.logs.append(unknown_phase(event))
        return previous
    attempt.phases.append(event)
    attempt.start = attempt.start or event.time
    attempt.end, attempt.native = event.time, event.native
    if event.phase == "running" and not attempt.first_running:
        attempt.first_running = event.time
    if info.outcome:
        attempt.outcome = event.phase
        attempt.error = event.error or (attempt.error if info.error else None)
    elif event.phase == "finalizing" and event.error:
        attempt.error = event.error
    if (previous, event.phase) in ILLEGAL and not traits.may_go_back:
        attempt.illegal += 1
    return event.phase


def unknown_phase(event: PhaseChange) -> Log:
    """A change into a phase that we do not know, kept as a log under the source's own word."""
    return Log(
        id=event.id,
        time=event.time,
        run=event.run,
        attributes=event.attributes,
        links=event.links,
        message=event.reason or event.native or event.phase,
        event_name=f"{event.run.source}.phase.{event.native or event.phase}",
    )


def settled(attempt: Attempt, has_later: bool, parent_outcome: str, traits: TraitsOf = traits_of) -> str:
    """The outcome once the neighbours are known: an abort that a deadline caused is ``timed_out``, a success that was
    reported as cancelled too is that.

    Where a source reports a deadline as an abort, a later attempt, or a parent that ended otherwise than aborted,
    proves the deadline.
    """
    run = attempt.run
    kind = traits(run.source).of(run.kind)
    if attempt.outcome == "succeeded" and attempt.late and kind.cancel_overrules_success:
        cancelled = any(isinstance(event, PhaseChange) and event.phase == "cancelled" for event in attempt.late)
        return "cancelled" if cancelled else "succeeded"
    proven = has_later or (parent_outcome in DEADLINE_PROOF and run.parent_kind != "task")
    if attempt.outcome == "cancelled" and proven and kind.abort_may_be_deadline:
        return "timed_out"
    return attempt.outcome


def with_workflow(attempt: Attempt, workflow: str, traits: TraitsOf = traits_of) -> Attempt:
    """The attempt with the workflow that its root told, where its source leaves it to the root."""
    run = attempt.run
    if run.workflow or not workflow or not traits(run.source).workflow_from_root:
        return attempt
    return msgspec.structs.replace(attempt, run=msgspec.structs.replace(run, workflow=workflow))


def at_time(candidates: Sequence[Attempt], time: int) -> int:
    """Number of the attempt that was under way at ``time``: the last that had begun; the first where none had; 1."""
    begun = [attempt.run.attempt for attempt in candidates if attempt.start and attempt.start <= time]
    if begun:
        return begun[-1]
    return next((attempt.run.attempt for attempt in candidates if attempt.start), 1)
