"""Series of one family: cells that are written by one thread and read by others, bounded in number.

Counting takes no lock. One thread writes. Readers rely on the GIL of CPython: ``dict.copy`` and a slice of a list are
one step, and two additions that stand side by side, with no call or jump between, are not interrupted. So a reader sees
every series whole: a histogram's sum and buckets are of the same observations. Cells are never removed or replaced
while there are readers.

Sums are integers (nanoseconds, or multiples of the smallest float), so that the order of adding them does not show
(law 1).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from functools import partial
from operator import itemgetter
from typing import Any, Generic, TypeVar

from otel_events.core.metrics.families import OTHER, Family
from otel_events.core.metrics.text import clean
from otel_events.model.telemetry import Exemplar, HistogramPoint, Point

Key = tuple[str, ...]
HeldExemplar = tuple[int, bytes, bytes, float]
"""An exemplar as it is compared: time (ns), span id, trace id, value. The greatest stays, whatever the order."""
Number = int | bytes
"""An integer as it is kept: bytes where 64 bits do not hold it."""

NO_EXEMPLAR = -2
"""Time of an exemplar that does not exist: before any, NEVER included."""
NEVER = -1
"""Time of the exemplar of a cell that has none yet."""
EMPTY: HeldExemplar = (NEVER, b"", b"", 0.0)
FINEST = 1 << 1074
"""How many of the smallest float make 1: every finite float is a whole number of them."""
OVERFLOW_SOURCES = 64
"""Sources that get a series of OTHER of their own. All later ones share one, because anyone may send a source."""


def exact(value: float) -> int:
    """A finite float as multiples of 1/FINEST, without loss.

    Raises:
        ValueError: It is NaN.
        OverflowError: It is infinite.
    """
    numerator, denominator = value.as_integer_ratio()
    return numerator << (1075 - denominator.bit_length())


def ratio(total: int, scale: int) -> float:
    """total / scale, correctly rounded; infinite where no float is as great."""
    try:
        return total / scale
    except OverflowError:
        return float("inf") if total > 0 else float("-inf")


def pack_number(number: int) -> Number:
    return (
        number if -(1 << 63) <= number < 1 << 63 else number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)
    )


def unpack_number(number: Number) -> int:
    return int.from_bytes(number, "big", signed=True) if isinstance(number, bytes) else number


class Counter:
    """``value`` in units of 1/scale of its family; ``time`` is that of the exemplar held."""

    __slots__ = ("held", "time", "value")

    def __init__(self) -> None:
        self.value = 0
        self.time = NEVER
        self.held = EMPTY

    def observe(
        self, value: float, scaled: int, time: int = NO_EXEMPLAR, span_id: bytes = b"", trace_id: bytes = b""
    ) -> None:
        """Take an increment; ``scaled``: the same in units of 1/scale. The rest is its exemplar."""
        self.value += scaled
        self.hold((time, span_id, trace_id, value))

    def hold(self, held: HeldExemplar) -> None:
        """Take an exemplar, if it is later than the one held."""
        if held > self.held:
            self.time, self.held = held[0], held

    def state(self) -> list[Any]:
        return [pack_number(self.value), self.held]

    def load(self, state: list[Any]) -> None:
        self.value, self.held = unpack_number(state[0]), _tuple(state[1])
        self.time = self.held[0]

    def point(self, key: Key, scale: int) -> Point:
        exemplar = None if self.held[0] < 0 else _exemplar(self.held)
        return Point(key, ratio(self.value, scale), exemplar)


class Gauge:
    """The value with the greatest ``at``: (time in ns, event id)."""

    __slots__ = ("at", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self.at = (-1, "")

    def set(self, value: float, at: tuple[int, str]) -> None:
        if at > self.at:
            self.at = at
            self.value = value

    def state(self) -> list[Any]:
        return [self.value, self.at]

    def load(self, state: list[Any]) -> None:
        self.value, self.at = state[0], (state[1][0], state[1][1])

    def point(self, key: Key, scale: int) -> Point:
        return Point(key, self.value)


class Histogram:
    """One histogram.

    ``cells`` holds the sum (in units of 1/scale), then the count of each bucket, +Inf last. ``times`` and ``held`` hold
    the exemplar of each bucket, at the same indexes.
    """

    __slots__ = ("bounds", "cells", "edges", "held", "times")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.edges = (float("-inf"), *bounds)
        self.cells = [0] * (len(bounds) + 2)
        self.times = [NEVER] * (len(bounds) + 2)
        self.held = [EMPTY] * (len(bounds) + 2)

    def observe(
        self, value: float, scaled: int, time: int = NO_EXEMPLAR, span_id: bytes = b"", trace_id: bytes = b""
    ) -> None:
        """Take one value, not NaN; ``scaled``: the same in units of 1/scale. The rest is its exemplar."""
        place = bisect_left(self.edges, value)
        times = self.times
        if time > times[place]:
            times[place] = time
            self.held[place] = (time, span_id, trace_id, value)
        elif time == times[place]:
            self.held[place] = max(self.held[place], (time, span_id, trace_id, value))
        cells = self.cells
        cells[place] += 1
        cells[0] += scaled

    def state(self) -> list[Any]:
        total, *buckets = self.cells[:]
        return [pack_number(total), buckets, [(at, held) for at, held in enumerate(self.held) if held[0] >= 0]]

    def load(self, state: list[Any]) -> None:
        total, buckets, exemplars = state
        self.cells[:] = [unpack_number(total), *buckets]
        for place, held in exemplars:
            self.held[place], self.times[place] = _tuple(held), held[0]

    def point(self, key: Key, scale: int) -> HistogramPoint:
        exemplars = [_exemplar(held) for held in self.held if held[0] >= 0]
        total, *buckets = self.cells[:]
        return HistogramPoint(key, sum(buckets), ratio(total, scale), self.bounds, buckets, exemplars)


def _exemplar(held: HeldExemplar) -> Exemplar:
    time, span_id, trace_id, value = held
    return Exemplar(value, time, trace_id, span_id)


def _tuple(held: list[Any]) -> HeldExemplar:
    return held[0], held[1], held[2], held[3]


Cell = TypeVar("Cell", Counter, Gauge, Histogram)

_MAKERS: dict[str, Callable[[Family], Callable[[], Any]]] = {
    "counter": lambda family: Counter,
    "gauge": lambda family: Gauge,
    "histogram": lambda family: partial(Histogram, family.buckets),
}


class Store(Generic[Cell]):
    """The series of one family by label values: at most ``cap`` of them, and those of OTHER.

    ``overflowed(family name)`` is called for each measurement that goes to OTHER. ``scale``: cells count in units of
    1/scale.
    """

    def __init__(self, family: Family, make: Callable[[], Cell], overflowed: Callable[[str], None], scale: int) -> None:
        self.family = family
        self.series: dict[Key, Cell] = {}
        self.scale = scale
        self._make: Callable[[], Cell] = make
        self._overflowed = overflowed
        self._others = 0
        self._order: list[tuple[Key, Cell]] = []

    @classmethod
    def of(cls, family: Family, scale: int, overflowed: Callable[[str], None]) -> Store[Cell]:
        """The store that fits a family's type."""
        return cls(family, _MAKERS[family.type](family), overflowed, scale)

    def cell(self, key: Key) -> Cell:
        """The cell of these label values; it is started if there is room, else it is that of OTHER."""
        return self.series.get(key) or self.series[self.place(key)]

    def place(self, key: Key) -> Key:
        """Label values of the series that counts for ``key``: its own, started if it is new, or that of OTHER."""
        key = tuple(map(clean, key))
        if key in self.series:
            return key
        if not self.has_room():
            self._overflowed(self.family.name)
            key = self.other(key)
            if key in self.series:
                return key
            self._others += 1
        self.series[key] = self._make()
        return key

    def start(self, keys: Iterable[Key]) -> None:
        """Start series at 0, where there is room for them."""
        for raw in keys:
            key = tuple(map(clean, raw))
            if self.has_room() and key not in self.series:
                self.series[key] = self._make()

    def has_room(self) -> bool:
        """Whether one more series may start; those of OTHER do not count."""
        return len(self.series) - self._others < self.family.cap

    def other(self, key: Key) -> Key:
        """Label values of OTHER: all of them but ``source``."""
        rest: Key = (OTHER,) * len(key)
        if self.family.labels[:1] != ("source",):
            return rest
        mine = (key[0], *rest[1:])
        return mine if self._others < OVERFLOW_SOURCES or mine in self.series else rest

    def points(self) -> list[Any]:
        """Points by label values. For readers: one at a time (the order is remembered)."""
        if len(self._order) != len(self.series):
            self._order = sorted(self.series.copy().items(), key=itemgetter(0))
        scale = self.scale
        return [cell.point(key, scale) for key, cell in self._order]

    def state(self) -> list[Any]:
        """(label values, state of the cell) of each series, for ``load``. From any thread."""
        return [(key, cell.state()) for key, cell in self.series.copy().items()]

    def load(self, rows: Iterable[Any]) -> None:
        """Continue from what ``state`` gave. Series that exist already and are in no row stay as they are."""
        for labels, state in rows:
            key = tuple(labels)
            cell = self.series.get(key)
            if cell is None:
                cell = self.series[key] = self._make()
                self._others += key[-1:] == (OTHER,) and {OTHER}.issuperset(key[1:])
            cell.load(state)
