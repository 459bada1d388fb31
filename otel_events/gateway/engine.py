"""The gateway's fold: commits of the journal in, telemetry out, as events come (replay folds root by root instead).

What comes out of a commit is a function of the journal up to it: new events become log records, and *closings* (the
decision, itself journalled, that an attempt is over) become spans. So after a crash the same commits give the same
bytes, and a span is never sent twice with other content. Within a commit closings act before events.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from otel_events.core.logs import log
from otel_events.core.measure import count_attempt, count_event, count_run
from otel_events.core.metrics import Metrics
from otel_events.core.traces import Closed, close, place
from otel_events.gateway.decider import Decider
from otel_events.gateway.folds import Folds
from otel_events.gateway.state import (
    BITS,
    CONTEXT_KEYS,
    NO_EFFECTS,
    Effects,
    Load,
    Memory,
    OpenRoot,
    OpenRun,
    Telemetry,
    Timing,
)
from otel_events.journal import Closing
from otel_events.model.declared import traits_of
from otel_events.model.event import INTERNAL, PHASES, AnyEvent, PhaseChange, Stat
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
        self._folds = Folds(load)
        self._roots = self._folds.roots
        self.decider = Decider(self._folds, timing)
        self._logs, self._spans = Logs(), Spans()

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
        effects = Effects(out if emit else None, count)
        self._folds.upto = seq - 1
        for key, decided in closings.items():
            root = self._root(key, key in fresh, seq, now)
            for closing in decided:
                self._close(root, closing, effects)
        for key, new in events.items():
            root = self._root(key, key in fresh, seq, now)
            root.touched = now
            for event in new:
                self._take(root, event, now, effects)
        self._folds.upto = seq
        return out

    def preload(self, keys: Mapping[bytes, int], upto: int, now: int) -> None:
        """Read roots back as they stood at commit ``upto``: nothing is counted or put out. ``keys``: with the clock of
        the gateway when something last came for each."""
        self._folds.upto = upto
        for key, touched in keys.items():
            self._root(key, False, upto + 1, now).touched = touched

    def _root(self, key: bytes, fresh: bool, seq: int, now: int) -> OpenRoot:
        root = self._roots.get(key)
        if root is None:
            root = self._roots[key] = OpenRoot(key, {}, now)
            if not fresh:
                for events, closings in self._load(key, seq - 1):
                    for closing in closings:
                        self._close(root, closing, NO_EFFECTS)
                    for event in events:
                        self._take(root, event, now, NO_EFFECTS)
        return root

    def _take(self, root: OpenRoot, event: AnyEvent, now: int, effects: Effects) -> None:
        out, count = effects.telemetry, effects.counts
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
            where = self._folds.context_now(root, run, attempt)
            if logs is not None:
                logs.append(self._logs.record(event, where, attempt, first, late))
            if tell:
                tell(log(event, where.trace_id, where.span_id, attempt, late))
        if count and (late or not is_phase):
            count_event(self._metrics, event, open_run.named or open_run.run, late)

    def _tell(self, root: OpenRoot) -> None:
        """From here on the contexts in this root are folded with every event: its events have to be at hand."""
        if not root.has_context:
            self._memory.restore(root, lambda: self._load(root.key, self._folds.upto))
        root.has_context = True

    def _learned(self, root: OpenRoot, open_run: OpenRun, count: bool) -> None:
        """A run is new, or told its name: its series start, and those of the runs that take over what it told."""
        for run in root.named_by(open_run):
            if count and run.id:
                self._metrics.runs.seen(run)
        if open_run.run.id == open_run.run.root and traits_of(open_run.run.source).workflow_from_root:
            self._folds.renamed()

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
            self.decider.after_grace(root, run.id, open_run.current, now)
            open_run.current += 1
        before = PHASES[open_run.phase].rank if open_run.phase else -1
        if (attempt, time, info.rank) >= (open_run.shown, open_run.since, before):
            open_run.phase, open_run.since, open_run.shown = phase, time, attempt
        if attempt != open_run.run.attempt or not attempt:
            open_run.plain = False
        if info.outcome:
            open_run.plain = open_run.plain and open_run.outcome == ""
            open_run.outcome, open_run.told_at = phase, now
            self.decider.after_grace(root, run.id, attempt or open_run.current, now)
        elif phase == "finalizing" and run.id == run.root and traits_of(run.source).of(run.kind).finalizing_may_be_last:
            self.decider.after_orphans(root, now)

    def _close(self, root: OpenRoot, closing: Closing, effects: Effects) -> None:
        out, count = effects.telemetry, effects.counts
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
        run_attempts = self._folds.of_run(root, closing.run)
        if closing.attempt == 0:
            last = next((candidate for candidate in reversed(run_attempts) if candidate.start), None)
            if count and last:
                count_run(self._metrics, last, closing.outcome, place(last, self._folds.lookup(root)))
            return
        index = next((i for i, candidate in enumerate(run_attempts) if candidate.run.attempt == closing.attempt), None)
        if index is None:
            return
        if open_run.plain and not root.has_context and closing.final:
            where = self._folds.derived_context(root, run_attempts[index])
            closed = Closed(run_attempts[index], where, closing.outcome, None, True)
        else:
            closed = close(run_attempts, index, self._folds.lookup(root))
            closed.outcome, closed.final = closing.outcome, closing.final
        if count:
            count_attempt(self._metrics, closed)
            if closing.final:
                count_run(self._metrics, closed.attempt, closed.outcome, closed.where)
        if out is not None and self._tracing and not closed.where.foreign:
            out.spans.append(self._spans.encode(closed.attempt, closed.where, closed.outcome, closed.previous))

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
            self._folds.drop(key)

    def active(self) -> Iterator[tuple[tuple[str, str, str, str, str], str, int]]:
        """(labels, phase, start in ns) of every run under way, for the gauges."""
        for root in list(self._roots.values()):
            for open_run in list(root.runs.values()):
                if open_run.open_phase() and not open_run.internal:
                    yield self._metrics.runs.labels(root.called(open_run)), open_run.phase, open_run.start
