"""What the gateway's fold holds in memory: open runs by root, how long it waits, and what a commit gives."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from otel_events.event import PHASES, AnyEvent, Run
from otel_events.fold import RESERVED, ROOT_NAMES
from otel_events.journal import Closing
from otel_events.spans import Context

SECOND = 1_000_000_000

TOLD = frozenset(RESERVED)
SURE = frozenset(("succeeded", "skipped"))
"""Outcomes that no neighbour changes and no retry follows."""
BITS = 62
"""Attempts that are told apart in ``logged``; those beyond share the last bit."""
NOWHERE = Context(b"", b"")

Load = Callable[[bytes, int], Iterable[tuple[Sequence[AnyEvent], Sequence[Closing]]]]
"""What the journal holds of a root up to a commit (inclusive), as (events, closings) by commit."""


class Timing(msgspec.Struct, frozen=True):
    """How long the gateway waits before it decides; nanoseconds of its own clock."""

    grace: int = 10 * SECOND
    """From the outcome to the closing: what comes later is late (law 6)."""
    neighbours: int = 300 * SECOND
    """How long an outcome may wait for what the neighbours prove (was the abort a deadline, will there be a retry)."""
    orphans: int = 60 * SECOND
    """From the root's outcome to closing, as incomplete, whatever of it never ended."""
    max_open: int = 7 * 24 * 3600 * SECOND
    """A root silent for that long is closed as incomplete."""
    forget: int = 60 * SECOND
    """How long a root with nothing open stays in memory; after that it is read back from the journal on demand."""


class OpenRun(msgspec.Struct, gc=False):
    """One run in memory."""

    run: Run
    events: list[AnyEvent] | None
    """None: more is open than memory should hold; they are read back from the journal when the run is folded."""
    taken: int = 0
    """How many events there are."""
    phase: str = ""
    since: int = 0
    start: int = 0
    shown: int = 0
    """The attempt that ``phase`` is of."""
    current: int = 1
    logged: int = 0
    """Bit n: a phase change of attempt n has been told. The first of an attempt tells all attributes in its log."""
    told_at: int = 0
    """Clock of the gateway when an outcome, or the beginning of another attempt, was last told."""
    outcome: str = ""
    plain: bool = True
    """One attempt and at most one outcome so far: what was told last needs no fold to be decided."""
    closed: dict[int, Closing] | None = None
    finished: bool = False
    named: Run | None = None
    """``run`` with the name and workflow that only a later event told."""
    internal: bool = False
    """The source's own machinery: not shown."""

    def learn(self, run: Run) -> bool:
        """Take over a name and workflow that were not told before, for the labels of the gauges; whether there were."""
        have = self.named or self.run
        name, workflow = have.name or run.name, have.workflow or run.workflow
        if (name, workflow) == (have.name, have.workflow):
            return False
        self.named = msgspec.structs.replace(have, name=name, workflow=workflow)
        return True

    def done(self) -> Collection[int]:
        """Numbers of the attempts that are closed."""
        return self.closed or ()

    def final_after(self, attempt: int) -> bool:
        """Whether a later attempt was closed as the run's last."""
        return any(one.final and number > attempt for number, one in (self.closed or {}).items())

    def open_phase(self) -> bool:
        return bool(self.phase) and not PHASES[self.phase].outcome and not self.finished


class OpenRoot(msgspec.Struct):
    key: bytes
    runs: dict[str, OpenRun]
    touched: int
    """Clock of the gateway when something last came for it."""
    told: bool = False
    """Whether an event of it carried a foreign trace context."""
    open: int = 0
    """How many of the runs have begun and are not finished."""

    def workflow(self) -> str:
        """The workflow that the root run told; "" where it is not known yet."""
        first = next(iter(self.runs.values()), None)
        known = self.runs.get(first.run.root) if first else None
        return (known.named or known.run).workflow if known else ""

    def called(self, known: OpenRun) -> Run:
        """A run with all names that are known of it, the workflow where its source leaves that to the root."""
        run = known.named or known.run
        if run.workflow or run.source not in ROOT_NAMES:
            return run
        return msgspec.structs.replace(run, workflow=self.workflow())

    def named_by(self, known: OpenRun) -> list[Run]:
        """The runs all names of which are known, now that ``known`` told its own."""
        run = known.run
        if run.source not in ROOT_NAMES:
            return [known.named or run]
        told = (known,) if run.id != run.root else self.runs.values() if self.workflow() else ()
        return [named for one in told if (named := self.called(one)).workflow]


class Memory:
    """Which runs have their events at hand. Beyond ``most`` events of open runs, and a quarter of that of finished ones
    (the last to finish keep theirs: children and late events ask for them), runs let go of them: a root may stay open
    for weeks. What is needed again is read back from the journal."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = self._over = 0
        self._finished: deque[tuple[OpenRun, int]] = deque()

    def add(self, known: OpenRun, event: AnyEvent, needed: bool) -> None:
        """Count an event of a run, and keep it. ``needed``: whether or not there is room."""
        known.taken += 1
        if known.events is None:
            return
        if needed or known.finished or self._open < self._most:
            self._open += not known.finished
            known.events.append(event)
        else:
            self._open -= len(known.events)
            known.events = None

    def finished(self, known: OpenRun, needed: bool) -> None:
        known.finished = True
        if known.events is None or needed:
            return
        size = len(known.events)
        self._open -= size
        self._over += size
        self._finished.append((known, size))
        while self._over * 4 > self._most:
            oldest, size = self._finished.popleft()
            self._over -= size
            if oldest.finished:
                oldest.events = None

    def reopened(self, known: OpenRun) -> None:
        known.finished = False
        self._open += len(known.events or ())

    def restore(self, root: OpenRoot, lost: Collection[str], commits: Iterable[tuple[Sequence[AnyEvent], object]]) -> None:
        """Give the runs ``lost`` of a root their events again, in one pass over what the journal has of it."""
        found: dict[str, list[AnyEvent]] = {run_id: [] for run_id in lost}
        for events, _ in commits:
            for event in events:
                if event.run.id in found:
                    found[event.run.id].append(event)
        for run_id, events in found.items():
            known = root.runs[run_id]
            known.events = events
            self._open += 0 if known.finished else len(events)


class Telemetry(msgspec.Struct):
    """What one commit gives: encoded spans and log records."""

    spans: list[bytes]
    logs: list[bytes]
