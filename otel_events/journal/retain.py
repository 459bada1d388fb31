"""The retention of the journal: drops whole roots, by age, then by bytes, sent ones first, and counts them by reason.

    retention            not open, its telemetry acknowledged, and older than ``max_age_ns`` or over ``max_bytes``
    disk_full            the same, let go before its time because the disk is full
    journal_full_unsent  open or not acknowledged: only when nothing of the above is left and it is over ``max_bytes``

Age is counted from the root's last commit by the journal's clock, not from the times of its events: a replay of last
year's records is kept as long as any. A file does not shrink; freed pages are used again before it grows.

On a full disk SQLite cannot even delete: the WAL has to grow, and the file too where the WAL moves into it. So a
reserve stands beside the journal, four times what the WAL holds before it is moved, and goes when it is needed.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from otel_events.journal import schema
from otel_events.journal.roots import Counters

DEAD_LETTERS = 10_000
RESERVE_BYTES = 16 << 20
"""Less on a small disk: an eighth of it."""
_WAL_SHARE = 4
STEP = 2_000
"""Most chunks that one call drops."""
_SMALL_STEP = 32
_READERS_MS = 500
_HEADROOM = 4 << 20
_DEAD_SHARE = 8
"""Dead letters may take this part of ``max_bytes``."""


class Limits(NamedTuple):
    max_bytes: int
    max_age_ns: int


class Trimmed(msgspec.Struct):
    """The result of one ``trim``. ``bytes``: size of the freed pages. ``more``: another call would drop more."""

    events: int = 0
    by_reason: dict[str, int] = {}
    """Events by reason."""
    roots: list[bytes] = []
    """Keys of the roots."""
    more: bool = False
    bytes: int = 0


def cap(db: sqlite3.Connection, max_bytes: int) -> None:
    """SQLite refuses to grow the file beyond ``max_bytes`` and a quarter: the room that appends have between trims."""
    pages = (max_bytes + max_bytes // 4 + _HEADROOM) // schema.page_size(db)
    db.execute(f"PRAGMA max_page_count = {min(pages, 2**32 - 2)}")


class Retention:
    """Drops roots and dead letters of one writer's journal, and holds the reserve."""

    def __init__(self, path: Path, db: sqlite3.Connection, limits: Limits, reserve: bool) -> None:
        self._db = db
        self._limits = limits
        self._reserve = path.with_name(path.name + "-reserve") if reserve else None
        self._full = False
        disk = os.statvfs(path.parent)
        self._size = min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // 8)
        db.execute(f"PRAGMA wal_autocheckpoint = {max(1, self._size // _WAL_SHARE // schema.page_size(db))}")
        db.execute(f"PRAGMA journal_size_limit = {self._size // 2}")
        self._wal = path.with_name(path.name + "-wal") if reserve else None
        self._wal_limit = self._size
        self._fill_reserve()

    def close(self) -> None:
        """The reserve serves a running writer only."""
        if self._reserve is not None:
            self._reserve.unlink(missing_ok=True)

    def bound_wal(self) -> None:
        """After a commit: where readers have kept the WAL from being begun anew, wait for them, but not for long.

        A reader that stays for ever (no one of ours does) costs a wait each time the WAL has doubled.
        """
        if self._wal is None or not self._wal.exists() or self._wal.stat().st_size <= self._wal_limit:
            return
        self._db.execute(f"PRAGMA busy_timeout = {_READERS_MS}")
        try:
            busy = self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0]
        except sqlite3.Error:
            busy = 1  # the commit itself is on disk; if something is wrong, the next one will say so
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {schema.BUSY_MS}")
        self._wal_limit = 2 * self._wal_limit if busy else self._size

    def disk_full(self) -> None:
        """A commit found the disk full: empty the WAL, which gives its space back, and let the next trim drop more."""
        self._full = True
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def trim(self, sent_seq: int, now_ns: int) -> Trimmed:
        """One step: at most ``STEP`` chunks, in one transaction. sqlite3.Error where even that is impossible."""
        try:
            trimmed = self._step(sent_seq, now_ns, STEP)
        except sqlite3.OperationalError as error:
            if schema.code(error) != schema.FULL:
                raise
            self.close()
            self.disk_full()
            trimmed = self._step(sent_seq, now_ns, _SMALL_STEP)
        if self._full:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._full = False
        else:
            self._fill_reserve()
        return trimmed

    def letters(
        self, letters: Sequence[tuple[str, str, str, int, bytes]], sums: Counters, now: int
    ) -> list[tuple[str, list[Any]]]:
        """Statements that keep these dead letters and drop the oldest beyond the limits; counts both in ``sums``."""
        if not letters:
            return []
        rows = []
        for source, where, reason, length, record in letters:
            rows.append((sums.next_dead, now, source, where, reason, length, record))
            sums.next_dead += 1
            sums.dead += 1
            sums.dead_bytes += len(record)
        first = self._oldest_kept(sums)
        return [
            ("INSERT INTO dead VALUES (?, ?, ?, ?, ?, ?, ?)", rows),
            ("DELETE FROM dead WHERE id < ?", [(first,)]),
        ]

    def _oldest_kept(self, sums: Counters) -> int:
        """Count off the oldest dead letters until they fit; the id of the first that stays. New ones always stay."""
        sizes = self._db.execute("SELECT id, length(record) FROM dead ORDER BY id")
        for id_, size in sizes:
            if sums.dead <= DEAD_LETTERS and sums.dead_bytes <= self._limits.max_bytes // _DEAD_SHARE:
                sizes.close()
                return int(id_)
            sums.dead -= 1
            sums.dead_bytes -= size
            sums.dead_dropped += 1
        return sums.next_dead - sums.dead

    def _fill_reserve(self) -> None:
        if self._reserve is None or self._reserve.exists():
            return
        disk = os.statvfs(self._reserve.parent)
        if disk.f_bavail * disk.f_frsize < 3 * self._size:
            return
        file = os.open(self._reserve, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(file, 0, max(self._size, 1))
        except OSError:  # a file system that cannot: go without
            self._reserve.unlink(missing_ok=True)
        finally:
            os.close(file)

    def _step(self, sent_seq: int, now_ns: int, budget: int) -> Trimmed:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            sums, trimmed, before = Counters.load(db), Trimmed(), schema.used_pages(db)
            changes = db.total_changes
            soft = before * 3 // 4 if self._full else before + 1
            budget = self._sweep(budget)
            while budget > 0 and (victim := self._victim(sent_seq, now_ns, soft)) is not None:
                self._doom(*victim, sums, trimmed)
                budget = self._sweep(budget - 1)
            db.execute(
                "DELETE FROM batch WHERE seq <= ? AND seq < (SELECT max(seq) FROM batch)"
                " AND seq < (SELECT min(seq) FROM batch) + ?",
                (sent_seq, STEP),
            )
            if db.total_changes == changes:
                db.execute("ROLLBACK")  # nothing to do: nothing to write and fsync
                return trimmed
            sums.save(db)
            trimmed.bytes = (before - schema.used_pages(db)) * schema.page_size(db)
            trimmed.more = budget <= 0
            db.execute("COMMIT")
            return trimmed
        except BaseException:
            schema.rollback(db)
            raise

    def _victim(self, sent_seq: int, now_ns: int, soft_pages: int) -> tuple[tuple[int, bytes, int, int], str] | None:
        """((id, key, events, open), reason) of the next root to go, or None."""
        used = schema.used_pages(self._db)
        over = used * schema.page_size(self._db) > self._limits.max_bytes
        done = self._db.execute(
            "SELECT id, key, events, open, written FROM root WHERE open = 0 AND last < ? ORDER BY last LIMIT 1",
            ((sent_seq + 1) << schema.PLACE_BITS,),
        ).fetchone()
        if done is not None:
            if over or done[4] < now_ns - self._limits.max_age_ns:
                return done[:4], "retention"
            return (done[:4], "disk_full") if used > soft_pages else None
        if not over:
            return None
        row = self._db.execute("SELECT id, key, events, open FROM root WHERE open >= 0 ORDER BY id LIMIT 1").fetchone()
        return None if row is None else (row, "journal_full_unsent")

    def _doom(self, root: tuple[int, bytes, int, int], reason: str, sums: Counters, trimmed: Trimmed) -> None:
        """Hide a root from readers; its chunks are deleted by this step and the next ones."""
        id_, key, events, is_open = root
        self._db.execute("UPDATE root SET key = NULL, open = -1 WHERE id = ?", (id_,))
        sums.roots -= 1
        sums.events -= events
        sums.open_roots -= is_open
        trimmed.roots.append(key)
        trimmed.events += events
        trimmed.by_reason[reason] = trimmed.by_reason.get(reason, 0) + events

    def _sweep(self, budget: int) -> int:
        """Delete chunks of hidden roots; returns the rest of the budget."""
        while budget > 0:
            doomed = self._db.execute("SELECT id FROM root WHERE key IS NULL LIMIT 1").fetchone()
            if doomed is None:
                break
            budget -= self._db.execute(
                "DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE root = ? ORDER BY id LIMIT ?)",
                (doomed[0], budget),
            ).rowcount
            if budget > 0:
                self._db.execute("DELETE FROM root WHERE id = ?", doomed)
        return budget
