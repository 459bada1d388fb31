"""The runs under way -> what the gauges of them say: pure, counted anew with each reading."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from otel_events.core.metrics import families as table
from otel_events.core.metrics.families import Labels

FOREVER = 1 << 63
"""A start later than any (ns)."""

RAY_NODE = "ray.node"
"""Name of the runs that are nodes of a Ray cluster; all other runs of kind node of that source are actors."""

Key = tuple[str, ...]


class Count(msgspec.Struct):
    """How many, and when the first of them began (ns)."""

    number: int = 0
    start: int = FOREVER


def count(active: Iterable[tuple[Labels, str, int]]) -> dict[str, dict[Key, Count]]:
    """Counts by label values, for each family of COUNTED_WHEN_READ."""
    found: dict[str, dict[Key, Count]] = {family.name: {} for family in table.COUNTED_WHEN_READ}
    groups = found[table.ACTIVE.name]
    for labels, phase, start in active:
        group = groups.get((*labels, phase))
        if group is None:
            group = groups[(*labels, phase)] = Count()
        group.number += 1
        if 0 < start < group.start:
            group.start = start
    for place, group in groups.items():
        source, _, _, kind, name, phase = place
        if (source, kind, phase) == ("ray", "node", "running"):
            family, key = (table.RAY_NODES, ()) if name == RAY_NODE else (table.RAY_ACTORS, place[:-1])
            found[family.name].setdefault(key, Count()).number += group.number
    return found
