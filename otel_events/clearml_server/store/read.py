"""Series, summaries and rows as events, read over a connection; each query reads one range or one group."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from otel_events.clearml_server.store.model import (
    TYPES,
    Metrics,
    Owner,
    Series,
    Stats,
    Summary,
    described,
    hashed,
)
from otel_events.clearml_server.store.normal import NULL, NUMBER, opened

_NUMBERS = {t: n for n, t in enumerate(TYPES)}
_STATS = msgspec.msgpack.Decoder(Stats)
_FIELDS = "s.id, s.type, s.metric, s.variant, s.events, s.top, s.time, s.received, s.stats"


def marks(values: Collection[object]) -> str:
    """As many question marks as there are values, for a statement."""
    return ", ".join("?" * len(values))


def series_of(
    db: sqlite3.Connection, owner: Owner, types: Collection[str], metrics: Metrics | None, with_events: bool = True
) -> list[Series]:
    """The series of one owner that have events, by metric, variant, type."""
    where, values = "o.name = ? AND o.model = ?", [owner.id, owner.model]
    if with_events:
        where += " AND s.events > 0"
    if types:
        where += f" AND s.type IN ({marks(types)})"
        values += [_NUMBERS[t] for t in types]
    rows = db.execute(
        f"SELECT {_FIELDS} FROM owner o JOIN series s ON s.owner = o.id WHERE {where}"
        " ORDER BY s.metric, s.variant, s.type",
        values,
    )
    every = (_series(owner, row) for row in rows)
    return [series for series in every if chosen(metrics, series.metric, series.variant)]


def _series(owner: Owner, row: Sequence[Any]) -> Series:
    number, kind, metric, variant, events, top, time, received, stats = row
    statistics = None if stats is None else _STATS.decode(stats)
    return Series(number, owner, TYPES[kind], metric, variant, events, top, time, received, statistics)


def chosen(metrics: Metrics | None, metric: str, variant: str) -> bool:
    """Whether a filter lets a variant of a metric through."""
    if not metrics:
        return True
    variants = metrics.get(metric)
    return variants is not None and (not variants or variant in variants)


def summary(db: sqlite3.Connection, owner: Owner) -> Summary:
    """See ``protocol.Events.summary``."""
    row = db.execute("SELECT last_iter, written FROM owner WHERE name = ? AND model = ?", owner).fetchone()
    if row is None:
        return Summary()
    result = Summary(row[0], row[1])
    for series in series_of(db, owner, (), None, with_events=False):
        metric = hashed(series.metric)
        if series.stats is not None:
            entry = described(series.metric, series.variant, series.stats)
            result.last_metrics.setdefault(metric, {})[hashed(series.variant)] = entry
        if series.events:
            of = result.metric_stats.setdefault(metric, {"metric": series.metric, "event_stats_by_type": {}})
            by_type = of["event_stats_by_type"]
            last = max(series.time, by_type.get(series.type, {}).get("last_update", series.time))
            by_type[series.type] = {"last_update": last}
    result.last_metrics = {metric: dict(sorted(of.items())) for metric, of in sorted(result.last_metrics.items())}
    return result


class Events:
    """Makes the events again out of rows of point, report and log."""

    def __init__(self, db: sqlite3.Connection, series: Iterable[Series]) -> None:
        self._series = {s.id: s for s in series}
        self._workers: dict[int, str] = {}
        self._db = db

    def point(self, row: Sequence[Any]) -> dict[str, Any]:
        """The event of a row (series, slot, iter, time, received, worker, value, extra)."""
        event = self._common(*row[:6])
        if row[6] is not None:
            event["value"] = row[6]
        if row[7] is not None:
            event |= msgspec.json.decode(row[7])
        return event

    def report(self, row: Sequence[Any]) -> dict[str, Any]:
        """The event of a row (series, slot, iter, time, received, worker, body), which may also be a log line."""
        return self._common(*row[:6]) | opened(row[6])

    def _common(self, series: int, slot: int, number: int, time: float, received: int, worker: int) -> dict[str, Any]:
        of = self._series[series]
        event: dict[str, Any] = {
            "type": of.type,
            "task": of.owner.id,
            "metric": of.metric,
            "variant": of.variant,
            "timestamp": time,
            "worker": self._worker(worker),
            "model_event": of.owner.model,
            "@timestamp": iso(received),
        }
        if slot == NUMBER:
            event["iter"] = number
        elif slot == NULL:
            event["iter"] = None
        return event

    def _worker(self, number: int) -> str:
        name = self._workers.get(number)
        if name is None:
            row = self._db.execute("SELECT name FROM worker WHERE id = ?", (number,)).fetchone()
            name = self._workers[number] = row[0]
        return name


def iso(ms: float) -> str:
    """Epoch milliseconds as ISO 8601 with milliseconds and Z; beyond what a date can hold, the number as text."""
    try:
        return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(ms % 1000):03d}Z"
    except (ValueError, OverflowError, OSError):
        return str(ms)
