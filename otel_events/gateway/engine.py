"""The gateway's fold: commits of the journal in, telemetry out, as events come (replay folds root by root instead).

What comes out of a commit is a function of the journal up to it: new events become log records, and *closings* (the
decision, itself journalled, that an attempt is over) become spans. So after a crash the same commits give the same
bytes, and a span is never sent twice with other content. Within a commit closings act before events.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from otel_events.core.fold import Attempt, attempts, settled, with_workflow
from otel_events.core.logs import log
from otel_events.core.measure import count_attempt, count_event, count_run
from otel_events.core.metrics import Metrics
from otel_events.core.spans import NOWHERE, Context, derived_parent
from otel_events.core.traces import Closed, above, close, outcome_of, parent_id, place
from otel_events.gateway.state import BITS, CONTEXT_KEYS, SURE, Load, Memory, OpenRoot, OpenRun, Telemetry, Timing
from otel_events.gateway.unended import unended
from otel_events.journal import Closing
from otel_events.journal.pack import unpack
from otel_events.model.declared import traits_of
from otel_events.model.event import INTERNAL, PHASES, AnyEvent, PhaseChange, Run, Stat
from otel_events.model.identity import span_id
from otel_events.model.telemetry import LogData
from otel_events.otlp.fast import Logs, Spans


class Engine:
    """Single-threaded: the pump calls it, readers of ``active()`` get a snapshot."""

    def __init__(
        self,
        metrics: Metrics,
        load: Load,
        timing: Timing = Timing(),  # noqa: B008 - immutable
        signals: Collection[str] = ("traces", "logs"),
        hot_events: int = 50_000,
    ) -> None:
        """``signals``: what is sent at all; the rest is not even made. ``hot_events``: how many stay in memory as
        they are."""
        self._metrics = metrics
        self._load = load
        self._timing = timing
        self._memory = Memory(hot_events)
        self.tell: Callable[[LogData], object] | None = None  # also gets each log record of a new event
        self._tracing, self._logging = "traces" in signals, "logs" in signals
        self._upto = 0
        self._roots: dict[bytes, OpenRoot] = {}
        self._due: list[tuple[int, int, int, bytes, str, int]] = []
        self._serial = 0
        self._contexts: dict[tuple[bytes, str, int], Context] = {}
        self._logs, self._spans = Logs(), Spans()
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
        """Take the commit ``seq``. ``fresh``: roots that are new to the journal. ``count``, ``emit``: False while a
        restart goes through commits whose metrics, or telemetry, are already out."""
        out = Telemetry([], [])
        self._upto = seq - 1
        for key, decided in closings.items():
            root = self._root(key, key in fresh, seq, now)
            for closing in decided:
                self._close(root, closing, out if emit else None, count)
        for key, new in events.items():
            root = self._root(key, key in fresh, seq, now)
            root.touched = now
            for event in new:
                self._take(root, event, now, out if emit else None, count)
        self._upto = seq
        return out

    def preload(self, keys: Mapping[bytes, int], upto: int, now: int) -> None:
        """Read roots back as they stood at commit ``upto``: nothing is counted or put out. ``keys``: with the clock of
        the gateway when something last came for each."""
        self._upto = upto
        for key, touched in keys.items():
            self._root(key, False, upto + 1, now).touched = touched

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
        open_run = root.runs.get(run_id)
        if open_run is None:
            open_run = root.runs[run_id] = OpenRun(run, [])
            self._learned(root, open_run, count)
        elif run is not open_run.run and run != open_run.run and open_run.learn(run):
            self._learned(root, open_run, count)
        attempt = run.attempt or open_run.current
        is_phase = type(event) is PhaseChange
        first = False
        if is_phase:
            self._track(root, open_run, event, now)  # type: ignore[arg-type]  # as just tested, without isinstance's cost
            attempt = run.attempt or open_run.current
            bit = 1 << min(attempt, BITS)
            first = not open_run.logged & bit
            open_run.logged |= bit
        if not CONTEXT_KEYS.isdisjoint(event.attributes):
            open_run.internal = open_run.internal or INTERNAL in event.attributes
            self._tell(root)
        late = open_run.closed is not None and attempt in open_run.closed
        self._memory.add(open_run, event, root.has_context)
        logs = out.logs if out is not None and self._logging else None
        tell = self.tell if count else None
        if (tell or logs is not None) and (is_phase or late or not isinstance(event, Stat)):
            where = self._where_now(root, open_run, run, attempt)
            if logs is not None:
                logs.append(self._logs.record(event, where, attempt, first, late))
            if tell:
                tell(log(event, where.trace_id, where.span_id, attempt, late))
        if count and (late or not is_phase):
            count_event(self._metrics, event, open_run.named or open_run.run, late)

    def _tell(self, root: OpenRoot) -> None:
        """From here on the contexts in this root are folded with every event: its events have to be at hand."""
        if not root.has_context:
            self._memory.restore(root, lambda: self._load(root.key, self._upto))
        root.has_context = True

    def _learned(self, root: OpenRoot, open_run: OpenRun, count: bool) -> None:
        """A run is new, or told its name: its series start, and those of the runs that take over what it told."""
        for run in root.named_by(open_run):
            if count and run.id:
                self._metrics.runs.seen(run)
        if open_run.run.id == open_run.run.root and traits_of(open_run.run.source).workflow_from_root:
            self._fold_cache.clear()

    def _events(self, root: OpenRoot, open_run: OpenRun) -> list[AnyEvent]:
        if open_run.events is not None:
            return open_run.events
        if open_run.packed is not None:
            return [unpack(run, packed) for run, packed in open_run.packed]
        commits = self._load(root.key, self._upto)
        return [event for events, _ in commits for event in events if event.run.id == open_run.run.id]

    def _track(self, root: OpenRoot, open_run: OpenRun, event: PhaseChange, now: int) -> None:
        """Follow the phase for the gauges, and put an outcome on the list of what is due."""
        phase, time, run = event.phase, event.time, event.run
        info = PHASES.get(phase)
        if info is None:
            return
        attempt = run.attempt
        again = open_run.begins_next(event)
        # An outcome too: an attempt of which nothing was heard before has yet to be closed, also after a restart.
        if open_run.finished and (attempt or open_run.current + again) not in open_run.done():
            self._memory.reopened(open_run)
            root.open += 1
        if not open_run.start:
            open_run.start = time
            root.open += bool(run.id)
        elif time < open_run.start:
            open_run.start = time
        if again:
            open_run.told_at = now
            self._later(now + self._timing.grace, now, root.key, run.id, open_run.current)
            open_run.current += 1
        before = PHASES[open_run.phase].rank if open_run.phase else -1
        if (attempt, time, info.rank) >= (open_run.shown, open_run.since, before):
            open_run.phase, open_run.since, open_run.shown = phase, time, attempt
        if attempt != open_run.run.attempt or not attempt:
            open_run.plain = False
        if info.outcome:
            open_run.plain = open_run.plain and open_run.outcome == ""
            open_run.outcome, open_run.told_at = phase, now
            self._later(now + self._timing.grace, now, root.key, run.id, attempt or open_run.current)
        elif phase == "finalizing" and run.id == run.root and traits_of(run.source).of(run.kind).finalizing_may_be_last:
            self._later(now + self._timing.orphans, now, root.key, "", 0)

    def _later(self, at: int, first: int, key: bytes, run: str, attempt: int) -> None:
        self._serial += 1
        heapq.heappush(self._due, (at, self._serial, first, key, run, attempt))

    def _where_now(self, root: OpenRoot, open_run: OpenRun, run: Run, attempt: int) -> Context:
        """The context of an attempt as the journal tells it so far; of an event of no run, none."""
        if not run.id:
            return NOWHERE
        if root.has_context:
            run_attempts = self._folded(root, run.id)
            mine = next((candidate for candidate in run_attempts if candidate.run.attempt == attempt), None)
            if mine is not None:
                return place(mine, self._lookup(root))
        key = (root.key, run.id, attempt)
        where = self._contexts.get(key)
        if where is None:
            if len(self._contexts) >= 16_384:
                self._contexts.clear()
            span = span_id(run.source, run.namespace, run.id, attempt, run.kind)
            where = self._contexts[key] = Context(root.key, span)
        return where

    def _close(self, root: OpenRoot, closing: Closing, out: Telemetry | None, count: bool) -> None:
        open_run = root.runs.get(closing.run)
        if open_run is None:  # its events could not be read back
            return
        if closing.attempt:
            open_run.closed = {**(open_run.closed or {}), closing.attempt: closing}
        if not open_run.finished and (closing.final or open_run.final_after(closing.attempt)):
            self._memory.finished(open_run, root.has_context)
            root.open -= 1
        if out is None and not count:
            return
        run_attempts = self._folded(root, closing.run)
        if closing.attempt == 0:
            last = next((candidate for candidate in reversed(run_attempts) if candidate.start), None)
            if count and last:
                count_run(self._metrics, last, closing.outcome, place(last, self._lookup(root)))
            return
        index = next((i for i, candidate in enumerate(run_attempts) if candidate.run.attempt == closing.attempt), None)
        if index is None:
            return
        if open_run.plain and not root.has_context and closing.final:
            closed = Closed(run_attempts[index], self._where(root, run_attempts[index]), closing.outcome, None, True)
        else:
            closed = close(run_attempts, index, self._lookup(root))
            closed.outcome, closed.final = closing.outcome, closing.final
        if count:
            count_attempt(self._metrics, closed)
            if closing.final:
                count_run(self._metrics, closed.attempt, closed.outcome, closed.where)
        if out is not None and self._tracing and not closed.where.foreign:
            out.spans.append(self._spans.encode(closed.attempt, closed.where, closed.outcome, closed.previous))

    def _where(self, root: OpenRoot, attempt: Attempt) -> Context:
        """``place`` for a root in which nobody told of a trace context: its trace id is its key, all else derived."""
        run = attempt.run
        own = self._where_now(root, root.runs[run.id], run, run.attempt)
        parent = above(run, attempt.start, self._lookup(root))
        if parent is None:
            return Context(root.key, own.span_id, derived_parent(run))
        open_run = root.runs[parent.run.id]
        return Context(root.key, own.span_id, self._where_now(root, open_run, parent.run, parent.run.attempt).span_id)

    def _lookup(self, root: OpenRoot) -> Callable[[str], Sequence[Attempt]]:
        return lambda run_id: self._folded(root, run_id)

    def _folded(self, root: OpenRoot, run_id: str) -> Sequence[Attempt]:
        """The attempts of a run, folded once while nothing new comes: decisions, spans and children share it."""
        open_run = root.runs.get(run_id)
        if open_run is None:
            return ()
        cached = self._fold_cache.get((root.key, run_id))
        if cached and cached[0] == open_run.taken:
            return cached[1]
        run_attempts = [with_workflow(attempt, root.workflow()) for attempt in attempts(self._events(root, open_run))]
        if len(self._fold_cache) >= 4_096:
            self._fold_cache.clear()
        self._fold_cache[(root.key, run_id)] = open_run.taken, run_attempts
        return run_attempts

    # --- decisions -------------------------------------------------------------------------------------------------

    def decide(self, now: int) -> dict[bytes, list[Closing]]:
        """What is over as of ``now``: closings by root, to be journalled with the next commit and then applied."""
        decisions: dict[bytes, list[Closing]] = {}
        taken: set[tuple[bytes, str, int]] = set()
        again: list[tuple[int, int, bytes, str, int]] = []
        while self._due and self._due[0][0] <= now:
            _, _, first, key, run_id, number = heapq.heappop(self._due)
            root = self._roots.get(key)
            if root is None:
                continue
            proposed = self._decide_one(root, run_id, number, now, first, again) if run_id else self._unended(root)
            for closing in proposed:
                # Two timers of one pass may find the same: it is decided once.
                if (key, closing.run, closing.attempt) not in taken:
                    taken.add((key, closing.run, closing.attempt))
                    decisions.setdefault(key, []).append(closing)
        for at, first, key, run_id, number in again:
            self._later(at, first, key, run_id, number)
        return decisions

    def _decide_one(
        self,
        root: OpenRoot,
        run_id: str,
        number: int,
        now: int,
        first: int,
        again: list[tuple[int, int, bytes, str, int]],
    ) -> Iterator[Closing]:
        open_run = root.runs.get(run_id)
        if open_run is None:
            return
        run = open_run.run
        if open_run.plain and open_run.closed is None and open_run.outcome in SURE:
            yield Closing(run_id, run.kind, number, False, True, open_run.outcome)
            if run_id == run.root:
                again.append((now + self._timing.orphans, now, root.key, "", 0))
            return
        if not run.attempt and now < open_run.told_at + self._timing.grace:
            return  # more was told since: the timer of that comes
        run_attempts = self._folded(root, run_id)
        for index, attempt in enumerate(run_attempts):
            # Attempts that the fold counts have no number of their own: any timer of their run is for all of them.
            if attempt.outcome and attempt.start and (attempt.run.attempt == number or not run.attempt):
                yield from self._decide_attempt(root, open_run, run_attempts, index, now, first, again)

    def _decide_attempt(
        self,
        root: OpenRoot,
        open_run: OpenRun,
        run_attempts: Sequence[Attempt],
        index: int,
        now: int,
        first: int,
        again: list[tuple[int, int, bytes, str, int]],
    ) -> Iterator[Closing]:
        attempt = run_attempts[index]
        run, number = attempt.run, attempt.run.attempt
        later = any(other.start for other in run_attempts[index + 1 :])
        ended = outcome_of(self._lookup(root), parent_id(run))
        outcome = settled(attempt, later, ended)
        over = number in open_run.done()
        # The next attempt of a task whose attempts are told may be yet to come: its parent's end says, or time.
        retryable = open_run.run.attempt > 0 and run.kind == "task" and outcome not in SURE
        decided = later or not retryable or bool(ended) or now - first >= self._timing.neighbours
        for other in run_attempts[:index] if decided and not later else ():
            if other.start and not other.outcome and other.run.attempt not in open_run.done():
                yield Closing(run.id, run.kind, other.run.attempt, True, False, "")  # its end will not come any more
        if not over and (decided or outcome != "cancelled"):
            yield Closing(run.id, run.kind, number, False, decided and not later, outcome)
        elif over and decided and not later and not open_run.finished:
            yield Closing(run.id, run.kind, 0, False, True, outcome)
        if not decided:
            again.append((now + self._timing.grace, first, root.key, run.id, number))
        if run.id == run.root and not later:
            again.append((now + self._timing.orphans, now, root.key, "", 0))

    def _unended(self, root: OpenRoot) -> Iterator[Closing]:
        return unended(root, self._lookup(root))

    def silent(self, now: int) -> dict[bytes, list[Closing]]:
        """Closings of roots from which nothing came for ``max_open``; a pass over all roots, to be made rarely."""
        decisions = {}
        for key, root in self._roots.items():
            if now - root.touched >= self._timing.max_open and (closings := list(self._unended(root))):
                decisions[key] = closings
        return decisions

    def drain(self) -> dict[bytes, list[Closing]]:
        """Decide all that has an outcome, without waiting: the end of a short-lived process."""
        timing, self._timing = self._timing, Timing(grace=0, neighbours=0, orphans=0)
        try:
            return self.decide(1 << 63)
        finally:
            self._timing = timing

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

    def drop(self, keys: Iterable[bytes]) -> None:
        """Forget roots that the journal no longer holds; what comes of them again begins anew."""
        for key in keys:
            root = self._roots.pop(key, None)
            for run_id in root.runs if root else ():
                self._fold_cache.pop((key, run_id), None)

    def active(self) -> Iterator[tuple[tuple[str, str, str, str, str], str, int]]:
        """(labels, phase, start in ns) of every run under way, for the gauges."""
        for root in list(self._roots.values()):
            for open_run in list(root.runs.values()):
                if open_run.open_phase() and not open_run.internal:
                    yield self._metrics.runs.labels(root.called(open_run)), open_run.phase, open_run.start
