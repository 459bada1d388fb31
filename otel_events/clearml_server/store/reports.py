"""Images, plots and vectors: the newest iterations of each series, and which images can still be seen."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from otel_events.clearml_server.store.model import IMAGE, Bounds, Series
from otel_events.clearml_server.store.read import Events

_LOW, _HIGH = -(2**63), 2**63 - 1
_SELECT = "SELECT series, slot, iter, time, received, worker, body FROM report"


def _shown(series: Series) -> str:
    """The condition for rows of a series that have an iteration; an image without a URL is nothing to show."""
    return "series = :series AND slot = 0" + (" AND url <> ''" if series.type == IMAGE else "")


def reports(
    db: sqlite3.Connection, series: Sequence[Series], newest: int | None, low: int | None, high: int | None
) -> list[dict[str, Any]]:
    """Events of each series by iteration, newest first; of one iteration in the order of their keys."""
    rows_to_events = Events(db, series)
    events: list[dict[str, Any]] = []
    for s in series:
        bottom = low
        if newest is not None:
            greatest = iterations(db, [s], newest, low, high, up=False)
            if not greatest:
                continue
            bottom = greatest[-1]
        within = f"{_shown(s)} AND iter BETWEEN :low AND :high"
        rows = db.execute(f"{_SELECT} WHERE {within} ORDER BY iter DESC, key", _values(s, bottom, high))
        events += [rows_to_events.report(row) for row in rows]
    return events


def iterations(
    db: sqlite3.Connection, series: Sequence[Series], newest: int, low: int | None, high: int | None, up: bool
) -> list[int]:
    """See ``protocol.Events.iterations``."""
    way = "ASC" if up else "DESC"
    merged: set[int] = set()
    for s in series:
        within = f"{_shown(s)} AND iter BETWEEN :low AND :high"
        rows = db.execute(
            f"SELECT DISTINCT iter FROM report WHERE {within} ORDER BY iter {way} LIMIT :newest",
            _values(s, low, high) | {"newest": newest},
        )
        merged.update(row[0] for row in rows)
    return sorted(merged, reverse=not up)[:newest]


def bounds(db: sqlite3.Connection, series: Series) -> Bounds:
    """See ``protocol.Events.bounds``."""
    shown = _shown(series)
    if series.type == IMAGE:
        newest = f"SELECT max(iter) newest FROM report WHERE {shown} GROUP BY url"
        text = f"SELECT count(*), min(newest), max(newest) FROM ({newest})"
    else:
        text = f"SELECT count(*), min(iter), max(iter) FROM report WHERE {shown}"
    return Bounds(*db.execute(text, {"series": series.id}).fetchone())


def overwritten(db: sqlite3.Connection, series: Series) -> int | None:
    """See ``protocol.Events.overwritten``."""
    shown = _shown(series)
    newest = f"SELECT url FROM report WHERE {shown} ORDER BY iter DESC, url DESC LIMIT 1"
    row = db.execute(
        f"SELECT DISTINCT iter FROM report WHERE {shown} AND url = ({newest}) ORDER BY iter DESC LIMIT 1 OFFSET 1",
        {"series": series.id},
    ).fetchone()
    return None if row is None else row[0]


def _values(series: Series, low: int | None, high: int | None) -> dict[str, int]:
    """Values for the names in the statements above: the series, and a range of iterations within 64 bits."""
    bottom, top = _LOW if low is None else max(_LOW, low), _HIGH if high is None else min(_HIGH, high)
    return {"series": series.id, "low": bottom, "high": top}
