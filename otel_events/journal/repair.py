"""Opening a journal whatever is at its path: a sound one is opened, anything else is moved aside and read as far as
it can be. What bbolt does with a damaged file (it panics at every start) must not happen here.

A file is moved aside (``<name>.quarantined-<n>``, with its WAL) when it is not ours or when SQLite's integrity check
finds damage (it reads the whole file: about 1 s for 1 GB in the page cache). The new journal keeps the old numbers of
commits, so cursors and what was sent stay true.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from otel_events.journal import schema
from otel_events.journal.lock import WriterLock
from otel_events.journal.pack import UnreadableError, read_chunk, unguard
from otel_events.journal.roots import Counters
from otel_events.model.errors import JournalError

_TOP = 2**63 - 1
_SMALLEST = 512
"""Bytes of SQLite's smallest page; it takes what is shorter for an empty database."""
_MOST_COMMITS = 1 << 40
"""Numbers beyond this are damage."""
_MOST_BETWEEN = 1_000_000
"""Chunks that are tried one by one between two damaged pages."""
_ENVIRONMENT = (schema.BUSY, schema.LOCKED, schema.NO_MEMORY, schema.IO_ERROR, schema.FULL, schema.CANT_OPEN)
"""Errors that say something of the machine, not of the file: they are raised, nothing is moved."""
_DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""Errors of reading a damaged file; the second is raised where SQLite's message quotes damaged text."""


class OpenReport(msgspec.Struct, frozen=True):
    """The result of opening. ``lost``: number of events that are lost; None where it cannot be determined."""

    quarantined: Path | None = None
    salvaged_events: int = 0
    lost: int | None = 0
    reason: str = ""


