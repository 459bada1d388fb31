"""Events in pages: by iteration or time over many series, and log lines by time."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from otel_events.clearml_server.store.model import LOG, SCALAR, Axis, Page, Position, Series
from otel_events.clearml_server.store.read import Events

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
_BEFORE_ALL = (_LOWEST, 0)
"""A line's place before every line."""
_POINTS = (
    "SELECT {p} FROM json_each(:points) j CROSS JOIN point t ON t.series = j.value AND t.slot {slot}",
    "t.series, t.slot, t.iter, t.time, t.received, t.worker, t.value, t.extra, 0",
)
_REPORTS = (
    "SELECT {p} FROM json_each(:reports) j CROSS JOIN report t ON t.series = j.value AND t.slot {slot}",
    "t.series, t.slot, t.iter, t.time, t.received, t.worker, NULL, t.body, 1",
)
_LINES = (
    "SELECT {p} FROM (SELECT DISTINCT owner FROM series WHERE id IN (SELECT value FROM json_each(:logs))) o"
    " CROSS JOIN log t ON t.owner = o.owner AND t.series IN (SELECT value FROM json_each(:logs)) AND t.slot {slot}",
    "t.series, t.slot, t.iter, t.time, t.received, t.worker, NULL, t.body, 1",
)


class _Query:
    """One query for a page: which series, on which axis, in which direction.

    Points, reports and log lines lie in three tables. Each table that has series of the query is a part of a UNION.
    """

    def __init__(self, db: sqlite3.Connection, series: Sequence[Series], axis: Axis, descending: bool) -> None:
        self._db = db
        self._series = series
        self._place = {s.id: n for n, s in enumerate(series)}
        self._key = "t.iter" if axis == "iter" else "t.time"
        self._slot = "= 0" if axis == "iter" else ">= 0"
        self._down = descending
        groups: dict[str, list[int]] = {"points": [], "reports": [], "logs": []}
        for s in series:
            groups["points" if s.type == SCALAR else "logs" if s.type == LOG else "reports"].append(s.id)
        self._parts = [
            part for name, part in (("points", _POINTS), ("reports", _REPORTS), ("logs", _LINES)) if groups[name]
        ]
        self._values = {name: msgspec.json.encode(ids).decode() for name, ids in groups.items() if ids}

    def numbered(self, after: float | int | None, limit: int) -> list[Any]:
        """Rows beyond ``after``, at least ``limit`` of them if there are so many, the last key with all its rows.

        A range of keys that should hold that many is guessed and read; where it holds fewer, it is made wider. So no
        statement sorts more rows than a few pages have.
        """
        near = self._edge(after)
        if near is None:
            return []
        width = self._guess(near, limit)
        while True:
            far = max(_LOWEST, near - width) if self._down else min(_HIGHEST, near + width)
            last = self._nth(near, far, limit)
            if last is not None:
                return self._rows(near, last)
            if self._edge(far) is None:
                return self._rows(near, far)
            width *= 4

    def without_iteration(self) -> list[Any]:
        """Rows of points and reports whose iteration is absent or null."""
        parts = [part for part in self._parts if part is not _LINES]
        return self._ordered(self._union(parts, slot="> 0")) if parts else []

    def lines_without_iteration(self, after: tuple[float | int, int], limit: int) -> list[Any]:
        """Log lines without an iteration, by (time, arrival); each row ends with its id."""
        if _LINES not in self._parts:
            return []
        text = _LINES[0].format(p=_LINES[1] + ", t.id", slot="> 0")
        return self._db.execute(
            f"{text} AND (t.time, t.id) > (:time, :id) ORDER BY t.time, t.id LIMIT :limit",
            self._values | {"time": after[0], "id": after[1], "limit": limit},
        ).fetchall()

    def _edge(self, after: float | int | None) -> float | int | None:
        """The first key beyond ``after``, by one look-up for each series."""
        beyond = "" if after is None else f"AND {self._key} {'<' if self._down else '>'} :after"
        best = f"{'max' if self._down else 'min'}({self._key})"
        text = " UNION ALL ".join(self._look(part, best, beyond) for part in self._parts)
        pick = "max" if self._down else "min"
        row = self._db.execute(f"SELECT {pick}(k) FROM ({text})", self._values | {"after": after}).fetchone()
        key: float | int | None = row[0]
        return key

    def _look(self, part: tuple[str, str], best: str, beyond: str) -> str:
        if part is _LINES or self._key == "t.time":
            return f"{part[0].format(p=best + ' k', slot=self._slot)} {beyond}"
        table, ids = ("point", ":points") if part is _POINTS else ("report", ":reports")
        inner = f"SELECT {best} FROM {table} t WHERE t.series = j.value AND t.slot = 0 {beyond}"
        return f"SELECT ({inner}) k FROM json_each({ids}) j"

    def _guess(self, near: float | int, limit: int) -> int:
        """How wide a range should be to hold ``limit`` events if they lie evenly. By time it is everything: there is no
        index that could use a narrower range."""
        if self._key == "t.time":
            return 1 << 63
        end = 0 if self._down else max((s.top for s in self._series if s.top is not None), default=0)
        total = sum(s.events for s in self._series)
        return max(1, limit * (abs(int(near) - end) + 1) // max(total, 1))

    def _range(self, near: float | int, far: float | int) -> dict[str, Any]:
        low, high = (far, near) if self._down else (near, far)
        return self._values | {"low": low, "high": high}

    def _nth(self, near: float | int, far: float | int, limit: int) -> float | int | None:
        way = "DESC" if self._down else "ASC"
        row = self._db.execute(
            f"SELECT k FROM ({self._union(self._parts, self._key + ' k', within=True)}) ORDER BY k {way}"
            " LIMIT 1 OFFSET :skip",
            self._range(near, far) | {"skip": max(limit, 1) - 1},
        ).fetchone()
        return None if row is None else row[0]

    def _rows(self, near: float | int, last: float | int) -> list[Any]:
        return self._ordered(self._union(self._parts, within=True), self._range(near, last))

    def _ordered(self, text: str, values: dict[str, Any] | None = None) -> list[Any]:
        rows = self._db.execute(text, self._values if values is None else values).fetchall()
        column, sign = (2 if self._key == "t.iter" else 3), (-1 if self._down else 1)
        rows.sort(key=lambda row: (sign * row[column], self._place[row[0]]))
        return rows

    def _union(
        self, parts: Sequence[tuple[str, str]], columns: str | None = None, within: bool = False, slot: str = ""
    ) -> str:
        where = f" AND {self._key} BETWEEN :low AND :high" if within else ""
        return " UNION ALL ".join(text.format(p=columns or own, slot=slot or self._slot) + where for text, own in parts)


def page(
    db: sqlite3.Connection,
    series: Sequence[Series],
    axis: Axis,
    descending: bool,
    after: Position | None,
    limit: int,
    numbered_only: bool,
) -> Page:
    """See ``protocol.Events.page``."""
    total = sum(s.events for s in series)
    if not series or limit <= 0:
        return Page([], total, after)
    query, events = _Query(db, series, axis, descending), Events(db, series)
    rows: list[Any] = []
    end = after
    if after is None or after.at is not None:
        rows = query.numbered(None if after is None else after.at, limit)
        if rows:
            end = Position(rows[-1][2 if axis == "iter" else 3])
    if axis == "iter" and not numbered_only and len(rows) < limit:
        line = after.line if after else None
        if line is None:
            others = query.without_iteration()
            rows += others
            end = Position(None, _BEFORE_ALL) if others else end
        lines = query.lines_without_iteration(line or _BEFORE_ALL, max(1, limit - len(rows)))
        rows += lines
        end = Position(None, (lines[-1][3], lines[-1][-1])) if lines else end
    return Page([events.report(_report(row)) if row[8] else events.point(row) for row in rows], total, end)


def _report(row: Sequence[Any]) -> tuple[Any, ...]:
    return (*row[:6], row[7])


def log(
    db: sqlite3.Connection,
    series: Sequence[Series],
    descending: bool,
    after: tuple[float, int] | None,
    limit: int,
    complete: bool,
) -> tuple[Page, tuple[float, int] | None]:
    """See ``protocol.Events.log``; all series are log series of one owner."""
    total = sum(s.events for s in series)
    if not series or limit <= 0:
        return Page([], total, None), after
    ids = msgspec.json.encode([s.id for s in series]).decode()
    owner = db.execute("SELECT owner FROM series WHERE id = ?", (series[0].id,)).fetchone()
    if owner is None:  # deleted since
        return Page([], 0, None), after
    way, beyond = ("DESC", "<") if descending else ("ASC", ">")
    text = (
        "SELECT series, slot, iter, time, received, worker, body, id FROM log WHERE owner = :owner"
        " AND series IN (SELECT value FROM json_each(:ids)) AND {0}" + f" ORDER BY time {way}, id {way} LIMIT :limit"
    )
    values: dict[str, Any] = {"owner": owner[0], "ids": ids, "limit": limit}
    if after is not None:
        values |= {"time": after[0], "id": after[1]}
    rows = db.execute(text.format("1" if after is None else f"(time, id) {beyond} (:time, :id)"), values).fetchall()
    if rows and complete:
        values |= {"time": rows[-1][3], "id": rows[-1][-1], "limit": -1}
        rows += db.execute(text.format(f"time = :time AND id {beyond} :id"), values).fetchall()
    events = Events(db, series)
    end = (rows[-1][3], rows[-1][-1]) if rows else after
    return Page([events.report(row) for row in rows], total, None), end
