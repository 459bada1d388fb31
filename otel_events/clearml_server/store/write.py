"""Rows into the file: one transaction for a batch, which writes the counts and statistics of each series once."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from operator import attrgetter

import msgspec

from otel_events.clearml_server.store.model import (
    IGNORED_ITERATIONS,
    LOG,
    MAX_SERIES,
    MAX_UNIQUE_METRICS,
    SCALAR,
    TYPES,
    Stats,
)
from otel_events.clearml_server.store.normal import NUMBER, Row, SeriesKey

_SCALAR, _LOG = TYPES.index(SCALAR), TYPES.index(LOG)
_CACHED = 100_000
"""Series whose state the writer remembers; when there are more, it forgets all of them and reads them again."""
_NEWEST = attrgetter("iter", "time")
_STATS = msgspec.msgpack.Decoder(Stats)

_POINT = "INSERT OR REPLACE INTO point VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_REPORT = (
    "INSERT INTO report(series, slot, iter, key, time, received, worker, url, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT(series, slot, iter, key) DO UPDATE SET time = excluded.time, received = excluded.received,"
    " worker = excluded.worker, url = excluded.url, body = excluded.body"
)
_LINE = "INSERT INTO log(owner, series, slot, iter, time, received, worker, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_HAS_POINT = "SELECT 1 FROM point WHERE series = ? AND slot = ? AND iter = ?"
_HAS_REPORT = "SELECT 1 FROM report WHERE series = ? AND slot = ? AND iter = ? AND key = ?"


class _Owner(msgspec.Struct):
    id: int
    last_iter: int
    series: int
    metrics: int


class _Series(msgspec.Struct):
    id: int
    owner: _Owner
    events: int
    top: int | None
    time: float
    stats: Stats | None


class Writer:
    """Adds batches, each inside a transaction that the caller has begun. Not for several threads at once.

    It remembers series, owners and workers between batches, so that a batch reads little of the file.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._owners: dict[tuple[str, bool], _Owner] = {}
        self._series: dict[SeriesKey, _Series] = {}
        self._workers: dict[str, int] = {}

    def forget(self) -> None:
        """Forget the remembered state: after a rollback or a deletion the file may hold something else."""
        self._owners.clear()
        self._series.clear()
        self._workers.clear()

    def write(self, taken: Mapping[SeriesKey, list[Row]], now_ms: int) -> tuple[int, Counter[str]]:
        """Write rows by series; how many events were written, and the reasons of those refused."""
        if len(self._series) > _CACHED:
            self.forget()
        added, refused = 0, Counter[str]()
        touched: list[_Series] = []
        points: list[tuple[object, ...]] = []
        for key, rows in taken.items():
            series = self._series.get(key) or self._open(key, now_ms)
            if series is None:
                refused[f"more than {MAX_SERIES} series of one task"] += len(rows)
                continue
            self._put(key, series, rows, now_ms, points)
            touched.append(series)
            added += len(rows)
        self._db.executemany(_POINT, points)
        self._save(touched, now_ms)
        return added, refused

    def _put(
        self, key: SeriesKey, series: _Series, rows: list[Row], now_ms: int, points: list[tuple[object, ...]]
    ) -> None:
        kind = key[2]
        workers = {row.worker for row in rows}
        worker = {name: self._workers.get(name) or self._worker(name) for name in workers}
        if kind == _SCALAR:
            series.events += self._new_points(series, rows)
            points += [(series.id, r.slot, r.iter, r.time, now_ms, worker[r.worker], r.value, r.body) for r in rows]
            self._describe(series, rows)
        elif kind == _LOG:
            series.events += len(rows)
            lines = [
                (series.owner.id, series.id, r.slot, r.iter, r.time, now_ms, worker[r.worker], r.body) for r in rows
            ]
            self._db.executemany(_LINE, lines)
        else:
            series.events += self._new_reports(series, rows)
            self._db.executemany(
                _REPORT,
                [(series.id, r.slot, r.iter, r.key, r.time, now_ms, worker[r.worker], r.url, r.body) for r in rows],
            )
        series.time = max(series.time, max(row.time for row in rows))
        numbers = [row.iter for row in rows if row.slot == NUMBER]
        if numbers:
            top = max(numbers)
            series.top = top if series.top is None else max(series.top, top)
            if key[3] not in IGNORED_ITERATIONS:
                series.owner.last_iter = max(series.owner.last_iter, top)

    def _new_points(self, series: _Series, rows: list[Row]) -> int:
        """How many of the rows replace no other. While iterations grow, that needs no look into the table."""
        keys = {(row.slot, row.iter) for row in rows}
        if series.events == 0:
            return len(keys)
        top = series.top
        look = [key for key in keys if key[0] != NUMBER or top is None or key[1] <= top]
        execute = self._db.execute
        return len(keys) - sum(execute(_HAS_POINT, (series.id, *key)).fetchone() is not None for key in look)

    def _new_reports(self, series: _Series, rows: list[Row]) -> int:
        keys = {(row.slot, row.iter, row.key) for row in rows}
        execute = self._db.execute
        return sum(execute(_HAS_REPORT, (series.id, *key)).fetchone() is None for key in keys)

    def _describe(self, series: _Series, rows: list[Row]) -> None:
        valued = [row for row in rows if row.value is not None]
        if not valued:
            return
        if series.stats is None:
            if series.owner.metrics >= MAX_UNIQUE_METRICS:
                return
            series.owner.metrics += 1
        series.stats = described(series.stats, valued)

    def _worker(self, name: str) -> int:
        self._db.execute("INSERT OR IGNORE INTO worker(name) VALUES (?)", (name,))
        number = int(self._db.execute("SELECT id FROM worker WHERE name = ?", (name,)).fetchone()[0])
        self._workers[name] = number
        return number

    def _open(self, key: SeriesKey, now_ms: int) -> _Series | None:
        """The series as the file has it, created where it is new; None where its owner has too many."""
        owner = self._owners.get(key[:2]) or self._open_owner(key[0], key[1], now_ms)
        of = (owner.id, *key[2:])
        where = "WHERE owner = ? AND type = ? AND metric = ? AND variant = ?"
        row = self._db.execute(f"SELECT id, events, top, time, stats FROM series {where}", of).fetchone()
        if row is None:
            if owner.series >= MAX_SERIES:
                return None
            owner.series += 1
            series_id = self._db.execute(
                "INSERT INTO series(owner, type, metric, variant, events, time, received, revision)"
                " VALUES (?, ?, ?, ?, 0, 0, 0, 0)",
                of,
            ).lastrowid
            row = (series_id, 0, None, 0, None)
        series = _Series(row[0], owner, row[1], row[2], row[3], None if row[4] is None else _STATS.decode(row[4]))
        self._series[key] = series
        return series

    def _open_owner(self, name: str, model: bool, now_ms: int) -> _Owner:
        self._db.execute(
            "INSERT OR IGNORE INTO owner(name, model, last_iter, written, series, metrics) VALUES (?, ?, 0, ?, 0, 0)",
            (name, model, now_ms),
        )
        row = self._db.execute(
            "SELECT id, last_iter, series, metrics FROM owner WHERE name = ? AND model = ?", (name, model)
        ).fetchone()
        owner = self._owners[name, model] = _Owner(*row)
        return owner

    def _save(self, touched: list[_Series], now_ms: int) -> None:
        encode = msgspec.msgpack.encode
        self._db.executemany(
            "UPDATE series SET events = ?, top = ?, time = ?, received = ?, stats = ? WHERE id = ?",
            [(s.events, s.top, s.time, now_ms, s.stats and encode(s.stats), s.id) for s in touched],
        )
        owners = {s.owner.id: s.owner for s in touched}.values()
        self._db.executemany(
            "UPDATE owner SET last_iter = ?, written = ?, series = ?, metrics = ? WHERE id = ?",
            [(o.last_iter, now_ms, o.series, o.metrics, o.id) for o in owners],
        )


