"""What every SQLite file of ours needs: result codes, advice for errors, connections, migrations, and used pages.

The journal and the store of reported tasks have tables of their own (their ``schema`` modules) and share these.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

BUSY_MS = 5000
"""How long a connection waits for another one's transaction."""

# SQLite's primary result codes, sqlite.org/rescode.html
BUSY, LOCKED, NO_MEMORY, READ_ONLY, IO_ERROR = 5, 6, 7, 8, 10
CORRUPT, FULL, CANT_OPEN, NOT_A_DATABASE = 11, 13, 14, 26

ADVICE: dict[int, str] = {
    BUSY: "another process holds it; end that process or wait, then try again",
    LOCKED: "another process holds it; end that process or wait, then try again",
    READ_ONLY: "give this user the right to write the file and its folder",
    IO_ERROR: "look at the disk (dmesg) and whether the file system is still mounted",
    CANT_OPEN: "see that the folder exists and that this user may read and write it",
}
"""What to do about an error, for the codes whose advice is the same for every file."""


def code(error: sqlite3.Error) -> int:
    """SQLite's primary result code of an error; 0 where it has none."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def open_file(path: Path, mode: Literal["rw", "rwc", "ro"]) -> sqlite3.Connection:
    """A connection in autocommit, for any thread: transactions are begun by hand.

    Args:
        path: The file.
        mode: As SQLite's URIs have it; only ``rwc`` creates a file that does not exist.

    Raises:
        sqlite3.Error: The file cannot be opened.
    """
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)


@contextmanager
def closed_on_error(db: sqlite3.Connection) -> Iterator[None]:
    """Close a connection that cannot be handed on, before the error goes on: the garbage collector warns of others."""
    try:
        yield
    except BaseException:
        db.close()
        raise


def migrate(db: sqlite3.Connection, migrations: Sequence[Sequence[str]], application_id: int) -> None:
    """Bring a file to the newest version of its tables, in one transaction.

    Args:
        db: A connection that may write.
        migrations: ``migrations[n]`` are the statements from ``PRAGMA user_version`` n to n + 1.
        application_id: Written into the file's header, so that our files can be told from other SQLite files.

    Raises:
        sqlite3.Error: A statement failed; the file is as it was before.
    """
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version == len(migrations):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for step in migrations[version:]:
            for statement in step:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(migrations)}")
        db.execute(f"PRAGMA application_id = {application_id}")
        db.execute("COMMIT")
    except BaseException:
        rollback(db)
        raise


def rollback(db: sqlite3.Connection) -> None:
    """End a failed transaction, if SQLite has not done so itself."""
    if db.in_transaction:
        db.execute("ROLLBACK")


def used_pages(db: sqlite3.Connection) -> int:
    """Pages that hold something; freed ones are filled again before the file grows."""
    total = int(db.execute("PRAGMA page_count").fetchone()[0])
    return total - int(db.execute("PRAGMA freelist_count").fetchone()[0])


def page_size(db: sqlite3.Connection) -> int:
    """Bytes of one page."""
    return int(db.execute("PRAGMA page_size").fetchone()[0])
