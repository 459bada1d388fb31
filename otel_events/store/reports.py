"""Images, plots and vectors: the newest iterations of each series, and which images are still there."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from otel_events.store.model import IMAGE, Bounds, Series
from otel_events.store.read import Events

_LOW, _HIGH = -(2**63), 2**63 - 1
_WITHIN = "series = ? AND slot = 0 AND iter BETWEEN ? AND ?"


def reports(
    db: sqlite3.Connection, series: Sequence[Series], newest: int | None, low: int | None, high: int | None
) -> list[dict[str, Any]]:
    """Events of each series by iteration, newest first; of one iteration in the order of their keys."""
    events = Events(db, series)
    found: list[dict[str, Any]] = []
    for s in series:
        bottom = low
        if newest is not None:
            kept = iterations(db, [s], newest, low, high, up=False)
            if not kept:
                continue
            bottom = kept[-1]
        rows = db.execute(
            "SELECT series, slot, iter, time, received, worker, body FROM report"
            f" WHERE {_WITHIN} ORDER BY iter DESC, key",
            (s.id, *_range(bottom, high)),
        )
        found += [events.report(row) for row in rows]
    return found


def iterations(
    db: sqlite3.Connection, series: Sequence[Series], newest: int, low: int | None, high: int | None, up: bool
) -> list[int]:
    way = "ASC" if up else "DESC"
    found: set[int] = set()
    for s in series:
        rows = db.execute(
            f"SELECT DISTINCT iter FROM report WHERE {_WITHIN} ORDER BY iter {way} LIMIT ?",
            (s.id, *_range(low, high), newest),
        )
        found.update(row[0] for row in rows)
    return sorted(found, reverse=not up)[:newest]


def span(db: sqlite3.Connection, series: Series) -> Bounds:
    if series.type == IMAGE:
        text = (
            "SELECT count(*), min(newest), max(newest) FROM"
            " (SELECT max(iter) newest FROM report WHERE series = ? AND slot = 0 GROUP BY url)"
        )
    else:
        text = "SELECT count(*), min(iter), max(iter) FROM report WHERE series = ? AND slot = 0"
    return Bounds(*db.execute(text, (series.id,)).fetchone())


def overwritten(db: sqlite3.Connection, series: Series) -> int | None:
    row = db.execute(
        "SELECT DISTINCT iter FROM report WHERE series = ?1 AND slot = 0 AND url ="
        " (SELECT url FROM report WHERE series = ?1 AND slot = 0 ORDER BY iter DESC, url DESC LIMIT 1)"
        " ORDER BY iter DESC LIMIT 1 OFFSET 1",
        (series.id,),
    ).fetchone()
    return None if row is None else row[0]


def _range(low: int | None, high: int | None) -> tuple[int, int]:
    return (_LOW if low is None else max(_LOW, low), _HIGH if high is None else min(_HIGH, high))
