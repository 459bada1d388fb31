"""The store's file: its tables, its connections, and how SQLite's errors are told.

    owner     whose events; ``name`` NULL: deleted, nobody sees it, its rows go step by step
    series    (owner, type, metric, variant), with exact counts and the statistics of scalars
    point     scalars, clustered by (series, slot, iter): a histogram is one range read
    report    plots, images, vectors, once for each (series, slot, iter, key)
    log       lines, in order of arrival; read by (owner, time)
    document  JSON objects by (kind, id)

Time columns have no type: a timestamp comes back as it came, integer or not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from otel_events.journal.schema import closed_on_error as closed_on_error
from otel_events.model.errors import StoreError

APPLICATION_ID = 0x4F544553
"""``PRAGMA application_id``: OTES in ASCII."""
BUSY_MS = 5_000
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

_BUSY, _LOCKED, _READ_ONLY, _IO_ERROR, _CORRUPT, FULL, _CANT_OPEN, _NOT_A_DATABASE = 5, 6, 8, 10, 11, 13, 14, 26
_NEXT: dict[int, str] = {
    _BUSY: "another process holds it; end that process or wait, then try again",
    _LOCKED: "another process holds it; end that process or wait, then try again",
    _READ_ONLY: "give this user the right to write the file and its folder",
    _IO_ERROR: "look at the disk (dmesg) and whether the file system is still mounted",
    _CORRUPT: "the file is damaged; move it aside: a new one is made",
    FULL: "the disk is full or the store at its size limit; nothing of this batch was kept: delete tasks, free space "
    "or raise the limit, then send it again",
    _CANT_OPEN: "see that the folder exists and that this user may read and write it",
    _NOT_A_DATABASE: "the file is not a store; name another file",
}


@contextmanager
def told(path: Path, doing: str) -> Iterator[None]:
    """Every error of SQLite inside becomes a StoreError that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        step = _NEXT.get((getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF, "if it comes again, report it")
        raise StoreError(f"cannot {doing} {path}: {error}; {step}") from error


def connect(path: Path, mode: Literal["rwc", "ro"], cache_kib: int = _CACHE_KIB) -> sqlite3.Connection:
    """A connection in autocommit: transactions are begun by hand."""
    quoted = path.absolute().as_uri()
    db = sqlite3.connect(f"{quoted}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False)
    with closed_on_error(db):
        db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        db.execute(f"PRAGMA cache_size = -{cache_kib}")
        db.execute("PRAGMA temp_store = MEMORY")
    return db


def prepare(db: sqlite3.Connection, durability: Literal["full", "normal"]) -> None:
    """Settings of the writer's connection; the tables are made or upgraded where need be."""
    db.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {durability.upper()}")
    db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    db.execute("PRAGMA secure_delete = OFF")
    found = int(db.execute("PRAGMA user_version").fetchone()[0])
    if found > VERSION:
        raise StoreError(f"the store was made by a later otel_events (version {found}); upgrade, or name another file")
    if found < VERSION:
        _migrate(db, found)


def _migrate(db: sqlite3.Connection, found: int) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        for step in MIGRATIONS[found:]:
            for statement in step:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("COMMIT")
    except BaseException:
        rollback(db)
        raise


def rollback(db: sqlite3.Connection) -> None:
    """End a failed transaction, if SQLite has not done so itself."""
    if db.in_transaction:
        db.execute("ROLLBACK")


def used_bytes(db: sqlite3.Connection) -> int:
    """Of pages that hold something; freed ones are filled again before the file grows."""
    pages, free, size = (
        int(db.execute(f"PRAGMA {of}").fetchone()[0]) for of in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size
