"""``current_context().stats``: numbers that a task reports, in the shape of a statsd client with tags (flytekit's
TaggableStats). Each becomes a Stat event of the run, and so a family ``otel_events_stat_*`` (docs/metrics.md), labelled
with the run's definition and with those tags that are allow-listed.

| call | becomes | family of ``name`` |
|---|---|---|
| incr(name, count=1) | counter | name_total |
| decr(name, count=1) | counter of its own: one that goes down is a restart to Prometheus | name_decr_total |
| gauge(name, value, delta=False) | gauge; delta adds to this process's last value | name |
| timing(name, milliseconds or timedelta) | histogram of seconds | name_seconds |
| timer(name) | the same, of a ``with`` block or a decorated function | name_seconds |
| set(name, value) | gauge: how many different values this attempt has reported | name |

``rate`` and ``per_host`` are accepted and ignored: every call counts. Nothing here raises: a call with wrong arguments
is counted (``otel_events_faults_total``) and logged once.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import ParamSpec, TypeVar

from otel_events.inprocess.attempts import ProcessAttempt
from otel_events.inprocess.faults import fault
from otel_events.inprocess.ids import new_id
from otel_events.inprocess.queue import emit
from otel_events.model.event import Run, Stat, StatType

P = ParamSpec("P")
R = TypeVar("R")

FAULT = "a call of current_context().stats"
GAUGES = 4_096
"""Gauges of this process whose last value is remembered, for ``delta``."""
VALUES = 10_000
"""Different values of one set that are counted; the gauge stops there."""

Tags = Mapping[str, object]
_levels: dict[tuple[str, ...], float] = {}
_level = threading.Lock()


@contextmanager
def _guarded() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001  # a number must not end the task that reports it
        fault(FAULT, error)


class Stats:
    """Stats of one attempt, under a scope (``prefix``) and with tags of their own.

    >>> from otel_events import current_context
    >>> stats = current_context().stats.get_stats("reader")
    >>> stats.incr("rows", 100, tags={"region": "eu"})
    >>> with stats.timer("read") as timer:
    ...     pass
    >>> timer.ms >= 0
    True
    """

    def __init__(
        self,
        context: ProcessAttempt,
        prefix: str = "",
        tags: Tags | None = None,
        hand_over: Callable[[Stat], None] = emit,
        seen: dict[str, set[int]] | None = None,
    ) -> None:
        self._context, self._prefix, self._hand_over = context, prefix, hand_over
        self._tags: dict[str, str] = _text(tags or {})
        self._seen: dict[str, set[int]] = {} if seen is None else seen

    def incr(
        self, stat: str, count: float = 1, rate: float = 1, *, tags: Tags | None = None, per_host: bool = False
    ) -> None:
        """Add ``count`` to a counter."""
        with _guarded():
            self._report(stat, count, "counter", tags)

    def decr(
        self, stat: str, count: float = 1, rate: float = 1, *, tags: Tags | None = None, per_host: bool = False
    ) -> None:
        """Add ``count`` to ``{stat}.decr``, a counter of its own: one that goes down is a restart to Prometheus."""
        with _guarded():
            self._report(f"{stat}.decr", count, "counter", tags)

    def gauge(
        self,
        stat: str,
        value: float,
        rate: float = 1,
        delta: bool = False,
        *,
        tags: Tags | None = None,
        per_host: bool = False,
    ) -> None:
        """Set a gauge; with ``delta``, add ``value`` to its last value in this process."""
        with _guarded():
            self._report(stat, self._reached(stat, float(value), delta, tags), "gauge", tags)

    def timing(
        self, stat: str, delta: float | timedelta, rate: float = 1, *, tags: Tags | None = None, per_host: bool = False
    ) -> None:
        """Record a duration: milliseconds, or a timedelta."""
        with _guarded():
            seconds = delta.total_seconds() if isinstance(delta, timedelta) else float(delta) / 1e3
            self._report(stat, seconds, "timer", tags, "s")

    def timer(self, stat: str, rate: float = 1, *, tags: Tags | None = None, per_host: bool = False) -> Timer:
        """Measure a ``with`` block, or each call of a function that it decorates."""
        return Timer(self, stat, tags)

    def set(
        self, stat: str, value: object, rate: float = 1, *, tags: Tags | None = None, per_host: bool = False
    ) -> None:
        """Add a value to a set; the gauge is the number of its different values."""
        with _guarded():
            hashes = self._seen.setdefault(self._prefix + stat, set())
            if len(hashes) < VALUES:
                hashes.add(hash(str(value)))
            self._report(stat, len(hashes), "gauge", tags)

    def pipeline(self) -> Pipeline:
        """The same calls, handed over together by ``send()`` or at the end of ``with``."""
        return Pipeline(self._context, self._prefix, self._tags, self._hand_over, self._seen)

    def get_stats(self, name: str, copy_tags: bool = True) -> Stats:
        """The same stats under a scope: ``get_stats("a").incr("b")`` is ``incr("a.b")``."""
        scope = f"{self._prefix}{name}."
        return type(self)(self._context, scope, self._tags if copy_tags else None, self._hand_over, self._seen)

    def extend_tags(self, tags: Tags) -> None:
        """Add tags to every later call."""
        with _guarded():
            self._tags |= _text(tags)

    def clear_tags(self) -> None:
        """Remove the tags that were added."""
        self._tags = {}

    def lap(self, stat: str, began: int, took: int) -> None:
        """Put a measurement on the attempt's timeline, if it has one. ``began`` and ``took`` are in ns."""
        if self._context.laps is not None:
            self._context.lap(self._prefix + stat, "section", began, began + took)

    def _report(self, name: str, value: float, kind: StatType, tags: Tags | None, unit: str = "") -> None:
        run = self._context.run
        if run is None:
            return
        self._hand_over(
            Stat(
                id=new_id(),
                time=time.time_ns(),
                run=run,
                name=self._prefix + name,
                value=float(value),
                type=kind,
                unit=unit,
                tags=self._tags | _text(tags) if tags else self._tags,
            )
        )

    def _reached(self, name: str, value: float, delta: bool, tags: Tags | None) -> float:
        """The value of a gauge; gauges belong to the definition, as their labels do, not to one run of it."""
        run = self._context.run
        if run is None:
            return value
        key = _gauge(run, self._prefix + name, self._tags | _text(tags or {}))
        with _level:
            reached = _levels.get(key, 0.0) + value if delta else value
            if key in _levels or len(_levels) < GAUGES:
                _levels[key] = reached
        return reached


