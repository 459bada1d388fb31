"""What the gateway's fold holds in memory: open runs by root, how long it waits, and what a commit gives."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from otel_events.core.fold import RESERVED, begins_next
from otel_events.journal import Closing
from otel_events.journal.pack import pack, unpack
from otel_events.model.declared import traits_of
from otel_events.model.event import PHASES, AnyEvent, PhaseChange, Run

SECOND = 1_000_000_000

CONTEXT_KEYS = frozenset(RESERVED)
SURE = frozenset(("succeeded", "skipped"))
"""Outcomes that no neighbour changes and no retry follows."""
BITS = 62
"""Attempts that are told apart in ``logged``; those beyond share the last bit."""

Commits = Iterable[tuple[Sequence[AnyEvent], Sequence[Closing]]]
Load = Callable[[bytes, int], Commits]
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
    """None: more is open than memory should hold as it is; see ``packed``."""
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
    packed: list[tuple[Run, bytes]] | None = None
    """Where ``events`` is None: those, as the journal keeps them. None too: only the journal has them."""
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

    def begins_next(self, event: PhaseChange) -> bool:
        """Whether a change, as far as is known, begins the next attempt."""
        return begins_next(event, self.phase, traits_of(event.run.source).of(event.run.kind))

    def done(self) -> Collection[int]:
        """Numbers of the attempts that are closed."""
        return self.closed or ()

    def final_after(self, attempt: int) -> bool:
        """Whether a later attempt was closed as the run's last."""
        return any(closing.final and number > attempt for number, closing in (self.closed or {}).items())

    def open_phase(self) -> bool:
        return bool(self.phase) and not PHASES[self.phase].outcome and not self.finished


class OpenRoot(msgspec.Struct, gc=False):
    key: bytes
    runs: dict[str, OpenRun]
    touched: int
    """Clock of the gateway when something last came for it."""
    has_context: bool = False
    """Whether an event of it carried a foreign trace context."""
    open: int = 0
    """How many of the runs have begun and are not finished."""

    def workflow(self) -> str:
        """The workflow that the root run told; "" where it is not known yet."""
        first = next(iter(self.runs.values()), None)
        open_run = self.runs.get(first.run.root) if first else None
        return (open_run.named or open_run.run).workflow if open_run else ""

    def called(self, open_run: OpenRun) -> Run:
        """A run with all names that are known of it, the workflow where its source leaves that to the root."""
        run = open_run.named or open_run.run
        if run.workflow or not traits_of(run.source).workflow_from_root:
            return run
        return msgspec.structs.replace(run, workflow=self.workflow())

    def named_by(self, open_run: OpenRun) -> list[Run]:
        """The runs all names of which are known, now that ``open_run`` reported its own."""
        run = open_run.run
        if not traits_of(run.source).workflow_from_root:
            return [open_run.named or run]
        affected = (open_run,) if run.id != run.root else self.runs.values() if self.workflow() else ()
        return [named for other in affected if (named := self.called(other)).workflow]


class Memory:
    """Which runs have their events at hand. Beyond ``most`` events of open runs, runs keep theirs packed; beyond a
    quarter of ``most`` of finished ones, those that finished first have theirs in the journal only: a root may stay
    open for weeks."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = self._over = 0
        self._finished: deque[tuple[OpenRun, int]] = deque()

    def add(self, open_run: OpenRun, event: AnyEvent, needed: bool) -> None:
        """Count an event of a run, and keep it. ``needed``: whether or not there is room."""
        open_run.taken += 1
        if open_run.events is None:
            if open_run.packed is not None:
                open_run.packed.append((event.run, pack(event)))
        elif needed or open_run.finished or self._open < self._most:
            self._open += not open_run.finished
            open_run.events.append(event)
        else:
            self._open -= len(open_run.events)
            open_run.packed = [(past.run, pack(past)) for past in (*open_run.events, event)]
            open_run.events = None

    def finished(self, open_run: OpenRun, needed: bool) -> None:
        open_run.finished = True
        size = len(open_run.events or open_run.packed or ())
        self._open -= len(open_run.events or ())
        if needed:
            return
        self._over += size
        self._finished.append((open_run, size))
        while self._over * 4 > self._most:
            oldest, size = self._finished.popleft()
            self._over -= size
            if oldest.finished:
                oldest.events = oldest.packed = None

    def reopened(self, open_run: OpenRun) -> None:
        open_run.finished = False
        self._open += len(open_run.events or ())

    def restore(self, root: OpenRoot, commits: Callable[[], Commits]) -> None:
        """Have all events of a root at hand again, with at most one pass over what the journal has of it."""
        for open_run in root.runs.values():
            if open_run.events is None and open_run.packed is not None:
                self._put(open_run, [unpack(run, packed) for run, packed in open_run.packed])
        lost: dict[str, list[AnyEvent]] = {
            run_id: [] for run_id, open_run in root.runs.items() if open_run.events is None
        }
        for events, _ in commits() if lost else ():
            for event in events:
                if event.run.id in lost:
                    lost[event.run.id].append(event)
        for run_id, recovered in lost.items():
            self._put(root.runs[run_id], recovered)

    def _put(self, open_run: OpenRun, events: list[AnyEvent]) -> None:
        open_run.events, open_run.packed = events, None
        self._open += 0 if open_run.finished else len(events)


class Telemetry(msgspec.Struct):
    """What one commit gives: encoded spans and log records."""

    spans: list[bytes]
    logs: list[bytes]


class Effects(msgspec.Struct, frozen=True):
    """What applying a commit does besides changing the state: telemetry to add to, and whether metrics count."""

    telemetry: Telemetry | None
    counts: bool


NO_EFFECTS = Effects(None, False)
"""While roots are read back: their telemetry and their counts are out already."""
