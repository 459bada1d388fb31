"""Runs of this process, as they are told: one object for each attempt, handed over with each of its changes of phase.

The caller pays for what it hands over, so that holds what is known and makes nothing: events are made of it by the
thread behind.
"""

from __future__ import annotations

from otel_events.core import redact
from otel_events.inprocess.faults import process_id
from otel_events.model.event import AnyEvent, Error, Kind, Link, PhaseChange, Run, Scalar
from otel_events.model.identity import span_id, trace_id

SOURCE = "python"
NOTHING: dict[str, Scalar] = {}


class Definition:
    """What is the same in all runs of a function; redacted here, once for all of them."""

    __slots__ = ("attributes", "kind", "name", "timeline")

    def __init__(self, kind: Kind, name: str, attributes: dict[str, Scalar], timeline: bool = False) -> None:
        """``timeline``: each run keeps what its timeline shows, until its end."""
        self.kind, self.name, self.timeline = kind, redact.name(name), timeline
        self.attributes = redact.attributes(attributes)


class OwnAttempt:
    """One attempt of one run of this process; ``run`` None: outside of any.

    ``trace``: id of its trace where somebody else made that; b"" where it follows from the root's id. ``outermost``:
    above it is nothing of this process. ``definition``: where it is known, name and workflow of the run are redacted
    already. ``outcome``, ``error`` and ``links`` are set before the outcome is handed over.
    """

    __slots__ = ("definition", "error", "links", "outcome", "outermost", "process", "run", "trace")

    def __init__(self, run: Run | None, trace: bytes = b"", process: str | None = None) -> None:
        """``process``: of which it is (faults.process_id), "" for another one; else this one."""
        self.run, self.trace = run, trace
        self.process = process_id() if process is None else process
        self.outermost = True
        self.definition: Definition | None = None
        self.outcome = ""
        self.error: Error | None = None
        self.links: tuple[Link, ...] = ()

    @property
    def handed(self) -> bool:
        """Whether it is another process's, which a fork or a hand-over brought here."""
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


Told = tuple[OwnAttempt, str, int, dict[str, Scalar]]
"""A change of phase: (attempt, phase, time in ns, attributes)."""


def change(told: Told) -> AnyEvent:
    """The event of it, redacted: most have nothing that their definition has not."""
    definition, attributes = told[0].definition, told[3]
    made = _change(told)
    if definition is None or made.error is not None or made.links:
        return redact.event(made)
    return made if attributes is NOTHING or attributes is definition.attributes else redact.event(made)


def _change(told: Told) -> PhaseChange:
    own, phase, time, attributes = told
    run = own.run
    assert run is not None, "only a run has phases"  # noqa: S101  # told by attempts of runs alone
    over = phase == own.outcome
    return PhaseChange(
        id=f"{run.id}:{run.attempt}:{phase}",  # a run goes into each of these phases once
        time=time,
        run=run,
        phase=phase,
        native=phase,
        error=own.error if over else None,
        links=own.links if over else (),
        attributes=attributes,
    )
