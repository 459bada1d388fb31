"""Deletion: owners are hidden at once and freed in short steps; retention hides owners; everything is counted.

A step deletes at most ``STEP`` rows in a transaction of its own, so that a batch never waits long for one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

import msgspec

from otel_events.clearml_server.store import schema
from otel_events.clearml_server.store.model import LOG, SCALAR, TYPES, Limits, Owner, Removed
from otel_events.clearml_server.store.read import marks

STEP = 1_000
"""Rows that one step deletes at most."""
_CLEAR = 5_000
"""Log lines that one step of ``clear_lines`` deletes at most."""
_SCALAR, _LOG = TYPES.index(SCALAR), TYPES.index(LOG)


def hide(db: sqlite3.Connection, owner: Owner, reason: str, keep_summary: bool = False) -> int:
    """Hide the owner's events from all queries; how many they were. The caller has begun a transaction."""
    row = db.execute("SELECT id, last_iter, written, metrics FROM owner WHERE name = ? AND model = ?", owner).fetchone()
    if row is None:
        return 0
    events = int(db.execute("SELECT coalesce(sum(events), 0) FROM series WHERE owner = ?", row[:1]).fetchone()[0])
    db.execute("UPDATE owner SET name = NULL WHERE id = ?", row[:1])
    if keep_summary:
        new = db.execute(
            "INSERT INTO owner(name, model, last_iter, written, series, metrics) VALUES (?, ?, ?, ?, ?, ?)",
            (*owner, row[1], row[2], row[3], row[3]),
        ).lastrowid
        db.execute(
            "INSERT INTO series(owner, type, metric, variant, events, time, received, revision, stats) SELECT"
            " ?, type, metric, variant, 0, time, received, revision, stats FROM series"
            " WHERE owner = ? AND stats NOT NULL",
            (new, row[0]),
        )
    _count(db, reason, events)
    return events


def _count(db: sqlite3.Connection, reason: str, events: int) -> None:
    db.execute(
        "INSERT INTO counter VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET value = value + excluded.value",
        (reason, events),
    )


def retain(db: sqlite3.Connection, limits: Limits, now_ms: int) -> Removed:
    """Hide the owner that was least recently written, if a limit is exceeded. The last owner stays at any size."""
    removed = Removed()
    oldest = db.execute(
        "SELECT name, model, written FROM owner WHERE name IS NOT NULL ORDER BY written, id LIMIT 2"
    ).fetchall()
    if not oldest:
        return removed
    name, model, written = oldest[0]
    reason = None
    if limits.max_age_ms is not None and written < now_ms - limits.max_age_ms:
        reason = "age"
    elif limits.max_bytes is not None and len(oldest) > 1 and _live_bytes(db) > limits.max_bytes:
        reason = "bytes"
    if reason is not None:
        owner = Owner(name, bool(model))
        removed.owners.append(owner)
        removed.events[reason] = hide(db, owner, reason)
        removed.more = True
    return removed


def _live_bytes(db: sqlite3.Connection) -> int:
    """Bytes in use; 0 while something hidden waits to be freed, because nobody knows yet how much that will free."""
    waiting = db.execute("SELECT 1 FROM owner WHERE name IS NULL LIMIT 1").fetchone()
    return 0 if waiting else schema.used_bytes(db)


def collect(db: sqlite3.Connection, budget: int = STEP) -> bool:
    """Delete rows of hidden owners; whether there may be more. The caller has begun a transaction."""
    while budget > 0:
        row = db.execute("SELECT id FROM owner WHERE name IS NULL LIMIT 1").fetchone()
        if row is None:
            return False
        budget -= _lines(db, row[0], budget)
        while budget > 0:
            series = db.execute("SELECT id, type FROM series WHERE owner = ? LIMIT 1", row).fetchone()
            if series is None:
                db.execute("DELETE FROM owner WHERE id = ?", row)
                budget -= 1
                break
            budget -= _rows(db, series[0], series[1], budget)
    return True


def _lines(db: sqlite3.Connection, owner: int, budget: int) -> int:
    text = "DELETE FROM log WHERE id IN (SELECT id FROM log WHERE owner = ? LIMIT ?)"
    return db.execute(text, (owner, budget)).rowcount


def _rows(db: sqlite3.Connection, series: int, kind: int, budget: int) -> int:
    """Delete rows of a series, and the series itself when none is left; how much of the budget that took."""
    spent = 0
    if kind == _SCALAR:
        spent = db.execute(
            "DELETE FROM point WHERE series = :series AND (slot, iter) IN"
            " (SELECT slot, iter FROM point WHERE series = :series ORDER BY slot, iter LIMIT :budget)",
            {"series": series, "budget": budget},
        ).rowcount
    elif kind != _LOG:
        text = "DELETE FROM report WHERE id IN (SELECT id FROM report WHERE series = ? LIMIT ?)"
        spent = db.execute(text, (series, budget)).rowcount
    if spent < budget:
        db.execute("DELETE FROM series WHERE id = ?", (series,))
        spent += 1
    return spent


def clear_lines(
    db: sqlite3.Connection, owner: Owner, before_ms: float | None, include: Collection[str], exclude: Collection[str]
) -> tuple[int, bool]:
    """(lines deleted in this step, whether there may be more)."""
    where, values = "o.name = ? AND o.model = ? AND s.type = ?", [*owner, _LOG]
    for names, of in ((include, "IN"), (exclude, "NOT IN")):
        if names:
            where += f" AND s.metric {of} ({marks(names)})"
            values += names
    text = f"SELECT s.id, s.owner FROM owner o JOIN series s ON s.owner = o.id WHERE {where}"
    series = db.execute(text, values).fetchall()
    if not series:
        return 0, False
    old = "" if before_ms is None else " AND time < :before"
    rows = db.execute(
        "SELECT id, series FROM log WHERE owner = :owner AND series IN (SELECT value FROM json_each(:ids))"
        f"{old} ORDER BY time LIMIT :limit",
        {"owner": series[0][1], "ids": msgspec.json.encode([row[0] for row in series]).decode()}
        | {"before": before_ms, "limit": _CLEAR},
    ).fetchall()
    db.executemany("DELETE FROM log WHERE id = ?", [row[:1] for row in rows])
    db.executemany("UPDATE series SET events = events - 1 WHERE id = ?", [row[1:] for row in rows])
    _count(db, "log_cleared", len(rows))
    return len(rows), len(rows) == _CLEAR
