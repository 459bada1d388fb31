"""The store's file: its tables, its connections, and how SQLite's errors are explained.

    owner     whose events; ``name`` NULL: deleted, nobody sees it, its rows are freed in steps
    series    (owner, type, metric, variant), with exact counts and the statistics of scalars
    point     scalars, clustered by (series, slot, iter): a histogram is one range read
    report    plots, images, vectors, once for each (series, slot, iter, key)
    log       lines, in order of arrival; read by (owner, time)
    document  JSON objects by (kind, id)

Time columns have no type: a timestamp comes back as it came, integer or not. ``series.revision`` is not used.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from otel_events.journal import sqlite
from otel_events.model.errors import StoreError

APPLICATION_ID = 0x4F544553
"""``PRAGMA application_id``: OTES in ASCII."""
_PAGE_SIZE = 8192
_CACHE_KIB = 8192
_CHECKPOINT_PAGES = 512
"""4 MiB of WAL are moved into the file at a time: a commit that does so stays far below 100 ms."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE owner(id INTEGER PRIMARY KEY, name TEXT, model INTEGER NOT NULL, last_iter INTEGER NOT NULL,"
        " written INTEGER, series INTEGER NOT NULL, metrics INTEGER NOT NULL, UNIQUE(name, model))",
        "CREATE INDEX owner_written ON owner(written, id) WHERE name IS NOT NULL",
        "CREATE TABLE series(id INTEGER PRIMARY KEY, owner INTEGER NOT NULL, type INTEGER NOT NULL,"
        " metric TEXT NOT NULL, variant TEXT NOT NULL, events INTEGER NOT NULL, top INTEGER, time NOT NULL,"
        " received INTEGER NOT NULL, revision INTEGER NOT NULL, stats BLOB, UNIQUE(owner, type, metric, variant))",
        "CREATE TABLE worker(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
        "CREATE TABLE point(series INTEGER NOT NULL, slot INTEGER NOT NULL, iter INTEGER NOT NULL, time NOT NULL,"
        " received INTEGER NOT NULL, worker INTEGER NOT NULL, value, extra BLOB,"
        " PRIMARY KEY(series, slot, iter)) WITHOUT ROWID",
        "CREATE TABLE report(id INTEGER PRIMARY KEY, series INTEGER NOT NULL, slot INTEGER NOT NULL,"
        " iter INTEGER NOT NULL, key TEXT NOT NULL, time NOT NULL, received INTEGER NOT NULL, worker INTEGER NOT NULL,"
        " url TEXT NOT NULL, body BLOB NOT NULL, UNIQUE(series, slot, iter, key))",
        "CREATE TABLE log(id INTEGER PRIMARY KEY, owner INTEGER NOT NULL, series INTEGER NOT NULL,"
        " slot INTEGER NOT NULL, iter INTEGER NOT NULL, time NOT NULL, received INTEGER NOT NULL,"
        " worker INTEGER NOT NULL, body BLOB NOT NULL)",
        "CREATE INDEX log_time ON log(owner, time, id)",
        "CREATE INDEX log_iter ON log(owner, iter, id) WHERE slot = 0",
        "CREATE TABLE document(number INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL,"
        " UNIQUE(kind, id))",
        "CREATE TABLE counter(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    ),
)
VERSION = len(MIGRATIONS)

_ADVICE: dict[int, str] = {
    **sqlite.ADVICE,
    sqlite.CORRUPT: "the file is damaged; move it aside: a new one is made",
    sqlite.FULL: "the disk is full or the store at its size limit; nothing of this batch was kept: delete tasks, free "
    "space or raise the limit, then send it again",
    sqlite.NOT_A_DATABASE: "the file is not a store; name another file",
}


@contextmanager
def explained(path: Path, doing: str) -> Iterator[None]:
    """Every error of SQLite inside becomes a StoreError that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        step = _ADVICE.get(sqlite.code(error), "if it comes again, report it")
        raise StoreError(f"cannot {doing} {path}: {error}; {step}") from error


def connect(path: Path, mode: Literal["rwc", "ro"], cache_kib: int = _CACHE_KIB) -> sqlite3.Connection:
    """A connection in autocommit: transactions are begun by hand."""
    db = sqlite.open_file(path, mode)
    with sqlite.closed_on_error(db):
        db.execute(f"PRAGMA busy_timeout = {sqlite.BUSY_MS}")
        db.execute(f"PRAGMA cache_size = -{cache_kib}")
        db.execute("PRAGMA temp_store = MEMORY")
    return db


def prepare(db: sqlite3.Connection, durability: Literal["full", "normal"]) -> None:
    """Set up the writer's connection; create or upgrade the tables where need be.

    Raises:
        StoreError: A later version of this package made the file.
    """
    db.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {durability.upper()}")
    db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    db.execute("PRAGMA secure_delete = OFF")  # otherwise every freed page would be written once more
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise StoreError(
            f"the store was made by a later otel_events (version {version}); upgrade, or name another file"
        )
    sqlite.migrate(db, MIGRATIONS, APPLICATION_ID)


def limit_size(db: sqlite3.Connection, max_bytes: int) -> None:
    """The file grows to ``max_bytes`` and a quarter at most. Retention works towards ``max_bytes``; the quarter is the
    room that it needs to keep up while batches come in."""
    db.execute(f"PRAGMA max_page_count = {max(64, (max_bytes + max_bytes // 4) // sqlite.page_size(db))}")


def used_bytes(db: sqlite3.Connection) -> int:
    """Bytes of pages that hold something; freed ones are filled again before the file grows."""
    return sqlite.used_pages(db) * sqlite.page_size(db)
