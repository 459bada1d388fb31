"""The families that stats make: numbers that tasks report, each under its own name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any

import msgspec

from otel_events.core.metrics.families import Family, Labels
from otel_events.core.metrics.series import FINEST, Store, exact
from otel_events.core.metrics.text import sample_names, seconds_per_unit, stat_family, tag_labels
from otel_events.model.event import Stat
from otel_events.model.telemetry import Exemplar

ROUTES = 1 << 12
"""Entries of the cache from (name, type, unit) to a family; it is emptied when full."""


class Stats:
    """Families of stats.

    Two names that differ in punctuation only (``a.b``, ``a/b``) are one family. Where stats of two types have one name,
    the type that came first has it.
    """

    def __init__(
        self,
        tags: Iterable[str],
        families: int,
        cap: int,
        *,
        new: Callable[[str], None],
        refused: Callable[[str], None],
        overflowed: Callable[[str], None],
    ) -> None:
        """Begin without families.

        Args:
            tags: Tags of stats that become labels.
            families: How many families there may be.
            cap: How many series each of them may have.
            new: Called with the name of each family that begins.
            refused: Called with the reason for each stat that no family can take.
            overflowed: Called with the name of the family for each measurement that goes to OTHER.

        Raises:
            ConfigError: A tag cannot be a label.
        """
        self.tags = tag_labels(tags)
        self._families = families
        self._cap = cap
        self._new = new
        self._refused = refused
        self._overflowed = overflowed
        self._stores: dict[str, Store[Any]] = {}
        self._taken: set[str] = set()
        self._routes: dict[tuple[str, str, str], tuple[Store[Any], float]] = {}

    def stores(self) -> list[Store[Any]]:
        """By name. From any thread."""
        return [store for _, store in sorted(self._stores.copy().items())]

    def take(self, labels: Labels, stat: Stat, exemplar: Exemplar | None) -> None:
        """Count one stat; timers in seconds."""
        route = self._routes.get((stat.name, stat.type, stat.unit)) or self._route(stat)
        if route is None:
            return
        store, factor = route
        value = stat.value * factor
        key = (*labels, *[stat.tags.get(tag, "") for tag in self.tags.values()])
        if store.family.type == "gauge":
            store.cell(key).set(value, (stat.time, stat.id))
        elif not isfinite(value) or value < 0:
            # A sum that goes down is a restart to Prometheus, and an error in OpenMetrics.
            self._refused("value")
        elif exemplar is None:
            store.cell(key).observe(value, exact(value))
        else:
            store.cell(key).observe(value, exact(value), exemplar.time, exemplar.span_id, exemplar.trace_id)

    def _route(self, stat: Stat) -> tuple[Store[Any], float] | None:
        """The family of stats of this name, type and unit, and the factor for their values; None: refused."""
        family = stat_family(stat, tuple(self.tags), self._cap)
        reason = "name" if family is None else self._obstacle(family)
        if family is None or reason:
            self._refused(reason)
            return None
        store = self._stores.get(family.name) or self.add(family)
        if len(self._routes) >= ROUTES:
            self._routes.clear()
        return self._routes.setdefault((stat.name, stat.type, stat.unit), (store, seconds_per_unit(stat)))

    def _obstacle(self, family: Family) -> str:
        """Why this family cannot begin, as a reason of REFUSALS; "" where it can, or has begun already."""
        store = self._stores.get(family.name)
        if store is not None:
            return "" if store.family.type == family.type else "conflict"
        if self._taken & sample_names(family):
            return "conflict"
        return "" if len(self._stores) < self._families else "families"

    def add(self, family: Family) -> Store[Any]:
        """Begin a family; without a look at how many there are."""
        family = msgspec.structs.replace(family, cap=self._cap)
        store = self._stores[family.name] = Store.of(family, FINEST, self._overflowed)
        self._taken.update(sample_names(family))
        self._new(family.name)
        return store