def lock(path: Path) -> WriterLock:
    """The writer's lock of a journal, its folder made; JournalError where the path cannot be one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise JournalError(f"{path} is a folder; name a file in it, such as {path / 'events.journal'}")
        if path.exists() and not os.access(path, os.R_OK | os.W_OK):
            raise JournalError(f"cannot open {path}: permission denied; give this user the right to read and write it")
    except OSError as error:
        raise JournalError(
            f"cannot open {path}: {error.strerror}; see that its folder exists and that this user may write there"
        ) from error
    return WriterLock(path)


def open_file(
    path: Path, durability: schema.Durability, clock: Callable[[], int]
) -> tuple[sqlite3.Connection, OpenReport]:
    """A connection to a sound journal of this version. JournalError for a later version; sqlite3.Error for the disk."""
    new = path.with_name(path.name + "-salvaged")
    if path.exists():
        _remove(new)  # of a salvage that was cut off
    elif new.exists():
        new.rename(path)  # cut off between the two renames
    reason = _damage(path) if path.exists() and path.stat().st_size else ""
    report = _replace(path, new, reason, clock()) if reason else OpenReport()
    if not path.exists():
        _create(path)
        _sync_folder(path.parent)
    db = schema.connect(path, "rw")
    with schema.closed_on_error(db):
        schema.prepare(db, durability)
    return db, report


def _create(path: Path) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _damage(path: Path) -> str:
    """Why a file cannot be used as it is; "" where it can."""
    size = path.stat().st_size
    if size < _SMALLEST:
        return "cut short"
    wal = path.with_name(path.name + "-wal")
    whole = wal.exists() and wal.stat().st_size > 0  # then the WAL may hold the end of the file
    db: sqlite3.Connection | None = None
    try:
        db = schema.connect(path, "rw")
        if not whole and size % schema.page_size(db):
            return "cut short"
        return _fault(path, db)
    except _DAMAGE as error:
        if isinstance(error, sqlite3.Error) and schema.code(error) in _ENVIRONMENT:
            raise
        return str(error)
    finally:
        if db is not None:
            db.close()


def _fault(path: Path, db: sqlite3.Connection) -> str:
    """What is wrong with an open file; "" for a sound journal or an empty file. JournalError for a newer journal."""
    application, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if not tables and not application and not version:
        return ""
    if application != schema.APPLICATION_ID:
        return "not a journal of otel_events"
    if schema.VERSION < version < schema.PLAUSIBLE_VERSIONS:
        raise JournalError(
            f"{path} is of journal version {version}, this otel_events knows {schema.VERSION}; use the newer "
            "otel_events that wrote it, or name another journal"
        )
    if not 0 < version <= schema.VERSION:
        return f"impossible journal version {version}"
    return _integrity_fault(db, version)


def _integrity_fault(db: sqlite3.Connection, version: int) -> str:
    """What is damaged in a journal of that version; "" for nothing."""
    # A damaged header can make SQLite open the file read-only. Opening for writing has succeeded, so it is damage.
    db.execute("BEGIN IMMEDIATE")
    db.execute(f"PRAGMA user_version = {version}")
    db.execute("ROLLBACK")
    answer = str(db.execute("PRAGMA integrity_check(1)").fetchone()[0])
    if answer != "ok":
        return answer
    chunk, seq = db.execute(
        "SELECT ifnull((SELECT max(id) FROM chunk), 0), ifnull((SELECT max(seq) FROM batch), 0)"
    ).fetchone()
    if chunk >> schema.PLACE_BITS > seq:  # readers would pass over what is later, and no commit could follow
        return f"events of commit {chunk >> schema.PLACE_BITS}, though the last one is {seq}"
    try:
        for _, value in db.execute("SELECT name, value FROM meta"):
            unguard(value)
        Counters.load(db)
    except (UnreadableError, msgspec.MsgspecError) as error:
        return f"cursors: {error}"
    return ""


def _replace(path: Path, new: Path, reason: str, now: int) -> OpenReport:
    """Put a sound journal with all that can be read in the place of a damaged file, which is moved aside."""
    _create(new)
    db = schema.connect(new, "rw")
    try:
        schema.prepare(db, "full")
        db.execute("BEGIN IMMEDIATE")
        salvaged, lost = _salvage(path, db, now)
        db.execute("COMMIT")
    finally:
        db.close()
    aside = _move_aside(path)
    new.rename(path)
    _sync_folder(path.parent)
    return OpenReport(aside, salvaged, lost, reason)


def _move_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.quarantined-{number}")).exists():
        number += 1
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + suffix))
    return aside


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _salvage(damaged: Path, new: sqlite3.Connection, now: int) -> tuple[int, int | None]:
    """Copy what can be read; (events copied, events lost or None)."""
    try:
        old = schema.connect(damaged, "rw", damaged=True)
    except _DAMAGE:
        return 0, None
    try:
        salvaged = _Salvaged(new, now)
        salvaged.take(old)
    finally:
        old.close()
    expected = _expected(old_counters=salvaged.old_counters)
    return salvaged.events, None if expected is None else max(0, expected - salvaged.events)


def _expected(old_counters: bytes | None) -> int | None:
    try:
        return None if old_counters is None else msgspec.msgpack.decode(old_counters, type=Counters).events
    except msgspec.MsgspecError:
        return None


class _Salvaged:
    """Copies the readable rows of an old journal into a new one."""

    def __init__(self, new: sqlite3.Connection, now: int) -> None:
        self.events = 0
        self.old_counters: bytes | None = None
        self._new = new
        self._now = now
        self._roots: dict[bytes, list[Any]] = {}
        self._top = 0

    def take(self, old: sqlite3.Connection) -> None:
        for id_, body, records in _rows(old, "chunk", "id, body, records"):
            self._chunk(id_, body, records)
        closed = {key: (written, is_open) for _, key, written, is_open in _rows(old, "root", "id, key, written, open")}
        for key, row in self._roots.items():
            written, is_open = closed.get(key, (self._now, 1))
            row[9:] = [written if isinstance(written, int) else self._now, 0 if is_open == 0 else 1]
        self._new.executemany(
            "INSERT INTO root VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [tuple(row) for row in self._roots.values()]
        )
        self._meta(old)
        self._batches(old)
        self._counters(self._dead(old))

    def _chunk(self, id_: int, body: Any, records: Any) -> None:
        try:
            chunk = read_chunk(id_ >> schema.PLACE_BITS, body, records)
        except UnreadableError:
            return
        row = self._roots.get(chunk.key)
        if row is None:
            row = [len(self._roots) + 1, chunk.key, "", "", "", 0, 0, 0, 0, self._now, 1]
        if not self._insert("chunk", (id_, row[0], body, records)):
            return  # a damaged tree can lead to one page twice
        self._roots[chunk.key] = row
        self._top = max(self._top, chunk.seq)
        row[7] = max(id_, row[7])
        if chunk.events:
            times = [max(-(2**63), min(event.time, 2**63 - 1)) for event in chunk.events]
            run = chunk.events[0].run
            row[2:5] = run.source, run.namespace, run.root
            row[5] = min([*times, row[5]]) if row[8] else min(times)
            row[6] = max([*times, row[6]]) if row[8] else max(times)
            row[8] += len(times)
            self.events += len(times)

    def _insert(self, table: str, row: tuple[Any, ...]) -> bool:
        """Insert a row; False for a row that is there already, or one with a value of the wrong type."""
        marks = ", ".join("?" * len(row))
        sql = f"INSERT OR IGNORE INTO {table} VALUES ({marks})"  # noqa: S608 - constants
        return self._new.execute(sql, row).rowcount == 1

    def _meta(self, old: sqlite3.Connection) -> None:
        for name, value in _until_damage(old, "SELECT name, value FROM meta"):
            try:
                content = unguard(value)
            except UnreadableError:
                continue
            if name == "counters":
                self.old_counters = content
            else:
                self._insert("meta", (name, value))

    def _batches(self, old: sqlite3.Connection) -> None:
        """Copy the times of commits. The newest number is needed, because no number may be used twice."""
        for seq, time in _rows(old, "batch", "seq, time"):
            if 0 < seq < _MOST_COMMITS:
                self._insert("batch", (seq, time))
        if self._top:
            self._insert("batch", (self._top, self._now))

    def _dead(self, old: sqlite3.Connection) -> tuple[int, int, int]:
        count = size = top = 0
        for row in _rows(old, "dead", "id, time, source, place, reason, length, record"):
            if 0 < row[0] < _MOST_COMMITS and self._insert("dead", row):
                count, size, top = count + 1, size + len(row[6]), max(top, row[0])
        return count, size, top

    def _counters(self, dead: tuple[int, int, int]) -> None:
        opened = sum(row[10] for row in self._roots.values())
        Counters(
            self.events, len(self._roots), opened, len(self._roots) + 1, dead[0], dead[1], dead[2] + 1
        ).save(self._new)  # fmt: skip


def _rows(db: sqlite3.Connection, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
    """Every row that can be read: from the first up to a damaged page, from the last down to one, and of what lies
    between those whose ids stand in the index."""
    key = columns.split(",")[0]
    select = f"SELECT {columns} FROM {table}"  # noqa: S608 - constants
    low, high = -1, _TOP
    for row in _until_damage(db, f"{select} ORDER BY {key}"):
        if not isinstance(row[0], int) or row[0] <= low:
            break  # a damaged tree can lead round in circles
        low = row[0]
        yield row
    for row in _until_damage(db, f"{select} WHERE {key} > ? ORDER BY {key} DESC", low):
        if not isinstance(row[0], int) or row[0] >= high:
            break
        high = row[0]
        yield row
    if table != "chunk":
        return
    between = "SELECT id FROM chunk INDEXED BY chunk_root WHERE id > ? AND id < ?"
    for (id_,) in list(islice(_until_damage(db, between, low, high), _MOST_BETWEEN)):
        yield from _until_damage(db, f"{select} WHERE id = ?", id_)


def _until_damage(db: sqlite3.Connection, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
    try:
        yield from db.execute(sql, values)
    except _DAMAGE:
        return
