"""Scalar series: bounds, histograms, and the points of one iteration."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from otel_events.clearml_server.store.model import SINGLE_VALUE, Axis, Bounds, Series
from otel_events.clearml_server.store.read import Events

_WIDEST = 1 << 61
"""The greatest width of buckets; with it the keys of any 64-bit iteration stay 64-bit numbers."""
_FLOAT32 = "ifnull((p.value * 536870913.0) - ((p.value * 536870913.0) - p.value), p.value)"
"""The value rounded to the 24 bits of a 32-bit float, as ClearML's index has it: Veltkamp's splitting with 2^29 + 1.
Where the product is beyond a double, the difference is null, and the value stays as it is."""
_SERIES = "p.series = :series AND p.slot = 0"
_POINTS = f"{_SERIES} AND p.iter <> {SINGLE_VALUE}"
_MOD = "((({0} % :width) + :width) % :width)"
"""The remainder of a floor division; SQL's own % takes the sign of the dividend."""
_KEY = f"({{0}} - {_MOD})"
_FIRST = f"CASE WHEN p.iter > 0 OR p.iter + {2**63 - 1} >= {_MOD} - 1 THEN {_KEY} ELSE {1 - 2**63} - 1 END".format(
    "p.iter"
)
"""The key of an iteration's bucket; that of the lowest ones would be below 64 bits, where integers become floats."""

_WALK = f"""
WITH RECURSIVE walk(k) AS (
  SELECT * FROM (SELECT {_FIRST} FROM point p WHERE {{points}} ORDER BY p.iter LIMIT 1)
  UNION ALL
  SELECT (
    SELECT {_FIRST} FROM point p WHERE {_SERIES} AND p.iter >= walk.k + :width {{skip}}
    ORDER BY p.iter LIMIT 1
  )
  FROM walk WHERE walk.k IS NOT NULL
)
SELECT k, (SELECT avg({_FLOAT32}) FROM point p WHERE {_SERIES} AND p.iter >= {{low}} AND p.iter < k + :width {{skip}})
FROM walk WHERE k IS NOT NULL
"""
"""Goes from bucket to bucket along the clustered key: it sorts nothing and steps over empty buckets."""
_ABOVE = _WALK.format(points=f"{_SERIES} AND p.iter > {SINGLE_VALUE}", skip="", low=f"max(k, {SINGLE_VALUE} + 1)")
_AROUND = _WALK.format(points=_POINTS, skip=f"AND p.iter <> {SINGLE_VALUE}", low="k")
"""For a series that has points on both sides of SINGLE_VALUE; its extra condition makes a query twice as slow."""
_BY_TIME = (
    f"SELECT {_KEY.format('CAST(p.time AS INTEGER)')} k, avg({_FLOAT32}) FROM point p"
    f" WHERE p.series = :series AND NOT (p.slot = 0 AND p.iter = {SINGLE_VALUE}) GROUP BY k ORDER BY k"
)
_EACH = "FROM json_each(?) j CROSS JOIN point p ON p.series = j.value AND p.slot = 0 AND p.iter ="
_COLUMNS = "p.series, p.slot, p.iter, p.time, p.received, p.worker, p.value, p.extra"


def float32(value: float) -> float:
    """The value as a 32-bit float has it; a value beyond its range stays as it is.

    >>> float32(0.1)
    0.10000000149011612
    """
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return float(value)
    return rounded


def bounds(db: sqlite3.Connection, series: Series, axis: Axis) -> Bounds:
    """See ``protocol.Events.bounds``. By iteration it takes three look-ups, however many points there are."""
    if axis == "timestamp":
        row = db.execute(
            "SELECT count(*), min(time), max(time) FROM point"
            f" WHERE series = ? AND NOT (slot = 0 AND iter = {SINGLE_VALUE})",
            (series.id,),
        ).fetchone()
        return Bounds(*row)
    ends = f"SELECT p.iter FROM point p WHERE {_POINTS} ORDER BY p.iter"
    low, high = (db.execute(f"{ends} {way} LIMIT 1", {"series": series.id}).fetchone() for way in ("ASC", "DESC"))
    if low is None:
        return Bounds(0, None, None)
    others = db.execute(
        "SELECT (SELECT count(*) FROM point WHERE series = :series AND slot > 0)"
        f" + (SELECT count(*) FROM point WHERE series = :series AND slot = 0 AND iter = {SINGLE_VALUE})",
        {"series": series.id},
    ).fetchone()[0]
    return Bounds(series.events - others, low[0], high[0])


def histogram(
    db: sqlite3.Connection, series: Series, axis: Axis, interval: int
) -> tuple[list[int], list[float | None]]:
    """See ``protocol.Events.histogram``."""
    if axis == "iter" and interval == 1:
        rows = db.execute(
            f"SELECT p.iter, p.value FROM point p WHERE {_POINTS} ORDER BY p.iter",
            {"series": series.id},
        ).fetchall()
        return [row[0] for row in rows], [None if row[1] is None else float32(row[1]) for row in rows]
    text = _BY_TIME
    if axis == "iter":
        below = f"SELECT 1 FROM point WHERE series = ? AND slot = 0 AND iter < {SINGLE_VALUE} LIMIT 1"
        text = _AROUND if db.execute(below, (series.id,)).fetchone() else _ABOVE
    rows = db.execute(text, {"series": series.id, "width": min(interval, _WIDEST)}).fetchall()
    return [int(row[0]) for row in rows], [row[1] for row in rows]


def points(db: sqlite3.Connection, series: Sequence[Series], iteration: int | None) -> list[dict[str, Any] | None]:
    """The event of each series at that iteration; None for the greatest one that has a value."""
    newest = (
        "(SELECT q.iter FROM point q WHERE q.series = j.value AND q.slot = 0"
        f" AND q.iter <> {SINGLE_VALUE} AND q.value IS NOT NULL ORDER BY q.iter DESC LIMIT 1)"
    )
    ids = msgspec.json.encode([s.id for s in series]).decode()
    place = newest if iteration is None else str(int(iteration))
    rows = db.execute(f"SELECT {_COLUMNS} {_EACH} {place}", (ids,)).fetchall()
    events = Events(db, series)
    by_series = {row[0]: events.point(row) for row in rows}
    return [by_series.get(s.id) for s in series]
