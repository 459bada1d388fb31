"""Opening a journal whatever is at its path: a sound one is opened, anything else is moved aside and read as far as
it can be. What bbolt does with a damaged file (it panics at every start) must not happen here.

A file is moved aside (``<name>.quarantined-<n>``, with its WAL) when it is not ours or when SQLite's quick check finds
damage; the new journal keeps the old numbers of commits, so cursors and what was sent stay true.
"""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from otel_events.errors import JournalError
from otel_events.journal import schema
from otel_events.journal.lock import WriterLock
from otel_events.journal.pack import UnreadableError, read_chunk
from otel_events.journal.roots import Counters

_TOP = 2**63 - 1
_PAGE = 64
_TRIES = 4_000
"""Failed queries after which salvage stops looking for rows beyond damaged pages."""
_ENVIRONMENT = (schema.BUSY, schema.LOCKED, schema.NO_MEMORY, schema.IO_ERROR, schema.FULL, schema.CANT_OPEN)
"""Errors that say something of the machine, not of the file: they are raised, nothing is moved."""


class OpenReport(msgspec.Struct, frozen=True):
    """What opening found. ``lost``: events known to be gone; None where that cannot be known."""

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
    reason = _damage(path) if path.exists() and path.stat().st_size else ""
    aside = _move_aside(path) if reason else None
    if not path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        _sync_folder(path.parent)
    db = schema.connect(path, "rw")
    try:
        schema.prepare(db, durability)
        if aside is None:
            return db, OpenReport()
        salvaged, lost = _salvage(aside, db, clock())
        return db, OpenReport(aside, salvaged, lost, reason)
    except BaseException:
        db.close()
        raise


def _damage(path: Path) -> str:
    """Why a file cannot be used as it is; "" where it can."""
    db: sqlite3.Connection | None = None
    try:
        db = schema.connect(path, "rw")
        return _fault(path, db)
    except sqlite3.DatabaseError as error:
        if schema.code(error) in _ENVIRONMENT:
            raise
        return str(error)
    finally:
        if db is not None:
            db.close()


def _fault(path: Path, db: sqlite3.Connection) -> str:
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
    found = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
    if found != "ok":
        return found
    try:
        Counters.load(db)
    except msgspec.MsgspecError as error:
        return f"counters: {error}"
    return ""


def _move_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.quarantined-{number}")).exists():
        number += 1
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + suffix))
    _sync_folder(path.parent)
    return aside


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _salvage(aside: Path, new: sqlite3.Connection, now: int) -> tuple[int, int | None]:
    """Copy what can be read; (events kept, events lost or None)."""
    try:
        old = schema.connect(aside, "rw")
    except sqlite3.DatabaseError:
        return 0, None
    try:
        old.text_factory = lambda raw: raw.decode("utf-8", "replace")
        new.execute("BEGIN IMMEDIATE")
        kept = _Salvaged(new, now)
        kept.take(old)
        new.execute("COMMIT")
    finally:
        old.close()
    expected = _expected(old_counters=kept.old_counters)
    return kept.events, None if expected is None else max(0, expected - kept.events)


def _expected(old_counters: bytes | None) -> int | None:
    try:
        return None if old_counters is None else msgspec.msgpack.decode(old_counters, type=Counters).events
    except msgspec.MsgspecError:
        return None


class _Salvaged:
    """The new journal while the readable rows of an old one go in."""

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

    def _chunk(self, id_: int, body: object, records: object) -> None:
        try:
            chunk = read_chunk(id_ >> schema.PLACE_BITS, body, records)  # type: ignore[arg-type]
        except (UnreadableError, TypeError, ValueError):
            return
        row = self._roots.get(chunk.key)
        if row is None:
            text = ["", "", ""] if not chunk.events else _text(chunk.events[0].run)
            row = self._roots[chunk.key] = [len(self._roots) + 1, chunk.key, *text, 0, 0, 0, 0, self._now, 1]
        times = [max(-(2**63), min(event.time, 2**63 - 1)) for event in chunk.events]
        if times:
            row[2:5] = _text(chunk.events[0].run)
            row[5] = min([*times, row[5]]) if row[8] else min(times)
            row[6] = max([*times, row[6]]) if row[8] else max(times)
        row[7] = id_
        row[8] += len(times)
        self.events += len(times)
        self._top = max(self._top, chunk.seq)
        self._new.execute("INSERT INTO chunk VALUES (?, ?, ?, ?)", (id_, row[0], body, records))

    def _meta(self, old: sqlite3.Connection) -> None:
        try:
            rows = old.execute("SELECT name, value FROM meta").fetchall()
        except sqlite3.DatabaseError:
            return
        for name, value in rows:
            if name == "counters":
                self.old_counters = value if isinstance(value, bytes) else None
            elif isinstance(value, bytes):
                self._new.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def _batches(self, old: sqlite3.Connection) -> None:
        """Times of commits. The newest number has to be known: a number must not come twice."""
        rows = [(seq, time) for seq, time in _rows(old, "batch", "seq, time") if isinstance(time, int)]
        rows = [row for row in rows if 0 < row[0] < 1 << (63 - schema.PLACE_BITS)]
        self._new.executemany("INSERT OR REPLACE INTO batch VALUES (?, ?)", rows)
        if self._top:
            self._new.execute("INSERT OR IGNORE INTO batch VALUES (?, ?)", (self._top, self._now))

    def _dead(self, old: sqlite3.Connection) -> tuple[int, int, int]:
        count = size = top = 0
        for row in _rows(old, "dead", "id, time, source, place, reason, length, record"):
            if not isinstance(row[6], bytes):
                continue
            self._new.execute("INSERT INTO dead VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            count, size, top = count + 1, size + len(row[6]), row[0]
        return count, size, top

    def _counters(self, dead: tuple[int, int, int]) -> None:
        opened = sum(row[10] for row in self._roots.values())
        Counters(
            self.events, len(self._roots), opened, len(self._roots) + 1, dead[0], dead[1], dead[2] + 1
        ).save(self._new)  # fmt: skip


def _text(run: Any) -> list[str]:
    return [run.source, run.namespace, run.root]


def _rows(db: sqlite3.Connection, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
    """Every row that can be read. Where a page is damaged the range of ids is halved until rows are found again."""
    key = columns.split(",")[0]
    select = f"SELECT {columns} FROM {table}"  # noqa: S608 - constants
    sql = f"{select} WHERE {key} >= ? AND {key} <= ? ORDER BY {key} LIMIT {_PAGE}"
    ranges, failed = deque([(0, _TOP)]), 0
    while ranges and failed < _TRIES:
        low, high = ranges.popleft()
        try:
            rows = db.execute(sql, (low, high)).fetchall()
        except sqlite3.DatabaseError:
            failed += 1
            if low < high:
                middle = (low + high) // 2
                ranges.extend([(low, middle), (middle + 1, high)])
            continue
        yield from rows
        if len(rows) == _PAGE and rows[-1][0] < high:
            ranges.appendleft((rows[-1][0] + 1, high))
