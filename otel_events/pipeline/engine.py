"""The gateway's fold: commits of the journal in, telemetry out, as events come (replay folds root by root instead).

What comes out of a commit is a function of the journal up to it: new events become log records, and *closings* (the
decision, itself journalled, that an attempt is over) become spans. So after a crash the same commits give the same
bytes, and a span is never sent twice with other content. Within a commit closings act before events.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from otel_events.event import PHASES, AnyEvent, PhaseChange, Run, Stat
from otel_events.fold import RESERVED, Attempt, attempts, settled
from otel_events.journal import Closing, pack, unpack
from otel_events.logs import log
from otel_events.metrics import Metrics
from otel_events.otlp import encode_log
from otel_events.pipeline.hot import PhaseLogs, Spans, fold_plain
from otel_events.pipeline.measure import count_attempt, count_event, count_run
from otel_events.spans import Context, context, derived_parent
from otel_events.telemetry import LogData
from otel_events.traces import Closed, close, outcome_of, parent_id, place

SECOND = 1_000_000_000
_TOLD = frozenset(RESERVED)

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
    """One run in memory. ``events`` of a run under way stand as structs while few are open, packed when many are."""

    run: Run
    events: list[AnyEvent | bytes]
    phase: str = ""
    since: int = 0
    start: int = 0
    current: int = 1
    logged: int = 0
    """The attempt whose phase change was last logged: the first of another tells all its attributes."""
    outcome: str = ""
    plain: bool = True
    """One attempt and at most one outcome so far: what was told last needs no fold to be decided."""
    closed: dict[int, Closing] | None = None
    finished: bool = False

    def unpacked(self) -> list[AnyEvent]:
        run = self.run
        return [unpack(run, one) if type(one) is bytes else one for one in self.events]  # type: ignore[misc]  # narrowed

    def done(self) -> Collection[int]:
        """Numbers of the attempts that are closed."""
        return self.closed or ()

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


class Telemetry(msgspec.Struct):
    """What one commit gives: encoded spans and log records."""

    spans: list[bytes]
    logs: list[bytes]


class Engine:
    """Single-threaded: the pump calls it, readers of ``active()`` get a snapshot."""

    def __init__(self, metrics: Metrics, load: Load, timing: Timing = Timing(), hot_events: int = 50_000) -> None:  # noqa: B008  # immutable
        self._metrics = metrics
        self._load = load
        self._timing = timing
        self._hot_events = hot_events
        self._held = 0
        self._roots: dict[bytes, OpenRoot] = {}
        self._due: list[tuple[int, int, int, bytes, str, int]] = []
        self._serial = 0
        self._contexts: dict[tuple[str, int], Context] = {}
        self._phase_logs, self._spans = PhaseLogs(), Spans()
        self._fold_cache: dict[tuple[bytes, str], tuple[int, list[Attempt]]] = {}

    # --- commits in, telemetry out ---------------------------------------------------------------------------------

    def apply(
        self,
        seq: int,
        events: Mapping[bytes, Sequence[AnyEvent]],
        closings: Mapping[bytes, Sequence[Closing]],
        fresh: Collection[bytes],
        now: int,
        count: bool = True,
        emit: bool = True,
    ) -> Telemetry:
        """Take the commit ``seq``. ``fresh``: roots that are new to the journal. ``count``, ``emit``: False
        while a restart goes through commits whose metrics, or telemetry, are already out."""
        out = Telemetry([], [])
        for key, decided in closings.items():
            root = self._root(key, key in fresh, seq, now)
            for closing in decided:
                self._close(root, closing, out if emit else None, count)
        for key, new in events.items():
            root = self._root(key, key in fresh, seq, now)
            root.touched = now
            for event in new:
                self._take(root, event, now, out if emit else None, count)
        return out

    def preload(self, keys: Iterable[bytes], upto: int, now: int) -> None:
        """Read roots back as they stood at commit ``upto``: nothing is counted or put out."""
        for key in keys:
            self._root(key, False, upto + 1, now)

    def _root(self, key: bytes, fresh: bool, seq: int, now: int) -> OpenRoot:
        root = self._roots.get(key)
        if root is None:
            root = self._roots[key] = OpenRoot(key, {}, now)
            if not fresh:
                for events, closings in self._load(key, seq - 1):
                    for closing in closings:
                        self._close(root, closing, None, False)
                    for event in events:
                        self._take(root, event, now, None, False)
        return root

    def _take(self, root: OpenRoot, event: AnyEvent, now: int, out: Telemetry | None, count: bool) -> None:
        run = event.run
        run_id = run.id
        known = root.runs.get(run_id)
        if known is None:
            known = root.runs[run_id] = OpenRun(run, [])
            if count and run_id:
                self._metrics.seen(run)
        events = known.events
        if not _TOLD.isdisjoint(event.attributes):
            root.told = True
        is_phase = type(event) is PhaseChange
        if is_phase:
            self._track(root, known, event, now)  # type: ignore[arg-type]  # as just tested, without isinstance's cost
        attempt = run.attempt or known.current
        late = known.closed is not None and attempt in known.closed
        self._held += 1
        if self._held > self._hot_events and event.run == known.run:
            events.append(pack(event))
        else:
            events.append(event)
        if out is not None:
            if is_phase and not late and run_id:
                where = self._contexts.get((run_id, attempt)) or self._context(root, run, attempt, event)
                first = len(events) == 1 or attempt != known.logged
                known.logged = attempt
                out.logs.append(self._phase_logs.encode(event, where.trace_id, where.span_id, attempt, first))  # type: ignore[arg-type]  # a PhaseChange
            elif late or not isinstance(event, Stat):
                out.logs.append(encode_log(self._log(root, event, attempt, late)))
        if count and (late or not is_phase):
            count_event(self._metrics, event, late)

    def _track(self, root: OpenRoot, known: OpenRun, event: PhaseChange, now: int) -> None:
        """Follow the phase for the gauges, and put an outcome on the list of what is due."""
        phase, time, run = event.phase, event.time, event.run
        info = PHASES.get(phase)
        if info is None:
            return
        attempt = run.attempt
        if known.finished and not info.outcome and (attempt or known.current + event.next_attempt) not in known.done():
            known.finished = False
            root.open += 1
        if not known.start:
            known.start = time
            root.open += bool(run.id)
        elif time < known.start:
            known.start = time
        if event.next_attempt and known.phase:
            self._later(now + self._timing.grace, now, root.key, run.id, known.current)
            known.current += 1
        if time >= known.since or attempt > known.run.attempt:
            known.phase, known.since = phase, time
        if attempt != known.run.attempt:
            known.plain = False
        if info.outcome:
            known.plain = known.plain and known.outcome == ""
            known.outcome = phase
            self._later(now + self._timing.grace, now, root.key, run.id, attempt or known.current)

    def _later(self, at: int, first: int, key: bytes, run: str, attempt: int) -> None:
        self._serial += 1
        heapq.heappush(self._due, (at, self._serial, first, key, run, attempt))

    def _log(self, root: OpenRoot, event: AnyEvent, attempt: int, late: bool) -> LogData:
        run = event.run
        if not run.id:
            return log(event, b"", b"", attempt, late)
        where = self._contexts.get((run.id, attempt)) or self._context(root, run, attempt, event)
        return log(event, where.trace_id, where.span_id, attempt, late)

    def _context(self, root: OpenRoot, run: Run, attempt: int, event: AnyEvent) -> Context:
        numbered = run if run.attempt == attempt else msgspec.structs.replace(run, attempt=attempt)
        where = context(numbered, event.attributes)
        if len(self._contexts) >= 16_384:
            self._contexts.clear()
        self._contexts[(run.id, attempt)] = where
        return where

    def _close(self, root: OpenRoot, closing: Closing, out: Telemetry | None, count: bool) -> None:
        known = root.runs.get(closing.run)
        if known is None:  # its events could not be read back
            return
        if closing.attempt:
            known.closed = {**(known.closed or {}), closing.attempt: closing}
        found = self._folded(root, closing.run)
        if closing.final and not known.finished:
            known.finished = True
            root.open -= 1
            self._held -= len(known.events)
        if closing.attempt == 0:
            if count and found:
                count_run(self._metrics, found[-1], closing.outcome, place(found[-1], self._lookup(root)))
            return
        index = next((i for i, one in enumerate(found) if one.run.attempt == closing.attempt), None)
        if index is None:
            return
        if known.plain and not root.told and closing.final:
            closed = Closed(found[index], self._where(root, found[index]), closing.outcome, None, True)
        else:
            closed = close(found, index, self._lookup(root))
            closed.outcome, closed.final = closing.outcome, closing.final
        if count:
            count_attempt(self._metrics, closed)
            if closing.final:
                count_run(self._metrics, closed.attempt, closed.outcome, closed.where)
        if out is not None and not closed.where.foreign:
            out.spans.append(self._spans.encode(closed.attempt, closed.where, closed.outcome, closed.previous))

    def _where(self, root: OpenRoot, attempt: Attempt) -> Context:
        """``place`` for a root in which nobody told of a trace context: its trace id is its key."""
        run = attempt.run
        parent = parent_id(run)
        found = self._folded(root, parent) if parent in root.runs else ()
        if found:
            return place(attempt, self._lookup(root))
        own = self._contexts.get((run.id, run.attempt))
        span_id = own.span_id if own else context(run, {}).span_id
        return Context(root.key, span_id, derived_parent(run))

    def _lookup(self, root: OpenRoot) -> Callable[[str], Sequence[Attempt]]:
        return lambda run_id: self._folded(root, run_id)

    def _folded(self, root: OpenRoot, run_id: str) -> Sequence[Attempt]:
        """The attempts of a run, folded once while nothing new comes: decisions, spans and children share it."""
        known = root.runs.get(run_id)
        if known is None:
            return ()
        cached = self._fold_cache.get((root.key, run_id))
        if cached and cached[0] == len(known.events):
            return cached[1]
        events = known.unpacked()
        plain = fold_plain(events) if known.plain and events else None
        found = [plain] if plain else attempts(events)
        if len(self._fold_cache) >= 4_096:
            self._fold_cache.clear()
        self._fold_cache[(root.key, run_id)] = len(known.events), found
        return found

    # --- decisions -------------------------------------------------------------------------------------------------

    def decide(self, now: int) -> dict[bytes, list[Closing]]:
        """What is over as of ``now``: closings by root, to be journalled with the next commit and then applied."""
        made: dict[bytes, list[Closing]] = {}
        seen: set[tuple[str, int]] = set()
        again: list[tuple[int, int, bytes, str, int]] = []
        while self._due and self._due[0][0] <= now:
            _, _, first, key, run_id, number = heapq.heappop(self._due)
            root = self._roots.get(key)
            if root is None or (run_id, number) in seen:
                continue
            seen.add((run_id, number))
            if run_id == "":
                made.setdefault(key, []).extend(self._orphans(root, made.get(key, ())))
                continue
            for closing in self._decide_one(root, run_id, number, now, first, again):
                made.setdefault(key, []).append(closing)
        for at, first, key, run_id, number in again:
            self._later(at, first, key, run_id, number)
        return {key: closings for key, closings in made.items() if closings}

    def _decide_one(
        self,
        root: OpenRoot,
        run_id: str,
        number: int,
        now: int,
        first: int,
        again: list[tuple[int, int, bytes, str, int]],
    ) -> Iterator[Closing]:
        known = root.runs[run_id]
        if known.plain and known.closed is None and number and known.outcome in ("succeeded", "skipped"):
            run = known.run
            if run.attempt and run_id != run.root:
                yield Closing(run_id, run.kind, number, False, True, known.outcome)
                return
        found = self._folded(root, run_id)
        index = next((i for i, one in enumerate(found) if one.run.attempt == number), None)
        if index is None or not found[index].outcome:
            return
        attempt = found[index]
        later = any(one.start for one in found[index + 1 :])
        above = outcome_of(self._lookup(root), parent_id(attempt.run))
        waited = now - first >= self._timing.neighbours
        outcome = settled(attempt, later, above)
        over = known.closed is not None and number in known.closed
        told = attempt.run.attempt == known.run.attempt and known.run.attempt > 0
        retryable = told and attempt.run.kind == "task" and outcome != "succeeded" and outcome != "skipped"
        decided = later or not retryable or bool(above) or waited
        if not over and (decided or outcome != "cancelled"):
            yield Closing(run_id, attempt.run.kind, number, False, decided and not later, outcome)
            over = True
        elif over and decided and not later and not known.finished:
            yield Closing(run_id, attempt.run.kind, 0, False, True, outcome)
        if not decided:
            again.append((now + self._timing.grace, first, root.key, run_id, number))
        if attempt.run.id == attempt.run.root and not later:
            again.append((now + self._timing.orphans, now, root.key, "", 0))

    def _orphans(self, root: OpenRoot, already: Iterable[Closing]) -> Iterator[Closing]:
        """Close what never ended, as incomplete: the root is over, or silent for too long."""
        taken = {(one.run, one.attempt) for one in already}
        for run_id, known in root.runs.items():
            if not run_id or known.finished:
                continue
            found = [one for one in self._folded(root, run_id) if one.start]
            for index, one in enumerate(found):
                number, last = one.run.attempt, index == len(found) - 1
                outcome = settled(one, not last, outcome_of(self._lookup(root), parent_id(one.run)))
                if (run_id, number) in taken or (known.closed and number in known.closed):
                    if last and (run_id, 0) not in taken:
                        yield Closing(run_id, one.run.kind, 0, False, True, outcome)
                else:
                    yield Closing(run_id, one.run.kind, number, not outcome, last, outcome)

    def silent(self, now: int) -> dict[bytes, list[Closing]]:
        """Closings of roots from which nothing came for ``max_open``; a pass over all roots, to be made rarely."""
        made = {}
        for key, root in self._roots.items():
            if now - root.touched >= self._timing.max_open and (closings := list(self._orphans(root, ()))):
                made[key] = closings
        return made

    # --- what is open ----------------------------------------------------------------------------------------------

    def done(self, keys: Iterable[bytes]) -> list[bytes]:
        """Those of the roots that have nothing open any more."""
        return [key for key in keys if (root := self._roots.get(key)) and not root.open]

    def forget(self, now: int) -> int:
        """Let go of roots that have had nothing open for a while; returns how many."""
        idle = [k for k, r in self._roots.items() if now - r.touched >= self._timing.forget and not r.open]
        for key in idle:
            del self._roots[key]
        return len(idle)

    def active(self) -> Iterator[tuple[tuple[str, str, str, str, str], str, int]]:
        """(labels, phase, start in ns) of every run under way, for the gauges."""
        for root in list(self._roots.values()):
            for known in list(root.runs.values()):
                if known.open_phase():
                    yield self._metrics.labels(known.run), known.phase, known.start
