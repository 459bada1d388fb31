"""What an event is: one thing that happened to one run, in one shape for every source.

Everything here is data. Decoders make these structs, the journal keeps them, the fold joins them, and spans, metrics
and logs are made from the result. Times are integers: nanoseconds since the epoch, UTC, as the source states them.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Scalar = str | int | float | bool
Kind = Literal["workflow", "node", "task"]
ErrorKind = Literal["user", "system", ""]
StatType = Literal["counter", "gauge", "histogram", "timer", "scalar"]

KINDS: tuple[Kind, ...] = ("workflow", "node", "task")


class PhaseInfo(msgspec.Struct, frozen=True):
    """One row of the phase table: what a phase means everywhere it shows."""

    name: str
    outcome: bool
    cicd: str
    """cicd.pipeline.run.state, or cicd.pipeline.result for an outcome; "" where the conventions have none."""
    error: bool
    """Whether the span of an attempt that ends so has status ERROR."""
    severity: int
    """OTel severity number of the log event (9 INFO, 13 WARN, 17 ERROR)."""
    rank: int
    """Order among phase changes of the same nanosecond. Outcomes come last: what follows an outcome is absorbed by
    it."""


PHASES: dict[str, PhaseInfo] = {
    row.name: row
    for row in (
        PhaseInfo("pending", False, "pending", False, 9, 0),
        PhaseInfo("running", False, "executing", False, 9, 1),
        PhaseInfo("paused", False, "", False, 9, 2),
        PhaseInfo("finalizing", False, "finalizing", False, 9, 3),
        PhaseInfo("succeeded", True, "success", False, 9, 4),
        PhaseInfo("failed", True, "failure", True, 17, 4),
        PhaseInfo("crashed", True, "error", True, 17, 4),
        PhaseInfo("timed_out", True, "timeout", True, 17, 4),
        PhaseInfo("cancelled", True, "cancellation", False, 13, 4),
        PhaseInfo("skipped", True, "skip", False, 9, 4),
    )
}
OUTCOMES: tuple[str, ...] = tuple(row.name for row in PHASES.values() if row.outcome)


class Run(msgspec.Struct, frozen=True, gc=False):
    """One carrying-out of a workflow, node or task, as far as one event names it.

    ``name``, ``workflow`` and ``namespace`` are of the definition (few values, safe as labels); ``id`` is not. A field
    that the record does not hold stays empty: the fold takes it from another event of the run.
    """

    source: str
    kind: Kind
    id: str
    name: str
    root: str
    """Id of the outermost run; one root is one trace. A root's own ``root`` equals its ``id``."""
    parent: str | None = None
    """Id of the run that started this one; None for a root, and where the record does not say it: then the root is
    taken as the parent."""
    attempt: int = 1
    """Counted from 1. 0: the source does not number attempts; the fold counts them from the order of phases."""
    namespace: str = ""
    workflow: str = ""
    parent_kind: str = ""
    """Kind of ``parent``, a part of its span id; "" with no parent, or where the parent is the root (a workflow)."""


class Link(msgspec.Struct, frozen=True, gc=False):
    """A relation to another run's attempt that is not its parent; becomes a span link."""

    relation: str
    """``launched_by``, ``launches``, ``cached_from``, ``follows``, ``depends_on``; the fold adds ``retries``."""
    id: str
    kind: Kind
    root: str
    attempt: int = 1
    source: str = ""
    """"" means the event's own source; so too ``namespace`` None."""
    namespace: str | None = None


class Error(msgspec.Struct, frozen=True, gc=False):
    """Why an attempt did not succeed. ``type`` is the source's code or the exception's class (error.type)."""

    type: str
    message: str = ""
    kind: ErrorKind = ""
    stack: str = ""


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="event"):
    """The fields that all events share. ``id`` is unique in the source, and the same when the event is sent again;
    ``time`` is when it occurred (ns, UTC)."""

    id: str
    time: int
    run: Run
    attributes: dict[str, Scalar] = {}
    links: tuple[Link, ...] = ()


class PhaseChange(Event, frozen=True, kw_only=True, gc=False, tag="phase"):
    """An attempt entered ``phase``, a key of PHASES; with any other word the event becomes a log. ``native`` is the
    source's own word."""

    phase: str
    native: str
    reason: str = ""
    error: Error | None = None
    next_attempt: bool = False
    """Only where the source does not number attempts: this change ends the attempt under way (as failed, when it was
    running) and begins the next."""


class Stat(Event, frozen=True, kw_only=True, gc=False, tag="stat"):
    """A number that a task reports."""

    name: str
    value: float
    type: StatType = "gauge"
    unit: str = ""
    step: int | None = None
    tags: dict[str, str] = {}


class Log(Event, frozen=True, kw_only=True, gc=False, tag="log"):
    """A line of text, or any event that is no phase, stat or report: ``event_name`` then says what it is."""

    message: str
    severity: int = 9
    """OTel severity number, 1 to 24 (9 INFO, 13 WARN, 17 ERROR)."""
    logger: str = ""
    event_name: str = ""


class Report(Event, frozen=True, kw_only=True, gc=False, tag="report"):
    """A deck, plot, image, table or artifact: where it is (``uri``), or what it holds (``content``)."""

    name: str
    media_type: str = ""
    uri: str = ""
    content: str = ""
    step: int | None = None


AnyEvent = PhaseChange | Stat | Log | Report

REDACTED = "[redacted]"
"""Stands in place of a value that must not reach the disk (law 8)."""

MOMENTS = "otel_events.moments"
"""Attribute of a phase change: moments of the attempt that become span events and nothing else, as JSON: a list of
[name, time in ns, {attribute: scalar}]. Meant for small and frequent moments, because an event of its own is written to
the journal and becomes a log."""

INTERNAL = "otel_events.internal"
"""Attribute of a run that is the source's own machinery and nobody's work: it has no span and is in no metric."""
