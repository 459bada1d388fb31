"""How wide the buckets of a histogram are, by ClearML's rule. Pure functions.

A series with fewer points than samples has buckets of width 1, any other of ceil(range / samples). Then series whose
widths are close share the greatest of these widths: sorted by width, they form groups of at most 50 series and 6,000
buckets, whose widths are at most a tenth greater than the first one of the group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from otel_events.clearml_server.store import Bounds

_SERIES, _BUCKETS = 50, 6_000


class _Wanted(NamedTuple):
    interval: int
    buckets: int
    place: int


def intervals(bounds: Sequence[Bounds], samples: int) -> list[int]:
    """For each series the width of its buckets; 1 where it has no points.

    >>> intervals([Bounds(1_000, 0, 999), Bounds(5, 0, 99)], samples=100)
    [10, 1]
    """
    wanted = sorted(_wanted(of, samples, place) for place, of in enumerate(bounds))
    widths = [1] * len(bounds)
    group: list[_Wanted] = []
    for series in wanted:
        if group and not _fits(group, series):
            _share(group, widths)
            group = []
        group.append(series)
    _share(group, widths)
    return widths


def _wanted(of: Bounds, samples: int, place: int) -> _Wanted:
    if of.low is None or of.high is None or of.points < samples:
        return _Wanted(1, of.points, place)
    reach = int(of.high) - int(of.low) + 1
    interval = -(-reach // samples)
    return _Wanted(interval, -(-reach // interval), place)


def _fits(group: list[_Wanted], series: _Wanted) -> bool:
    first = group[0].interval
    return (
        series.interval <= first + first // 10
        and len(group) < _SERIES
        and sum(member.buckets for member in group) + series.buckets <= _BUCKETS
    )


def _share(group: list[_Wanted], widths: list[int]) -> None:
    for member in group:
        widths[member.place] = group[-1].interval
