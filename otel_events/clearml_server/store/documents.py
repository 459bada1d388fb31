"""JSON objects by (kind, id): tasks, projects, models, users. In the same file as their events."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from otel_events.clearml_server.store.database import Database


class SqliteDocuments:
    """``protocol.Documents`` in one SQLite file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, kind: str, key: str, document: Mapping[str, Any]) -> None:
        with self._database.transaction() as db:
            _put(db, kind, key, document)

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        with self._database.reading() as db:
            return _get(db, kind, key)

    def find(
        self, kind: str, *, ids: Collection[str] | None = None, where: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        text, values = "SELECT body FROM document WHERE kind = ?", [kind]
        if ids is not None:
            text += " AND id IN (SELECT value FROM json_each(?))"
            values.append(msgspec.json.encode(list(ids)).decode())
        for name, value in (where or {}).items():
            text += " AND json_extract(body, ?) IS ?"
            values += [f'$."{name}"', value]
        with self._database.reading() as db:
            return [msgspec.json.decode(row[0]) for row in db.execute(text + " ORDER BY number", values)]

    def change(
        self, kind: str, key: str, update: Callable[[dict[str, Any]], dict[str, Any] | None]
    ) -> dict[str, Any] | None:
        with self._database.transaction() as db:
            document = _get(db, kind, key)
            changed = None if document is None else update(document)
            if changed is not None:
                _put(db, kind, key, changed)
            return changed

    def remove(self, kind: str, key: str) -> bool:
        with self._database.transaction() as db:
            return db.execute("DELETE FROM document WHERE kind = ? AND id = ?", (kind, key)).rowcount > 0


def _put(db: sqlite3.Connection, kind: str, key: str, document: Mapping[str, Any]) -> None:
    db.execute(
        "INSERT INTO document(kind, id, body) VALUES (?, ?, ?)"
        " ON CONFLICT(kind, id) DO UPDATE SET body = excluded.body",
        (kind, key, msgspec.json.encode(document).decode()),
    )


def _get(db: sqlite3.Connection, kind: str, key: str) -> dict[str, Any] | None:
    row = db.execute("SELECT body FROM document WHERE kind = ? AND id = ?", (kind, key)).fetchone()
    return None if row is None else msgspec.json.decode(row[0])
