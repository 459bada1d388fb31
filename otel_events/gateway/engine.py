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
from otel_events.gateway.state import BITS, SURE, TOLD, Load, Memory, OpenRoot, OpenRun, Telemetry, Timing
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
        known = root.runs.get(run_id)
        if known is None:
            known = root.runs[run_id] = OpenRun(run, [])
            self._learned(root, known, count)
        elif run is not known.run and run != known.run and known.learn(run):
            self._learned(root, known, count)
        attempt = run.attempt or known.current
        is_phase = type(event) is PhaseChange
        first = False
        if is_phase:
            self._track(root, known, event, now)  # type: ignore[arg-type]  # as just tested, without isinstance's cost
            attempt = run.attempt or known.current
            bit = 1 << min(attempt, BITS)
            first = not known.logged & bit
            known.logged |= bit
        if not TOLD.isdisjoint(event.attributes):
            known.internal = known.internal or INTERNAL in event.attributes
            self._tell(root)
        late = known.closed is not None and attempt in known.closed
        self._memory.add(known, event, root.told)
        logs = out.logs if out is not None and self._logging else None
        tell = self.tell if count else None
        if (tell or logs is not None) and (is_phase or late or not isinstance(event, Stat)):
            where = self._where_now(root, known, run, attempt)
            if logs is not None:
                logs.append(self._logs.record(event, where, attempt, first, late))
            if tell:
                tell(log(event, where.trace_id, where.span_id, attempt, late))
        if count and (late or not is_phase):
            count_event(self._metrics, event, known.named or known.run, late)

    def _tell(self, root: OpenRoot) -> None:
        """From here on the contexts in this root are folded with every event: its events have to be at hand."""
        if not root.told:
            self._memory.restore(root, lambda: self._load(root.key, self._upto))
        root.told = True

    def _learned(self, root: OpenRoot, known: OpenRun, count: bool) -> None:
        """A run is new, or told its name: its series start, and those of the runs that take over what it told."""
        for run in root.named_by(known):
            if count and run.id:
                self._metrics.runs.seen(run)
        if known.run.id == known.run.root and traits_of(known.run.source).workflow_from_root:
            self._fold_cache.clear()

    def _events(self, root: OpenRoot, known: OpenRun) -> list[AnyEvent]:
        if known.events is not None:
            return known.events
        if known.packed is not None:
            return [unpack(run, packed) for run, packed in known.packed]
        commits = self._load(root.key, self._upto)
        return [event for events, _ in commits for event in events if event.run.id == known.run.id]

    def _track(self, root: OpenRoot, known: OpenRun, event: PhaseChange, now: int) -> None:
        """Follow the phase for the gauges, and put an outcome on the list of what is due."""
        phase, time, run = event.phase, event.time, event.run
        info = PHASES.get(phase)
        if info is None:
            return
        attempt = run.attempt
        again = known.begins_next(event)
        # An outcome too: an attempt of which nothing was heard before has yet to be closed, also after a restart.
        if known.finished and (attempt or known.current + again) not in known.done():
            self._memory.reopened(known)
            root.open += 1
        if not known.start:
            known.start = time
            root.open += bool(run.id)
        elif time < known.start:
            known.start = time
        if again:
            known.told_at = now
            self._later(now + self._timing.grace, now, root.key, run.id, known.current)
            known.current += 1
        before = PHASES[known.phase].rank if known.phase else -1
        if (attempt, time, info.rank) >= (known.shown, known.since, before):
            known.phase, known.since, known.shown = phase, time, attempt
        if attempt != known.run.attempt or not attempt:
            known.plain = False
        if info.outcome:
            known.plain = known.plain and known.outcome == ""
            known.outcome, known.told_at = phase, now
            self._later(now + self._timing.grace, now, root.key, run.id, attempt or known.current)
        elif phase == "finalizing" and run.id == run.root and traits_of(run.source).of(run.kind).finalizing_may_be_last:
            self._later(now + self._timing.orphans, now, root.key, "", 0)

    def _later(self, at: int, first: int, key: bytes, run: str, attempt: int) -> None:
        self._serial += 1
        heapq.heappush(self._due, (at, self._serial, first, key, run, attempt))

    def _where_now(self, root: OpenRoot, known: OpenRun, run: Run, attempt: int) -> Context:
        """The context of an attempt as the journal tells it so far; of an event of no run, none."""
        if not run.id:
            return NOWHERE
        if root.told:
            found = self._folded(root, run.id)
            mine = next((one for one in found if one.run.attempt == attempt), None)
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
        known = root.runs.get(closing.run)
        if known is None:  # its events could not be read back
            return
        if closing.attempt:
            known.closed = {**(known.closed or {}), closing.attempt: closing}
        if not known.finished and (closing.final or known.final_after(closing.attempt)):
            self._memory.finished(known, root.told)
            root.open -= 1
        if out is None and not count:
            return
        found = self._folded(root, closing.run)
        if closing.attempt == 0:
            last = next((one for one in reversed(found) if one.start), None)
            if count and last:
                count_run(self._metrics, last, closing.outcome, place(last, self._lookup(root)))
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
        if out is not None and self._tracing and not closed.where.foreign:
            out.spans.append(self._spans.encode(closed.attempt, closed.where, closed.outcome, closed.previous))

    def _where(self, root: OpenRoot, attempt: Attempt) -> Context:
        """``place`` for a root in which nobody told of a trace context: its trace id is its key, all else derived."""
        run = attempt.run
        own = self._where_now(root, root.runs[run.id], run, run.attempt)
        parent = above(run, attempt.start, self._lookup(root))
        if parent is None:
            return Context(root.key, own.span_id, derived_parent(run))
        known = root.runs[parent.run.id]
        return Context(root.key, own.span_id, self._where_now(root, known, parent.run, parent.run.attempt).span_id)

    def _lookup(self, root: OpenRoot) -> Callable[[str], Sequence[Attempt]]:
        return lambda run_id: self._folded(root, run_id)

    def _folded(self, root: OpenRoot, run_id: str) -> Sequence[Attempt]:
        """The attempts of a run, folded once while nothing new comes: decisions, spans and children share it."""
        known = root.runs.get(run_id)
        if known is None:
            return ()
        cached = self._fold_cache.get((root.key, run_id))
        if cached and cached[0] == known.taken:
            return cached[1]
        found = [with_workflow(one, root.workflow()) for one in attempts(self._events(root, known))]
        if len(self._fold_cache) >= 4_096:
            self._fold_cache.clear()
        self._fold_cache[(root.key, run_id)] = known.taken, found
        return found

    # --- decisions -------------------------------------------------------------------------------------------------

    def decide(self, now: int) -> dict[bytes, list[Closing]]:
        """What is over as of ``now``: closings by root, to be journalled with the next commit and then applied."""
        made: dict[bytes, list[Closing]] = {}
        taken: set[tuple[bytes, str, int]] = set()
        again: list[tuple[int, int, bytes, str, int]] = []
        while self._due and self._due[0][0] <= now:
            _, _, first, key, run_id, number = heapq.heappop(self._due)
            root = self._roots.get(key)
            if root is None:
                continue
            found = self._decide_one(root, run_id, number, now, first, again) if run_id else self._unended(root)
            for closing in found:
                # Two timers of one pass may find the same: it is decided once.
                if (key, closing.run, closing.attempt) not in taken:
                    taken.add((key, closing.run, closing.attempt))
                    made.setdefault(key, []).append(closing)
        for at, first, key, run_id, number in again:
            self._later(at, first, key, run_id, number)
        return made

    def _decide_one(
        self,
        root: OpenRoot,
        run_id: str,
        number: int,
        now: int,
        first: int,
        again: list[tuple[int, int, bytes, str, int]],
    ) -> Iterator[Closing]:
        known = root.runs.get(run_id)
        if known is None:
            return
        run = known.run
        if known.plain and known.closed is None and known.outcome in SURE:
            yield Closing(run_id, run.kind, number, False, True, known.outcome)
            if run_id == run.root:
                again.append((now + self._timing.orphans, now, root.key, "", 0))
            return
        if not run.attempt and now < known.told_at + self._timing.grace:
            return  # more was told since: the timer of that comes
        found = self._folded(root, run_id)
        for index, one in enumerate(found):
            # Attempts that the fold counts have no number of their own: any timer of their run is for all of them.
            if one.outcome and one.start and (one.run.attempt == number or not run.attempt):
                yield from self._decide_attempt(root, known, found, index, now, first, again)

    def _decide_attempt(
        self,
        root: OpenRoot,
        known: OpenRun,
        found: Sequence[Attempt],
        index: int,
        now: int,
        first: int,
        again: list[tuple[int, int, bytes, str, int]],
    ) -> Iterator[Closing]:
        attempt = found[index]
        run, number = attempt.run, attempt.run.attempt
        later = any(one.start for one in found[index + 1 :])
        ended = outcome_of(self._lookup(root), parent_id(run))
        outcome = settled(attempt, later, ended)
        over = number in known.done()
        # The next attempt of a task whose attempts are told may be yet to come: its parent's end says, or time.
        retryable = known.run.attempt > 0 and run.kind == "task" and outcome not in SURE
        decided = later or not retryable or bool(ended) or now - first >= self._timing.neighbours
        for one in found[:index] if decided and not later else ():
            if one.start and not one.outcome and one.run.attempt not in known.done():
                yield Closing(run.id, run.kind, one.run.attempt, True, False, "")  # its end will not come any more
        if not over and (decided or outcome != "cancelled"):
            yield Closing(run.id, run.kind, number, False, decided and not later, outcome)
        elif over and decided and not later and not known.finished:
            yield Closing(run.id, run.kind, 0, False, True, outcome)
        if not decided:
            again.append((now + self._timing.grace, first, root.key, run.id, number))
        if run.id == run.root and not later:
            again.append((now + self._timing.orphans, now, root.key, "", 0))

    def _unended(self, root: OpenRoot) -> Iterator[Closing]:
        return unended(root, self._lookup(root))

    def silent(self, now: int) -> dict[bytes, list[Closing]]:
        """Closings of roots from which nothing came for ``max_open``; a pass over all roots, to be made rarely."""
        made = {}
        for key, root in self._roots.items():
            if now - root.touched >= self._timing.max_open and (closings := list(self._unended(root))):
                made[key] = closings
        return made

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
            for known in list(root.runs.values()):
                if known.open_phase() and not known.internal:
                    yield self._metrics.runs.labels(root.called(known)), known.phase, known.start
