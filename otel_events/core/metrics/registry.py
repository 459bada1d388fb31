"""The series of all metric families of one process: those of the table and those that stats make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import Any

import msgspec

from otel_events.core.metrics import families as table
from otel_events.core.metrics.families import NANO, Family, all_families
from otel_events.core.metrics.series import Counter, Gauge, Key, Store
from otel_events.core.metrics.stats import Stats
from otel_events.core.metrics.under_way import gauges
from otel_events.model.traits import Traits

BY_SOURCE = ("source",)
"""How the labels of a family begin whose label values come from outside; only those families need a cap."""


class SavedFamily(msgspec.Struct, array_like=True):
    """A family as a snapshot holds it. ``rows``: (label values, state of the cell)."""

    family: Family
    rows: list[Any]


class Registry:
    """All families and their series.

    One thread counts; any thread may read while it holds ``reading`` (see series.py for why counting takes no lock).
    """

    def __init__(self, sources: Mapping[str, Traits], *, cap: int | None, stat_cap: int, tags: Iterable[str]) -> None:
        """Make a store for each family of the table.

        Args:
            sources: The traits of each source, which may add families.
            cap: Overrides the cap of each family whose label values come from outside.
            stat_cap: How many families stats may make.
            tags: Tags of stats that become labels.

        Raises:
            ConfigError: A tag cannot be a label.
        """
        self.reading = Lock()
        self._overflows_while_read = 0
        self._counted_when_read = (*gauges(sources), table.OVERFLOW)
        families = all_families(sources)
        self._stores = {family.name: self._new_store(family, cap) for family in families}
        self.stats = Stats(
            tags,
            stat_cap,
            table.CAP if cap is None else cap,
            new=self._start_overflow,
            refused=self._refuse,
            overflowed=self._overflow,
        )
        overflowing = (family for family in families if family.labels[:1] == BY_SOURCE)
        self._stores[table.OVERFLOW.name].start((family.name,) for family in overflowing)
        self._stores[table.REFUSED.name].start((reason,) for reason in table.REFUSALS)

    def _new_store(self, family: Family, cap: int | None) -> Store[Any]:
        bounded = cap is not None and family.labels[:1] == BY_SOURCE
        capped = msgspec.structs.replace(family, cap=cap) if bounded else family
        overflowed = self._overflow_while_read if family in self._counted_when_read else self._overflow
        return Store.of(capped, NANO if family.type == "histogram" else 1, overflowed)

    def store(self, family: Family) -> Store[Any]:
        """The series of a family of the table."""
        return self._stores[family.name]

    def stores(self) -> list[Store[Any]]:
        """All of them: in the order of the table, then those of stats by name."""
        return [*self._stores.values(), *self.stats.stores()]

    def count(self, family: Family, key: Key, increment: int = 1) -> None:
        """Add to a counter."""
        self._stores[family.name].cell(key).value += increment

    def find(self, family: Family, key: Key) -> tuple[Any, bool]:
        """A cell, and whether it belongs to these label values alone.

        The cell of OTHER must be looked up each time, because each look-up counts as one overflow: a caller may
        remember a cell only where the second value is True.
        """
        store = self._stores[family.name]
        return store.cell(key), key in store.series

    def set_gauge(self, family: Family, values: Mapping[Key, int]) -> dict[Key, Key]:
        """Set a gauge that is counted when it is read: its series become these values, all others 0.

        Overflow is the most that one reading put into OTHER, so that reading twice counts nothing twice.

        Returns:
            For each key of ``values`` the label values of the series that it went to.
        """
        store: Store[Gauge] = self._stores[family.name]
        for cell in store.series.values():
            cell.value = 0.0
        self._overflows_while_read = 0
        placed = {key: store.place(key) for key in sorted(values)}
        for key, series in placed.items():
            store.series[series].value += values[key]
        if self._overflows_while_read:
            overflow: Counter = self._stores[table.OVERFLOW.name].cell((family.name,))
            overflow.value = max(overflow.value, self._overflows_while_read)
        return placed

    def state(self) -> list[SavedFamily]:
        """All series, for ``load`` after a restart; not the build, which belongs to this process."""
        return [
            SavedFamily(store.family, store.state()) for store in self.stores() if store.family.name != table.BUILD.name
        ]

    def load(self, saved: Iterable[SavedFamily]) -> None:
        """Continue from ``state``. A family whose labels or buckets have changed since starts at 0."""
        for entry in saved:
            self._load_family(entry.family, entry.rows)

    def _load_family(self, family: Family, rows: Sequence[Any]) -> None:
        store = self._stores.get(family.name)
        if store is None and family.labels == (*table.COMMON, *self.stats.tags):
            store = self.stats.add(family)
        if store and (store.family.labels, store.family.buckets) == (family.labels, family.buckets):
            store.load(rows)

    def _refuse(self, reason: str) -> None:
        self.count(table.REFUSED, (reason,))

    def _start_overflow(self, family: str) -> None:
        self._stores[table.OVERFLOW.name].start([(family,)])

    def _overflow(self, family: str) -> None:
        self.count(table.OVERFLOW, (family,))

    def _overflow_while_read(self, family: str) -> None:
        self._overflows_while_read += 1
