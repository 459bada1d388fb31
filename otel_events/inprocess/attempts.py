"""Attempts of runs of this process: one object for each, handed to the queue with each change of its phase.

The thread that runs the user's code hands over this object as it is. Events are made of it, and redacted, by the thread
behind the queue, so that the user's code does not wait for that.
"""

from __future__ import annotations

from typing import Any

from otel_events.core import redact
from otel_events.inprocess.ids import process_id
from otel_events.model.event import AnyEvent, Error, Kind, Link, PhaseChange, Run, Scalar
from otel_events.model.identity import span_id, trace_id

SOURCE = "python"
NOTHING: dict[str, Scalar] = {}
"""No attributes. Compared by identity, so that a change without attributes skips redaction."""
Lap = tuple[str, str, int, int]
"""A bar of a timeline: (name, outcome of a run or "section", start and end in ns)."""
LAPS = 500
"""Laps of one attempt; later ones are left out."""


class Definition:
    """What is the same in all runs of a function. It is redacted here, once for all of them."""

    __slots__ = ("attributes", "kind", "name", "timeline")

    def __init__(self, kind: Kind, name: str, attributes: dict[str, Scalar], timeline: bool = False) -> None:
        """``timeline``: whether the attempts of its runs collect laps for the timeline of their deck."""
        self.kind, self.name, self.timeline = kind, redact.name(name), timeline
        self.attributes = redact.attributes(attributes)


class ProcessAttempt:
    """One attempt of one run of this process.

    Attributes:
        run: The run; None outside of any.
        trace: Id of its trace where another system made that; b"" where it follows from the id of the root.
        process: The process that it belongs to (ids.process_id).
        outermost: Whether no other run of this process is above it.
        definition: Of its function. Where it is set, the run's name and workflow are redacted already.
        outcome, error, links: Set before the change of phase to the outcome is handed over.
        began: Its start in ns, 0 where that is not known.
        laps: Bars for its timeline; None where its task has no timeline.
    """

    __slots__ = (
        "_decks",
        "began",
        "definition",
        "error",
        "laps",
        "links",
        "outcome",
        "outermost",
        "process",
        "run",
        "trace",
    )

    def __init__(self, run: Run | None, trace: bytes = b"", process: str | None = None) -> None:
        """``process``: None for this one, "" for another one."""
        self.run, self.trace = run, trace
        self.process = process_id() if process is None else process
        self.outermost = True
        self.definition: Definition | None = None
        self.outcome = ""
        self.error: Error | None = None
        self.links: tuple[Link, ...] = ()
        self.began = 0
        self.laps: list[Lap] | None = None
        self._decks: list[Any] | None = None

    @property
    def is_foreign(self) -> bool:
        """Whether it belongs to another process: a fork or a hand-over brought it here."""
        return self.process is not process_id()

    @property
    def trace_id(self) -> bytes:
        """Of the trace that its span will be in; b"" outside of any run."""
        run = self.run
        if run is None:
            return b""
        return self.trace or trace_id(run.source, run.namespace, run.root)

    @property
    def span_id(self) -> bytes:
        """Of the span that will be sent; b"" outside of any run. Where attempts are not numbered: of the first."""
        run = self.run
        return span_id(run.source, run.namespace, run.id, run.attempt or 1, run.kind) if run is not None else b""

    def snapshot(self) -> ProcessAttempt:
        """The same attempt for code that runs later or elsewhere; it does not change any more."""
        return self

    def lap(self, name: str, what: str, start: int, end: int) -> None:
        """Put something that has ended on the timeline, if the attempt has one.

        Args:
            name: What is shown beside the bar.
            what: The outcome of a run, or "section".
            start: In ns.
            end: In ns.
        """
        if self.laps is not None and len(self.laps) < LAPS:
            self.laps.append((name, what, start, end))

    @property
    def decks(self) -> list[Any]:
        """The decks of this attempt, in order; ``Deck(...)`` appends itself. Their page is written when the attempt
        ends, before its outcome is handed over."""
        if self._decks is None:
            self._decks = []
        return self._decks

    @property
    def has_decks(self) -> bool:
        """Whether there are any; asking does not make the list."""
        return bool(self._decks)


PhaseRecord = tuple[ProcessAttempt, str, int, dict[str, Scalar]]
"""A change of phase: (attempt, phase, time in ns, attributes). A tuple is what costs the user's code least."""


def phase_change(record: PhaseRecord) -> AnyEvent:
    """The redacted event of a record.

    Redaction is skipped where there is nothing but what the definition has redacted already, which holds for most.
    """
    definition, attributes = record[0].definition, record[3]
    event = _unredacted(record)
    if definition is None or event.error is not None or event.links:
        return redact.event(event)
    return event if attributes is NOTHING or attributes is definition.attributes else redact.event(event)


def _unredacted(record: PhaseRecord) -> PhaseChange:
    attempt, phase, time, attributes = record
    run = attempt.run
    assert run is not None, "only a run has phases"  # noqa: S101  # attempts of runs alone are handed over
    over = phase == attempt.outcome
    return PhaseChange(
        id=f"{run.id}:{run.attempt}:{phase}",  # unique: an attempt goes into each of these phases once
        time=time,
        run=run,
        phase=phase,
        native=phase,
        error=attempt.error if over else None,
        links=attempt.links if over else (),
        attributes=attributes,
    )
