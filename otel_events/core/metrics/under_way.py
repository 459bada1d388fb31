"""The runs under way -> what the gauges of them say: pure, counted anew with each reading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from otel_events.core.metrics import families as table
from otel_events.core.metrics.families import Family, Labels
from otel_events.model.traits import RunningGauge, Traits

FOREVER = 1 << 63
"""A start later than any (ns)."""

Key = tuple[str, ...]


class Count(msgspec.Struct):
    """How many, and when the first of them began (ns)."""

    number: int = 0
    start: int = FOREVER


def gauges(sources: Mapping[str, Traits]) -> tuple[Family, ...]:
    """The families that are counted when they are read: of all runs under way, and those that a source adds."""
    return (table.ACTIVE, *(row.family for traits in sources.values() for row in traits.gauges))


def count(active: Iterable[tuple[Labels, str, int]], sources: Mapping[str, Traits]) -> dict[str, dict[Key, Count]]:
    """Counts by label values, for each family of ``gauges(sources)``; ``active``: (labels, phase, start) of each."""
    counts: dict[str, dict[Key, Count]] = {family.name: {} for family in gauges(sources)}
    groups = counts[table.ACTIVE.name]
    for labels, phase, start in active:
        group = groups.get((*labels, phase))
        if group is None:
            group = groups[(*labels, phase)] = Count()
        group.number += 1
        if 0 < start < group.start:
            group.start = start
    for place, group in groups.items():
        row = _gauge_of(place, sources)
        if row is not None:
            key = place[:-1] if row.family.labels else ()
            counts[row.family.name].setdefault(key, Count()).number += group.number
    return counts


def _gauge_of(place: Key, sources: Mapping[str, Traits]) -> RunningGauge | None:
    """The first gauge of the source that counts these runs."""
    source, _, _, kind, name, phase = place
    traits = sources.get(source)
    for row in traits.gauges if traits else ():
        if (row.kind, row.phase) == (kind, phase) and row.name in ("", name):
            return row
    return None
