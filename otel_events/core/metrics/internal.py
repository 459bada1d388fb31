"""What this process says of itself: records taken in, the journal, exports, and what was let go or failed."""

from __future__ import annotations

import platform
from collections.abc import Mapping

from otel_events.core.metrics import families as table
from otel_events.core.metrics.families import Family
from otel_events.core.metrics.registry import Registry
from otel_events.model.version import version

EXPORTS = (table.SENT, table.FAILED, table.RETRIED)


class InternalMetrics:
    """Counts what this process does. One thread calls it; ``exported`` and ``journal`` may come from any."""

    def __init__(self, registry: Registry, build: Mapping[str, str]) -> None:
        """Start all series whose labels are known beforehand at 0, so that their first increase shows.

        Args:
            registry: Where to count.
            build: Overrides ``version`` and ``python`` of ``otel_events_build_info``.
        """
        self._registry = registry
        self._exported: dict[str, tuple[int, int, int]] = {}
        build = {"version": version(), "python": platform.python_version(), **build}
        registry.store(table.BUILD).cell(tuple(build[label] for label in table.BUILD.labels)).value = 1.0
        registry.store(table.ILLEGAL).start([()])
        registry.store(table.DROPPED).start((reason,) for reason in table.LIMITS)
        for family in EXPORTS:
            registry.store(family).start((signal,) for signal in table.SIGNALS)

    def received(self, source: str, records: int) -> None:
        """Count records that were taken in, decodable or not."""
        self._count_source(table.RECEIVED, source, records)

    def appended(self, source: str, new: int, duplicates: int) -> None:
        """Count events that were appended to the journal, and those that it held already."""
        self._count_source(table.ACCEPTED, source, new)
        self._count_source(table.DUPLICATE, source, duplicates)

    def late(self, source: str) -> None:
        """Count an event that came after its attempt's span went out."""
        self._count_source(table.LATE, source, 1)

    def dead_letter(self, source: str) -> None:
        """Count a record that could not be decoded."""
        self._count_source(table.DEAD, source, 1)

    def dropped(self, reason: str, events: int) -> None:
        """Count events that a stated limit let go."""
        self._registry.count(table.DROPPED, (reason,), events)

    def faulted(self, what: str, times: int) -> None:
        """Count what failed in a user's process and was passed over. ``what``: one of few texts of ours."""
        self._registry.count(table.FAULTS, (what,), times)

    def illegal(self, transitions: int) -> None:
        """Count phase changes that no source should make."""
        self._registry.count(table.ILLEGAL, (), transitions)

    def exported(self, signal: str, sent: int, failed: int, retried: int) -> None:
        """Take what this process has exported of a signal so far: totals, not increments. From any thread."""
        with self._registry.reading:
            before = self._exported.get(signal, (0, 0, 0))
            now = self._exported[signal] = (sent, failed, retried)
            for family, old, new in zip(EXPORTS, before, now, strict=True):
                self._registry.count(family, (signal,), max(0, new - old))

    def journal(self, events: int, size: int, oldest_unacked_seconds: float) -> None:
        """Take how the journal stands. From any thread.

        Args:
            events: How many it holds.
            size: Bytes on disk.
            oldest_unacked_seconds: Age of the oldest event that is not with the collector.
        """
        values = ((table.JOURNAL_EVENTS, events), (table.JOURNAL_BYTES, size), (table.UNACKED, oldest_unacked_seconds))
        with self._registry.reading:
            for family, value in values:
                self._registry.store(family).cell(()).value = float(value)

    def _count_source(self, family: Family, source: str, increment: int) -> None:
        if (source,) not in self._registry.store(family).series:
            for by_source in table.BY_SOURCE:
                self._registry.store(by_source).start([(source,)])
        if increment:
            self._registry.count(family, (source,), increment)
