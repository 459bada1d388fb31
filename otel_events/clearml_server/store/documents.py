"""JSON objects by (kind, id): tasks, projects, models, users. In the same file as their events."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from typing import Any

import msgspec


def put(db: sqlite3.Connection, kind: str, key: str, document: Mapping[str, Any]) -> None:
    db.execute(
        "INSERT INTO document(kind, id, body) VALUES (?, ?, ?)"
        " ON CONFLICT(kind, id) DO UPDATE SET body = excluded.body",
        (kind, key, msgspec.json.encode(document).decode()),
    )


def get(db: sqlite3.Connection, kind: str, key: str) -> dict[str, Any] | None:
    row = db.execute("SELECT body FROM document WHERE kind = ? AND id = ?", (kind, key)).fetchone()
    return None if row is None else msgspec.json.decode(row[0])


def remove(db: sqlite3.Connection, kind: str, key: str) -> bool:
    return db.execute("DELETE FROM document WHERE kind = ? AND id = ?", (kind, key)).rowcount > 0


def find(
    db: sqlite3.Connection, kind: str, ids: Collection[str] | None, where: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    text, values = "SELECT body FROM document WHERE kind = ?", [kind]
    if ids is not None:
        text += " AND id IN (SELECT value FROM json_each(?))"
        values.append(msgspec.json.encode(list(ids)).decode())
    for name, value in (where or {}).items():
        text += " AND json_extract(body, ?) IS ?"
        values += [f'$."{name}"', value]
    return [msgspec.json.decode(row[0]) for row in db.execute(text + " ORDER BY number", values)]
