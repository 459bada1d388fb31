"""What runs do, counted: attempts that end, runs that finish, caches, stats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_events.core.metrics import families as table
from otel_events.core.metrics.families import ENDINGS, Family, Labels
from otel_events.core.metrics.registry import Registry
from otel_events.core.metrics.series import NO_EXEMPLAR, Counter, Gauge, Histogram, Key
from otel_events.core.metrics.text import clean
from otel_events.model.event import Run, Stat
from otel_events.model.telemetry import Exemplar
from otel_events.model.traits import Traits

REMEMBERED = 1 << 16
"""Entries of a cache that only saves time; it is emptied when full."""


class _FinishedRuns:
    """The series of finished runs of one definition and outcome, looked up once."""

    __slots__ = ("duration", "queue", "runs", "success")

    def __init__(self, runs: Counter) -> None:
        self.runs = runs
        self.duration: Histogram | None = None
        self.queue: Histogram | None = None
        self.success: Gauge | None = None


class RunMetrics:
    """Counts what runs do. One thread calls it."""

    def __init__(self, registry: Registry, sources: Mapping[str, Traits]) -> None:
        """Count into ``registry``; ``sources``: the traits of each source."""
        self._registry, self._sources = registry, sources
        self._labels: dict[Labels, Labels] = {}
        self._defined: set[Labels] = set()
        self._attempts: dict[tuple[Labels, str, str], Counter] = {}
        self._finished: dict[tuple[Labels, str], _FinishedRuns] = {}

    def labels(self, run: Run) -> Labels:
        """(source, namespace, workflow, kind, name) of a run, as label values; the same tuple for the same values."""
        raw = (run.source, run.namespace, run.workflow, run.kind, run.name)
        return self._labels.get(raw) or self._new_labels(raw)

    def _new_labels(self, raw: Labels) -> Labels:
        if len(self._labels) >= REMEMBERED:
            self._labels.clear()
        source, namespace, workflow, kind, name = map(clean, raw)
        if (traits := self._sources.get(source)) and traits.namespace_is_session:
            namespace = ""
        return self._labels.setdefault(raw, (source, namespace, workflow, kind, name))

    def seen(self, run: Run) -> None:
        """Start the outcome series of a run's definition at 0, where they are new and there is room for them."""
        labels = self.labels(run)
        if labels in self._defined:
            return
        if len(self._defined) >= REMEMBERED:
            self._defined.clear()
        self._defined.add(labels)
        self._registry.store(table.RUNS).start((*labels, ending) for ending in ENDINGS)
        self._registry.store(table.ATTEMPTS).start((*labels, ending, "") for ending in ENDINGS)

    # Every run costs the next two calls. So they do one look-up each and repeat what Counter.hold does in place.

    def attempt_ended(self, labels: Labels, outcome: str, error_kind: str, exemplar: Exemplar | None = None) -> None:
        """Count an attempt that ended.

        Args:
            labels: What ``labels`` gave for its run.
            outcome: One of ENDINGS.
            error_kind: ``user``, ``system`` or "".
            exemplar: The span of the attempt.
        """
        cell = self._attempts.get((labels, outcome, error_kind)) or self._find_attempts(labels, outcome, error_kind)
        cell.value += 1
        if exemplar is not None and (time := exemplar.time) >= cell.time:
            held = (time, exemplar.span_id, exemplar.trace_id, exemplar.value)
            if time > cell.time:
                cell.time, cell.held = time, held
            else:
                cell.hold(held)

    def run_finished(
        self,
        labels: Labels,
        outcome: str,
        run_seconds: float | None,
        queue_seconds: float | None,
        end_ns: int,
        exemplar: Exemplar | None = None,
    ) -> None:
        """Count a run that is over, after its retries.

        Args:
            labels: What ``labels`` gave for it.
            outcome: One of ENDINGS.
            run_seconds: First running to end; None where it never ran; below 0 counts as 0.
            queue_seconds: Created to first running; None where it never ran; below 0 counts as 0.
            end_ns: When it ended.
            exemplar: The span of its last attempt. Its value is the counter's; the histograms hold the seconds.
        """
        cells = self._finished.get((labels, outcome)) or self._find_finished(labels, outcome)
        runs = cells.runs
        runs.value += 1
        time, span_id, trace_id = NO_EXEMPLAR, b"", b""
        if exemplar is not None:
            time, span_id, trace_id = exemplar.time, exemplar.span_id, exemplar.trace_id
            if time > runs.time:
                runs.time, runs.held = time, (time, span_id, trace_id, exemplar.value)
            elif time == runs.time:
                runs.hold((time, span_id, trace_id, exemplar.value))
        if run_seconds is not None:
            histogram = cells.duration or self._find(cells, "duration", table.RUN_DURATION, (*labels, outcome))
            seconds = run_seconds if run_seconds > 0.0 else 0.0
            histogram.observe(seconds, int(seconds * 1e9 + 0.5), time, span_id, trace_id)
        if queue_seconds is not None:
            histogram = cells.queue or self._find(cells, "queue", table.QUEUE_DURATION, labels)
            seconds = queue_seconds if queue_seconds > 0.0 else 0.0
            histogram.observe(seconds, int(seconds * 1e9 + 0.5), time, span_id, trace_id)
        if outcome == "succeeded":
            success = cells.success or self._find(cells, "success", table.LAST_SUCCESS, labels)
            if end_ns > success.at[0]:
                success.at = (end_ns, "")
                success.value = end_ns / 1e9

    def _find_attempts(self, labels: Labels, outcome: str, error_kind: str) -> Counter:
        cell: Counter
        cell, own = self._registry.find(table.ATTEMPTS, (*labels, outcome, error_kind))
        if own:
            self._attempts[labels, outcome, error_kind] = cell
        return cell

    def _find_finished(self, labels: Labels, outcome: str) -> _FinishedRuns:
        cell, own = self._registry.find(table.RUNS, (*labels, outcome))
        cells = _FinishedRuns(cell)
        if own:
            self._finished[labels, outcome] = cells
        return cells

    def _find(self, cells: _FinishedRuns, slot: str, family: Family, key: Key) -> Any:
        cell, own = self._registry.find(family, key)
        if own:
            setattr(cells, slot, cell)
        return cell

    def cache(self, labels: Labels, status: str) -> None:
        """Count the cache status of an attempt."""
        self._registry.count(table.CACHE, (*labels, status))

    def ended_as(self, labels: Labels, run: Run, native: str) -> None:
        """Count the native state in which an attempt of ``run`` ended, where its source declares a counter of it."""
        traits = self._sources.get(run.source)
        for row in traits.endings if traits else ():
            if row.native == native:
                self._registry.count(row.family, labels)

    def stat(self, labels: Labels, stat: Stat, exemplar: Exemplar | None = None) -> None:
        """Count a number that a task reports. What no family can take is in ``otel_events_refused_stats_total``."""
        self._registry.stats.take(labels, stat, exemplar)