def _text(tags: Tags) -> dict[str, str]:
    return {str(key): str(value) for key, value in tags.items()}


def _gauge(run: Run, name: str, tags: dict[str, str]) -> tuple[str, ...]:
    return (
        run.namespace,
        run.workflow,
        run.kind,
        run.name,
        name,
        *(part for pair in sorted(tags.items()) for part in pair),
    )


class Pipeline(Stats):
    """Stats that wait for ``send()``; each has the time of its call."""

    def __init__(
        self,
        context: ProcessAttempt,
        prefix: str = "",
        tags: Tags | None = None,
        hand_over: Callable[[Stat], None] = emit,
        seen: dict[str, set[int]] | None = None,
    ) -> None:
        self._waiting: list[Stat] = []
        self._deliver = hand_over
        super().__init__(context, prefix, tags, self._waiting.append, seen)

    def send(self) -> None:
        """Hand over what waits."""
        with _guarded():
            waiting, self._waiting[:] = list(self._waiting), []
            for stat in waiting:
                self._deliver(stat)

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.send()


class Timer:
    """Used by ``with``, as a decorator, or by ``start()`` and ``stop()``. ``ms``: the measured time, None before."""

    def __init__(self, stats: Stats, stat: str, tags: Tags | None) -> None:
        self._stats, self._stat, self._tags = stats, stat, tags
        self._began = 0
        self._started: int | None = None
        self._sent = False
        self.ms: float | None = None

    def start(self) -> Timer:
        """Begin a measurement."""
        self.ms, self._sent = None, False
        self._began, self._started = time.time_ns(), time.perf_counter_ns()
        return self

    def stop(self, send: bool = True) -> Timer:
        """End the measurement; ``send=False`` leaves it to ``send()``."""
        if self._started is not None:
            took = time.perf_counter_ns() - self._started
            self.ms = took / 1e6
            self._stats.lap(self._stat, self._began, took)
            if send:
                self.send()
        return self

    def send(self) -> None:
        """Hand over what was measured, once."""
        if self.ms is not None and not self._sent:
            self._sent = True
            self._stats.timing(self._stat, self.ms, tags=self._tags)

    def __enter__(self) -> Timer:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Measure each call of ``function``."""

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with Timer(self._stats, self._stat, self._tags):
                return function(*args, **kwargs)

        return call
