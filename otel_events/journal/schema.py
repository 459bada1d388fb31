"""The file of the journal: its tables, their upgrades, and the messages for SQLite's errors.

One row of ``chunk`` is what one commit added to one root; its id is ``seq << 20 | place in the commit``, so the order
of ids is the order of commits. ``root.id`` numbers roots as they come: the index of chunks is dense where it grows. A
root whose ``key`` is NULL is being dropped: nobody sees it, its chunks go step by step.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from otel_events.journal import sqlite
from otel_events.journal.sqlite import BUSY as BUSY
from otel_events.journal.sqlite import BUSY_MS as BUSY_MS
from otel_events.journal.sqlite import CANT_OPEN as CANT_OPEN
from otel_events.journal.sqlite import CORRUPT as CORRUPT
from otel_events.journal.sqlite import FULL as FULL
from otel_events.journal.sqlite import IO_ERROR as IO_ERROR
from otel_events.journal.sqlite import LOCKED as LOCKED
from otel_events.journal.sqlite import NO_MEMORY as NO_MEMORY
from otel_events.journal.sqlite import NOT_A_DATABASE as NOT_A_DATABASE
from otel_events.journal.sqlite import READ_ONLY as READ_ONLY
from otel_events.journal.sqlite import closed_on_error as closed_on_error
from otel_events.journal.sqlite import code as code
from otel_events.journal.sqlite import page_size as page_size
from otel_events.journal.sqlite import rollback as rollback
from otel_events.journal.sqlite import used_pages as used_pages
from otel_events.model.errors import JournalError

Durability = Literal["full", "normal", "off"]

APPLICATION_ID = 0x4F54454A
"""``PRAGMA application_id``: OTEJ in ASCII; distinguishes our files from other SQLite files."""
PLACE_BITS = 20
"""Roots that one commit can hold: 2 to this."""
PAGE_SIZE = 8192
"""Measured best with 16 KiB for chunks of 1 to 4 KB; 4 KiB pages hold one such chunk and waste the rest."""
_CACHE_KIB = 8192


def _typed(**columns: str) -> str:
    """Columns of one type each. The check at open enforces the types, so that a damaged row is detected there."""
    return ", ".join(f"{name} {of.upper()} NOT NULL CHECK(typeof({name}) = '{of}')" for name, of in columns.items())


_TIMES = _typed(first_time="integer", last_time="integer", last="integer", events="integer", written="integer")
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        f"CREATE TABLE chunk(id INTEGER PRIMARY KEY, {_typed(root='integer', body='blob')},"
        " records BLOB CHECK(typeof(records) IN ('blob', 'null')))",
        "CREATE INDEX chunk_root ON chunk(root, id)",
        "CREATE TABLE root(id INTEGER PRIMARY KEY, key BLOB UNIQUE CHECK(typeof(key) IN ('blob', 'null')),"
        f" {_typed(source='text', namespace='text', root='text')}, {_TIMES}, {_typed(open='integer')})",
        "CREATE INDEX root_name ON root(root)",
        "CREATE INDEX root_open ON root(key) WHERE open = 1",
        "CREATE INDEX root_done ON root(last) WHERE open = 0",
        f"CREATE TABLE batch(seq INTEGER PRIMARY KEY, {_typed(time='integer')})",
        f"CREATE TABLE dead(id INTEGER PRIMARY KEY, {_typed(time='integer', source='text', place='text')},"
        f" {_typed(reason='text', length='integer', record='blob')})",
        f"CREATE TABLE meta(name TEXT PRIMARY KEY, {_typed(value='blob')}) WITHOUT ROWID",
    ),
)
"""``MIGRATIONS[n]`` brings a file of ``PRAGMA user_version`` n to n + 1; the first makes the tables."""

VERSION = len(MIGRATIONS)
PLAUSIBLE_VERSIONS = 1000
"""A higher ``user_version`` in a file of ours is damage, not a later otel_events."""

_NEXT: dict[int, str] = {
    **sqlite.ADVICE,
    CORRUPT: "the file is damaged; open the journal again: the file is moved aside and what can be read is kept",
    FULL: "the disk is full or the journal is at its size limit; nothing of this batch was kept: free space, call "
    "trim() or raise max_bytes, then append it again",
    NOT_A_DATABASE: "the file is not a journal; name another file",
}


def explain(path: Path, doing: str, error: sqlite3.Error) -> JournalError:
    """A JournalError that names the operation, the file, SQLite's message and the next step."""
    step = _NEXT.get(code(error), "if it comes again, keep the file and report it")
    return JournalError(f"cannot {doing} {path}: {error}; {step}")


@contextmanager
def journal_errors(path: Path, doing: str) -> Iterator[None]:
    """Every error of SQLite inside becomes a JournalError."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(path, doing, error) from error


def connect(path: Path, mode: Literal["rw", "ro"], damaged: bool = False) -> sqlite3.Connection:
    """A connection to an existing file, in autocommit: transactions are begun by hand.

    ``damaged``: read as far as can be, also where the file is shorter than its header says.
    """
    db = sqlite.open_file(path, mode)
    with closed_on_error(db):
        if damaged:
            db.execute("PRAGMA writable_schema = ON")
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")  # damaged text must not raise
        db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return db


def prepare(db: sqlite3.Connection, durability: Durability) -> None:
    """Settings of the writer's connection; the tables are made or upgraded where need be.

    "off" keeps the rollback journal in memory: faster by a third, but a crash may leave a damaged file.
    """
    db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
    db.execute(f"PRAGMA journal_mode = {'MEMORY' if durability == 'off' else 'WAL'}")
    db.execute(f"PRAGMA synchronous = {durability.upper()}")
    db.execute("PRAGMA secure_delete = OFF")  # else every page that a trim frees is written once more
    migrate(db)


def migrate(db: sqlite3.Connection) -> None:
    """Bring the file to VERSION, in one transaction."""
    sqlite.migrate(db, MIGRATIONS, APPLICATION_ID)
