"""The metrics of one process as one object: what counts, and what reads.

One thread counts (``runs``, ``internal``), any thread may read (``collect``, ``snapshot``). Nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from otel_events.core.metrics import families as table
from otel_events.core.metrics.families import NANO, STAT_CAP, Labels
from otel_events.core.metrics.internal import InternalMetrics
from otel_events.core.metrics.registry import Registry, SavedFamily
from otel_events.core.metrics.runs import RunMetrics
from otel_events.core.metrics.series import Key
from otel_events.core.metrics.under_way import FOREVER, count, gauges
from otel_events.model.declared import all_traits
from otel_events.model.errors import JournalError
from otel_events.model.telemetry import MetricData, Point
from otel_events.model.traits import Traits

Active = Callable[[], Iterable[tuple[Labels, str, int]]]
"""Gives (labels, phase, start in ns; 0 unknown) of each run under way."""


class _Snapshot(msgspec.Struct):
    start: int
    families: list[SavedFamily]


def _none_active() -> Iterable[tuple[Labels, str, int]]:
    return ()


class Metrics:
    """The metric families of one process.

    Attributes:
        runs: Counts what runs do.
        internal: Counts what this process does.
        active: Gives the runs under way; readers call it, and it may be set later.
        start: Since when we count (ns), what OTLP calls the start time.

    >>> metrics = Metrics()
    >>> metrics.internal.received("toy", 5)
    >>> [family.points for family in metrics.collect(0) if family.name == "otel_events_records_received_total"]
    [[Point(labels=('toy',), value=5.0, exemplar=None)]]
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
        """Begin counting at 0.

        Args:
            active: See the attributes.
            start: See the attributes.
            cap: Overrides the cap of each family whose label values come from outside.
            stat_cap: How many families stats may make.
            tags: Tags of stats that become labels; others are left out.
            build: Overrides the labels of ``otel_events_build_info``.
            sources: The traits of each source, which may add families; None: of all sources that are installed.

        Raises:
            ConfigError: A tag cannot be a label.
        """
        self.active = active
        self.start = start
        self._sources = all_traits() if sources is None else sources
        self._gauges = gauges(self._sources)
        self._registry = Registry(self._sources, cap=cap, stat_cap=stat_cap, tags=tags)
        self.runs = RunMetrics(self._registry, self._sources)
        self.internal = InternalMetrics(self._registry, build or {})

    def collect(self, now_ns: int) -> list[MetricData]:
        """Read all families as they stand.

        Args:
            now_ns: The time that the families carry.

        Returns:
            The families in the order of the table, then those of stats by name; their series by label values.
        """
        with self._registry.reading:
            oldest = self._count_active()
            read = [(store.family, store.points()) for store in self._registry.stores()]
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
            for family, points in read
        ]

    def _count_active(self) -> list[Point]:
        """Set the gauges of the runs under way from one pass over them; returns the points of the oldest starts."""
        counts = count(self.active(), self._sources)
        placed = {
            family.name: self._registry.set_gauge(
                family, {key: group.number for key, group in counts[family.name].items()}
            )
            for family in self._gauges
        }
        oldest: dict[Key, int] = {}
        for key, series in placed[table.ACTIVE.name].items():
            oldest[series] = min(counts[table.ACTIVE.name][key].start, oldest.get(series, FOREVER))
        return [Point(series, start / NANO) for series, start in sorted(oldest.items()) if start < FOREVER]

    def snapshot(self) -> bytes:
        """All counts, for ``restore`` after a restart."""
        with self._registry.reading:
            return msgspec.msgpack.encode(_Snapshot(self.start, self._registry.state()))

    def restore(self, snapshot: bytes) -> None:
        """Continue from a snapshot. To be called before anything is counted.

        A family whose labels or buckets have changed since starts at 0.

        Args:
            snapshot: What ``snapshot`` gave.

        Raises:
            JournalError: These bytes are no snapshot.
        """
        try:
            saved = msgspec.msgpack.decode(snapshot, type=_Snapshot)
        except msgspec.DecodeError as error:
            raise JournalError(
                f"the snapshot of the metrics in the journal cannot be read ({error}); "
                "leave it out and the counters start at 0"
            ) from error
        self.start = saved.start
        with self._registry.reading:
            self._registry.load(saved.families)
