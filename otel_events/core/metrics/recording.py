"""What happened, counted: one method for each thing that can happen, and the families as they stand.

One thread calls the methods that count (``seen`` to ``exported``), any thread may read (``collect``, ``snapshot``); how
that goes without locks where it is hot is told in series.py. Nothing here reads a clock.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from typing import Any

import msgspec

from otel_events.core.metrics import families as table
from otel_events.core.metrics.families import ENDINGS, NANO, STAT_CAP, Family, Labels, all_families
from otel_events.core.metrics.series import UNTOLD, Counter, Gauge, Histogram, Key, Store
from otel_events.core.metrics.stats import Stats
from otel_events.core.metrics.text import clean
from otel_events.core.metrics.under_way import FOREVER, Count, count, gauges
from otel_events.model.declared import all_traits
from otel_events.model.errors import JournalError
from otel_events.model.event import Run, Stat
from otel_events.model.telemetry import Exemplar, MetricData, Point
from otel_events.model.traits import Traits
from otel_events.model.version import version

Active = Callable[[], Iterable[tuple[Labels, str, int]]]
"""Gives (labels, phase, start in ns; 0 unknown) of each run under way."""

REMEMBERED = 1 << 16
"""Entries of a cache that only saves time; it is emptied when full."""


class _Saved(msgspec.Struct, array_like=True):
    """A family as a snapshot keeps it."""

    family: Family
    rows: list[Any]


class _Snapshot(msgspec.Struct):
    start: int
    families: list[_Saved]


class _Ended:
    """The series that a finished run of one definition and outcome goes to, found once."""

    __slots__ = ("duration", "queue", "runs", "success")

    def __init__(self, runs: Counter) -> None:
        self.runs = runs
        self.duration: Histogram | None = None
        self.queue: Histogram | None = None
        self.success: Gauge | None = None


def _none_active() -> Iterable[tuple[Labels, str, int]]:
    return ()


class Metrics:
    """The metric families of one process.

    ``active`` may be set later; it is called by readers. ``start``: since when we count (ns), what OTLP calls the start
    time. ``cap`` overrides the cap of each family whose labels come from outside; ``tags``: the tags of stats that
    become labels (others are left out). Raises ConfigError for tags that cannot be labels.
    """

    def __init__(
        self,
        active: Active = _none_active,
        *,
        start: int = 0,
        cap: int | None = None,
        stat_cap: int = STAT_CAP,
        tags: Iterable[str] = (),
        build: Mapping[str, str] | None = None,
        sources: Mapping[str, Traits] | None = None,
    ) -> None:
        """``sources``: the traits of each source, which may add families; else those of all that are installed."""
        self.active = active
        self.start = start
        self._reading = Lock()
        self._folded = 0
        self._exported: dict[str, tuple[int, int, int]] = {}
        self._labels: dict[Labels, Labels] = {}
        self._defined: set[Labels] = set()
        self._attempts: dict[tuple[Labels, str, str], Counter] = {}
        self._ended: dict[tuple[Labels, str], _Ended] = {}
        self._stores: dict[str, Store[Any]] = {}
        self._sources = all_traits() if sources is None else sources
        self._gauges = gauges(self._sources)
        self._families = all_families(self._sources)
        for family in self._families:
            foreign = cap is not None and family.labels[:1] == ("source",)  # other labels have values of ours only
            known = msgspec.structs.replace(family, cap=cap) if foreign else family
            read = family in (*self._gauges, table.OVERFLOW)
            folded = self._fold if read else self._overflow
            self._stores[family.name] = Store.of(known, NANO if family.type == "histogram" else 1, folded)
        self._stats = Stats(
            tags,
            stat_cap,
            table.CAP if cap is None else cap,
            new=self._new_family,
            refused=self._refuse,
            overflowed=self._overflow,
        )
        self._begin({"version": version(), "python": platform.python_version(), **(build or {})})

    def _begin(self, build: Mapping[str, str]) -> None:
        """Series whose labels are known beforehand stand at 0 from the start, so that the first increase shows."""
        store = self._stores
        store[table.BUILD.name].cell(tuple(build[label] for label in table.BUILD.labels)).value = 1.0
        store[table.ILLEGAL.name].start([()])
        store[table.REFUSED.name].start((reason,) for reason in table.REFUSALS)
        store[table.DROPPED.name].start((reason,) for reason in table.LIMITS)
        for family in (table.SENT, table.FAILED, table.RETRIED):
            store[family.name].start((signal,) for signal in table.SIGNALS)
        bounded = (family for family in self._families if family.labels[:1] == ("source",))
        store[table.OVERFLOW.name].start((family.name,) for family in bounded)

    # --- labels ----------------------------------------------------------------------------------------------------

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

    # --- runs ------------------------------------------------------------------------------------------------------

    def seen(self, run: Run) -> None:
        """A run came up: if its definition is new, its outcome series start at 0 (where there is room)."""
        labels = self.labels(run)
        if labels in self._defined:
            return
        if len(self._defined) >= REMEMBERED:
            self._defined.clear()
        self._defined.add(labels)
        self._stores[table.RUNS.name].start((*labels, ending) for ending in ENDINGS)
        self._stores[table.ATTEMPTS.name].start((*labels, ending, "") for ending in ENDINGS)

    # The next two are what every run costs, and are written for that: one look-up, no calls that can be spared.

    def attempt_ended(self, labels: Labels, outcome: str, error_kind: str, exemplar: Exemplar | None = None) -> None:
        """An attempt ended. ``error_kind``: user, system or ""."""
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
        """A run is over, after its retries. ``run_seconds``: first running to end; ``queue_seconds``: created to first
        running; None where it never ran, below 0 taken as 0. An exemplar's value is the counter's; histograms hold
        the seconds."""
        ended = self._ended.get((labels, outcome)) or self._find_ended(labels, outcome)
        runs = ended.runs
        runs.value += 1
        time, span_id, trace_id = UNTOLD, b"", b""
        if exemplar is not None:
            time, span_id, trace_id = exemplar.time, exemplar.span_id, exemplar.trace_id
            if time > runs.time:
                runs.time, runs.held = time, (time, span_id, trace_id, exemplar.value)
            elif time == runs.time:
                runs.hold((time, span_id, trace_id, exemplar.value))
        if run_seconds is not None:
            histogram = ended.duration or self._find_duration(ended, labels, outcome)
            seconds = run_seconds if run_seconds > 0.0 else 0.0
            histogram.observe(seconds, int(seconds * 1e9 + 0.5), time, span_id, trace_id)
        if queue_seconds is not None:
            histogram = ended.queue or self._find_queue(ended, labels)
            seconds = queue_seconds if queue_seconds > 0.0 else 0.0
            histogram.observe(seconds, int(seconds * 1e9 + 0.5), time, span_id, trace_id)
        if outcome == "succeeded":
            success = ended.success or self._find_success(ended, labels)
            if end_ns > success.at[0]:
                success.at = (end_ns, "")
                success.value = end_ns / 1e9

    def _find_attempts(self, labels: Labels, outcome: str, error_kind: str) -> Counter:
        cell: Counter
        cell, own = self._find(table.ATTEMPTS, (*labels, outcome, error_kind))
        if own:
            self._attempts[labels, outcome, error_kind] = cell
        return cell

    def _find_ended(self, labels: Labels, outcome: str) -> _Ended:
        cell, own = self._find(table.RUNS, (*labels, outcome))
        ended = _Ended(cell)
        if own:
            self._ended[labels, outcome] = ended
        return ended

    def _find_duration(self, ended: _Ended, labels: Labels, outcome: str) -> Histogram:
        cell: Histogram
        cell, own = self._find(table.RUN_DURATION, (*labels, outcome))
        ended.duration = cell if own else None
        return cell

    def _find_queue(self, ended: _Ended, labels: Labels) -> Histogram:
        cell: Histogram
        cell, own = self._find(table.QUEUE_DURATION, labels)
        ended.queue = cell if own else None
        return cell

    def _find_success(self, ended: _Ended, labels: Labels) -> Gauge:
        cell: Gauge
        cell, own = self._find(table.LAST_SUCCESS, labels)
        ended.success = cell if own else None
        return cell

    def _find(self, family: Family, key: Key) -> tuple[Any, bool]:
        """A series, and whether it is these labels' own: the one of OTHER is looked up, and counted, each time."""
        store = self._stores[family.name]
        return store.cell(key), key in store.series

    def cache(self, labels: Labels, status: str) -> None:
        """An attempt told its cache status."""
        self._count(table.CACHE, (*labels, status))

    def ended_as(self, labels: Labels, run: Run, native: str) -> None:
        """An attempt of ``run`` ended in this native state: counted where its source declares a counter of it."""
        traits = self._sources.get(run.source)
        for row in traits.endings if traits else ():
            if row.native == native:
                self._count(row.family, labels)

    def stat(self, labels: Labels, stat: Stat, exemplar: Exemplar | None = None) -> None:
        """A task reported a number. What no family can take is counted in ``otel_events_refused_stats_total``."""
        self._stats.take(labels, stat, exemplar)

    # --- ourselves -------------------------------------------------------------------------------------------------

    def received(self, source: str, records: int) -> None:
        """Records were taken in, decodable or not."""
        self._of_source(table.RECEIVED, source, records)

    def taken(self, source: str, new: int, duplicates: int) -> None:
        """Events were appended to the journal, or were there."""
        self._of_source(table.ACCEPTED, source, new)
        self._of_source(table.DUPLICATE, source, duplicates)

    def late(self, source: str) -> None:
        """An event came after its attempt's span went out."""
        self._of_source(table.LATE, source, 1)

    def dead_letter(self, source: str) -> None:
        """A record could not be decoded."""
        self._of_source(table.DEAD, source, 1)

    def dropped(self, reason: str, events: int) -> None:
        """Events were let go by a stated limit."""
        self._count(table.DROPPED, (reason,), events)

    def faulted(self, what: str, times: int) -> None:
        """Something failed in a user's path and was passed over. ``what``: one of few texts of ours."""
        self._count(table.FAULTS, (what,), times)

    def illegal(self, transitions: int) -> None:
        """Phase changes that no source should make."""
        self._count(table.ILLEGAL, (), transitions)

    def exported(self, signal: str, sent: int, failed: int, retried: int) -> None:
        """What this process has exported so far of a signal: totals, not increments. From any thread."""
        with self._reading:
            before = self._exported.get(signal, (0, 0, 0))
            now = self._exported[signal] = (sent, failed, retried)
            for family, old, new in zip((table.SENT, table.FAILED, table.RETRIED), before, now, strict=True):
                self._count(family, (signal,), max(0, new - old))

    def journal(self, events: int, size: int, oldest_unacked_seconds: float) -> None:
        """How the journal stands: events, bytes, age of the oldest event not with the collector. From any thread."""
        found = ((table.JOURNAL_EVENTS, events), (table.JOURNAL_BYTES, size), (table.UNACKED, oldest_unacked_seconds))
        with self._reading:
            for family, value in found:
                self._stores[family.name].cell(()).value = float(value)

    def _count(self, family: Family, key: Key, more: int = 1) -> None:
        self._stores[family.name].cell(key).value += more

    def _of_source(self, family: Family, source: str, more: int) -> None:
        if (source,) not in self._stores[family.name].series:
            for one in table.BY_SOURCE:
                self._stores[one.name].start([(source,)])
        if more:
            self._count(family, (source,), more)

    def _refuse(self, reason: str) -> None:
        self._count(table.REFUSED, (reason,))

    def _new_family(self, family: str) -> None:
        self._stores[table.OVERFLOW.name].start([(family,)])

    def _overflow(self, family: str) -> None:
        self._count(table.OVERFLOW, (family,))

    def _fold(self, family: str) -> None:
        self._folded += 1

    # --- reading ---------------------------------------------------------------------------------------------------

    def collect(self, now_ns: int) -> list[MetricData]:
        """All families as they stand: in the order of the table, then stats by name; series by label values."""
        with self._reading:
            oldest = self._count_active()
            found = [(one.family, one.points()) for one in (*self._stores.values(), *self._stats.stores())]
        return [
            MetricData(
                name=family.name,
                type=family.type,
                help=family.help,
                unit=family.unit,
                label_names=family.labels,
                points=oldest if family.name == table.OLDEST.name else points,
                start=self.start,
                time=now_ns,
            )
            for family, points in found
        ]

    def _count_active(self) -> list[Point]:
        """Set ``runs_active`` from one pass over the runs under way; returns the points of the oldest starts.

        A series that was there before stays, at 0. Overflow is what one reading folded at most, so that reading again
        counts nothing anew."""
        found = count(self.active(), self._sources)
        placed = {family.name: self._gauge(family, found[family.name]) for family in self._gauges}
        oldest: dict[Key, int] = {}
        for raw, key in placed[table.ACTIVE.name].items():
            oldest[key] = min(found[table.ACTIVE.name][raw].start, oldest.get(key, FOREVER))
        return [Point(key, start / NANO) for key, start in sorted(oldest.items()) if start < FOREVER]

    def _gauge(self, family: Family, counts: Mapping[Key, Count]) -> dict[Key, Key]:
        """Set all series of a family to these counts; which series each of the label values went to."""
        store: Store[Gauge] = self._stores[family.name]
        for cell in store.series.values():
            cell.value = 0.0
        self._folded = 0
        placed = {raw: store.place(raw) for raw in sorted(counts)}
        for raw, key in placed.items():
            store.series[key].value += counts[raw].number
        if self._folded:
            overflow: Counter = self._stores[table.OVERFLOW.name].cell((family.name,))
            overflow.value = max(overflow.value, self._folded)
        return placed

    def snapshot(self) -> bytes:
        """All counts, for ``restore`` after a restart."""
        with self._reading:
            stores = (*self._stores.values(), *self._stats.stores())
            saved = [_Saved(one.family, one.state()) for one in stores if one.family.name != table.BUILD.name]
            return msgspec.msgpack.encode(_Snapshot(self.start, saved))

    def restore(self, snapshot: bytes) -> None:
        """Go on from a snapshot; to be called before anything is counted. A family whose labels or buckets are others
        than they were starts at 0. Raises JournalError for bytes that are no snapshot."""
        try:
            kept = msgspec.msgpack.decode(snapshot, type=_Snapshot)
        except msgspec.DecodeError as error:
            raise JournalError(
                f"the snapshot of the metrics in the journal cannot be read ({error}); "
                "leave it out and the counters start at 0"
            ) from error
        self.start = kept.start
        with self._reading:
            for saved in kept.families:
                self._restore(saved.family, saved.rows)

    def _restore(self, family: Family, rows: Sequence[Any]) -> None:
        store = self._stores.get(family.name)
        if store is None and family.labels == (*table.COMMON, *self._stats.tags):
            store = self._stats.add(family)
        if store and (store.family.labels, store.family.buckets) == (family.labels, family.buckets):
            store.load(rows)