def described(stats: Stats | None, rows: list[Row]) -> Stats:
    """The statistics of a series after these scalars, all with a value.

    The newest value is that of the greatest iteration: of one batch the latest by time, of two batches the later one.
    """
    newest = rows[0]
    for row in rows:
        if _NEWEST(row) >= _NEWEST(newest):
            newest = row
    low, high, first = min(rows, key=_value), max(rows, key=_value), min(rows, key=_iter)
    values: list[float] = [row.value or 0 for row in rows]
    if stats is None:
        now = Stats(
            _value(newest), newest.iter, _value(low), low.iter, _value(high), high.iter, _value(first), first.iter, 0, 0
        )
    else:
        now = stats
        if newest.iter >= now.value_iter:
            now.value, now.value_iter = _value(newest), newest.iter
        if _value(low) < now.min:
            now.min, now.min_iter = _value(low), low.iter
        if _value(high) > now.max:
            now.max, now.max_iter = _value(high), high.iter
        if first.iter < now.first_iter:
            now.first, now.first_iter = _value(first), first.iter
    now.count += len(values)
    now.total += sum(values)
    now.label = next((row.label for row in reversed(rows) if row.label is not None), now.label)
    return now


def _value(row: Row) -> float:
    return row.value or 0


_iter = attrgetter("iter")
