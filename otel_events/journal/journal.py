"""The writer of the journal: when ``append`` returns, the new events are on disk, each of them once.

A commit is one SQLite transaction: the new events by root, the closings that the fold decided, dead letters, cursors.
One row for each root of a commit, not one for each event, is what makes it fast: the rows, their index and the pages
that they touch are the cost.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from otel_events.journal import repair, retain, schema
from otel_events.journal.lock import WriterLock
from otel_events.journal.pack import Closing, guard
from otel_events.journal.part import Part, pack_plain, places, sort_in
from otel_events.journal.reader import Reader
from otel_events.journal.retain import Trimmed
from otel_events.journal.roots import Counters, Keys, Root, Roots
from otel_events.model.errors import JournalError
from otel_events.model.event import AnyEvent, Run

GIB = 1 << 30
DAY_NS = 86_400 * 10**9
DEAD_RECORD_BYTES = 1 << 20
_DEAD_PENDING = 1000, 8 << 20

_INSERT_ROOT = "INSERT INTO root VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# ``open`` is set apart, and only where it changes: it is in two partial indexes.
_UPDATE_ROOT = "UPDATE root SET first_time = ?, last_time = ?, last = ?, events = ?, written = ? WHERE id = ?"


class Commit(msgspec.Struct, frozen=True):
    """What ``append`` kept: the new events of each root in the order given, as they are read back."""

    seq: int
    roots: dict[bytes, list[AnyEvent]]
    duplicates: int
    fresh: frozenset[bytes] = frozenset()
    """Those of ``roots`` of which the journal knew nothing before."""


class Journal(Reader):
    """The single writer; also reads. Use it from one thread at a time, and not in a forked child.

    ``append``, ``checkpoint`` and ``trim`` raise JournalError where the file cannot be written; nothing of that call is
    then kept, and it can be made again.
    """

    def __init__(
        self,
        path: Path,
        db: sqlite3.Connection,
        lock: WriterLock | None,
        retention: retain.Retention,
        clock: Callable[[], int],
        seen_limit: int,
        opened: repair.OpenReport,
    ) -> None:
        super().__init__(path, db, clock)
        self.opened = opened
        """The result of opening: whether a damaged or foreign file was moved aside, and what was recovered from it."""
        self._lock = lock
        self._keys = Keys()
        self._root_cache = Roots(db, seen_limit)
        self._sums = Counters.load(db)
        self._seq = super().last_seq
        self._meta: dict[str, bytes] = {}
        self._dead: list[tuple[str, str, str, int, bytes]] = []
        self._dead_bytes = 0
        self._pid = os.getpid()
        self._retention = retention
        self._folder: str | None = None

    @classmethod
    def open(  # type: ignore[override]  # the writer has settings
        cls,
        path: str | Path,
        *,
        max_bytes: int = GIB,
        max_age_ns: int = 7 * DAY_NS,
        durability: schema.Durability = "full",
        clock: Callable[[], int] = time.time_ns,
        seen_limit: int = 1_000_000,
    ) -> Journal:
        """Open the file for writing, or create it; ``opened`` says what was repaired.

        Args:
            path: The file. A damaged or foreign one is moved aside.
            max_bytes: Size to which ``trim`` reduces the journal.
            max_age_ns: Age of events that ``trim`` drops.
            durability: "full" survives loss of power, "normal" the death of the process (loss of power may take the
                last commits, no more), "off" neither.
            clock: Gives the present time in nanoseconds.
            seen_limit: Marks in memory, by which repeats are recognized, 45 to 250 bytes each. Others are read back
                from the file when they are needed.

        Raises:
            JournalError: The file is locked by another writer, a folder, not permitted, or of a later version.
        """
        path = Path(path)
        limits = retain.Limits(max_bytes, max_age_ns)
        lock = repair.lock(path)
        try:
            with schema.journal_errors(path, "open"):
                db, opened = repair.open_file(path, durability, clock)
                with schema.closed_on_error(db):
                    retain.cap(db, max_bytes)
                    retention = retain.Retention(path, db, limits, reserve=durability != "off")
                    return cls(path, db, lock, retention, clock, seen_limit, opened)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def temporary(cls, directory: str | Path | None = None, *, seen_limit: int = 1_000_000) -> Journal:
        """A journal that is not fsynced and goes with ``close``, in a folder of its own under ``directory``."""
        folder = tempfile.mkdtemp(prefix="otel-events-", dir=directory)
        journal = cls.open(
            Path(folder) / "temporary.journal", max_bytes=1 << 50, durability="off", seen_limit=seen_limit
        )
        journal._folder = folder
        return journal

    @staticmethod
    def reader(path: str | Path) -> Reader:
        """Read a journal that this or another process may be writing. JournalError where there is none."""
        return Reader.open(path)

    def __enter__(self) -> Journal:
        return self

    def close(self) -> None:
        """Write what is pending and release the lock. May be called more than once."""
        if self._lock is None:
            return
        try:
            if os.getpid() == self._pid:
                self.checkpoint()
                self._retention.close()
        finally:
            self._db.close()
            self._lock.release()
            self._lock = None
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def last_seq(self) -> int:
        return self._seq

    @property
    def sent_seq(self) -> int:
        return super().sent_seq

    @sent_seq.setter
    def sent_seq(self, seq: int) -> None:
        self.set("sent_seq", seq.to_bytes(8, "big"))

    def get(self, name: str) -> bytes | None:
        pending = self._meta.get(name)
        return super().get(name) if pending is None else pending

    def set(self, name: str, value: bytes) -> None:
        """Keep a small value; on disk with the next commit, or with ``checkpoint``."""
        self._meta[name] = value

    def set_snapshot(self, seq: int, state: bytes) -> None:
        """Keep the state of the metrics after commit ``seq``; on disk with the next commit, or with ``checkpoint``."""
        self.set("snapshot", seq.to_bytes(8, "big") + state)

    def dead(self, source: str, where: str, reason: str, record: bytes, length: int | None = None) -> None:
        """Keep a record that could not become events; on disk with the next ``append`` or ``checkpoint``.

        The oldest go, counted, beyond 10,000 or an eighth of ``max_bytes``; of a record its first MiB is kept.
        ``length``: bytes of the whole record, where ``record`` is only its beginning.
        """
        head = bytes(record[:DEAD_RECORD_BYTES])
        text = [value.encode("utf-8", "replace").decode() for value in (source, where, reason)]
        self._dead.append((text[0], text[1], text[2], len(record) if length is None else length, head))
        self._dead_bytes += len(head)
        if len(self._dead) >= _DEAD_PENDING[0] or self._dead_bytes >= _DEAD_PENDING[1]:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Write pending values and dead letters now."""
        if self._meta or self._dead:
            self._commit(self._seq, [], (), "write")

    def append(
        self,
        events: Sequence[AnyEvent],
        records: Sequence[bytes | None] | None = None,
        closings: Mapping[bytes, Sequence[Closing]] | None = None,
        done: Collection[bytes] = (),
        dedupe: bool = True,
    ) -> Commit:
        """Write the new ones of ``events``, each with its record, and the closings of roots, in one commit.

        Args:
            events: In the order in which they came. An exact repeat of an event in the journal is dropped; an event
                with the same id and other content is written, and the fold chooses between the two.
            records: The source's record of each event, or None for an event without one.
            closings: Key of a root -> the attempts of it that are closed with this commit.
            done: Keys of roots that have nothing open any more. A new event opens its root again, also in this commit.
            dedupe: False to write repeats too.

        Returns:
            The new events of each root. With nothing to write there is no transaction, and ``seq`` is the last
            commit's.

        Raises:
            JournalError: The file cannot be written, or was opened by another process.
            ValueError: There are not as many records as events.
        """
        if os.getpid() != self._pid:
            raise JournalError(f"{self.path} was opened by process {self._pid}; open another journal in this one")
        self._writable()
        try:
            return self._append(events, records, closings or {}, done, dedupe)
        except BaseException:
            self._root_cache.clear()
            raise

    def trim(self, now_ns: int) -> Trimmed:
        """Drop what exceeds the limits, in a bounded step for each call (see retain.py). ``now_ns``: time of the
        clock."""
        self._writable()
        with schema.journal_errors(self.path, "trim"):
            trimmed = self._retention.trim(self.sent_seq, now_ns)
        self._sums = Counters.load(self._db)
        self._root_cache.forget(trimmed.roots)
        return trimmed

    def _writable(self) -> None:
        if self._lock is None:
            raise JournalError(f"{self.path} is closed; open it again")

    def _append(
        self,
        events: Sequence[AnyEvent],
        records: Sequence[bytes | None] | None,
        closings: Mapping[bytes, Sequence[Closing]],
        done: Collection[bytes],
        dedupe: bool,
    ) -> Commit:
        all_parts = self._parts(events, records, closings, dedupe)
        parts = [part for part in all_parts if part.events or part.closings]
        new = {part.root.key: part.events for part in parts if part.events}
        fresh = frozenset([part.root.key for part in parts if part.root.fresh])
        duplicates = len(events) - sum(map(len, new.values()))
        if not parts and not done and not self._dead:
            return Commit(self._seq, new, duplicates)
        if len(parts) > 1 << schema.PLACE_BITS:
            raise JournalError(f"{len(parts)} roots in one commit of {self.path}; append at most 1,048,576 at a time")
        self._commit(self._seq + 1 if parts else self._seq, parts, done, "append to")
        self._root_cache.shrink(len(all_parts) + len(done))
        return Commit(self._seq, new, duplicates, fresh)

    def _parts(
        self,
        events: Sequence[AnyEvent],
        records: Sequence[bytes | None] | None,
        closings: Mapping[bytes, Sequence[Closing]],
        dedupe: bool,
    ) -> list[Part]:
        """A part for each root in the order they come, also for those to which nothing is new."""
        if records is not None and len(records) != len(events):
            raise ValueError(f"{len(records)} records of {len(events)} events; give one, or None, for each event")
        plain, packed, runs = pack_plain(events)
        keys = self._keys
        homes = [keys[run.source, run.namespace, run.root] for run in runs.values()]
        parts = self._of_events(homes, runs.values(), closings, dedupe)
        sort_in(plain, packed, records, places(runs, homes, parts), dedupe)
        others = [key for key, some in closings.items() if some and key not in parts]
        # Of a root that has been dropped there is nothing to close.
        return [
            *parts.values(),
            *[Part(root, set(), 0, closings[key]) for key, root in self._root_cache.load(others).items()],
        ]

    def _of_events(
        self, keys: Sequence[bytes], runs: Iterable[Run], closings: Mapping[bytes, Sequence[Closing]], dedupe: bool
    ) -> dict[bytes, Part]:
        """An empty part for each root. A root that the journal does not have yet is added, with the names of its
        run."""
        cached, parts = self._root_cache, dict[bytes, Part]()
        roots = cached.load(keys)
        for key, run in zip(keys, runs, strict=True):
            if key in parts:
                continue
            root = roots.get(key)
            if root is None:
                root = cached.add(key, self._sums.next_root, (run.source, run.namespace, run.root))
                self._sums.next_root += 1
            seen = cached.seen(root) if dedupe else root.seen
            seen = set() if seen is None else seen
            parts[key] = Part(root, seen, len(seen), closings.get(key, ()))
        return parts

    def _commit(self, seq: int, parts: Sequence[Part], done: Collection[bytes], doing: str) -> None:
        """Commit in one transaction. If the disk is full, the WAL is emptied and the commit tried once more."""
        try:
            with schema.journal_errors(self.path, doing):
                work = self._work(seq, parts, done)
                try:
                    self._write(work)
                except sqlite3.OperationalError as error:
                    if schema.code(error) != schema.FULL:
                        raise
                    self._retention.disk_full()
                    self._write(work)
        except BaseException:
            # Counters and rows in memory are ahead of the file now.
            self._root_cache.clear()
            with schema.journal_errors(self.path, "read"):
                self._sums = Counters.load(self._db)
            raise
        self._seq = seq
        self._meta.clear()
        self._dead.clear()
        self._dead_bytes = 0
        self._retention.bound_wal()

    def _work(self, seq: int, parts: Sequence[Part], done: Collection[bytes]) -> list[tuple[str, list[Any]]]:
        """The statements of a commit, each with its rows; brings the roots and counters in memory up to it."""
        now, sums, cached = self._clock(), self._sums, self._root_cache
        opens = [(0, root.id) for root in map(cached.get, done) if root is not None and self._turn(root, False)]
        chunks: list[Any] = []
        for place, part in enumerate(parts):
            root, count = part.root, len(part.events)
            root.last, root.written = seq << schema.PLACE_BITS | place, now
            if count:
                root.count(part.events)
                sums.events += count
                if part.seen is root.seen:
                    cached.marked(len(part.seen) - part.before)
                if not root.open and self._turn(root, True) and not root.fresh:
                    opens.append((1, root.id))
            chunks.append(part.row(root.last))
        roots = [part.root for part in parts]
        fresh = [root for root in roots if root.fresh]
        sums.roots += len(fresh)
        work: list[tuple[str, list[Any]]] = [
            (_INSERT_ROOT, [root.row() for root in fresh]),
            (_UPDATE_ROOT, [root.changed() for root in roots if not root.fresh]),
            ("UPDATE root SET open = ? WHERE id = ?", opens),
            ("INSERT INTO chunk VALUES (?, ?, ?, ?)", chunks),
            ("INSERT INTO batch VALUES (?, ?)", [(seq, now)] if parts else []),
            *self._retention.letters(self._dead, sums, now),
            ("INSERT OR REPLACE INTO meta VALUES (?, ?)", [(name, guard(value)) for name, value in self._meta.items()]),
        ]
        for root in fresh:
            root.fresh = False
        return work

    def _turn(self, root: Root, is_open: bool) -> bool:
        """Open or close a root; whether that is a change."""
        if root.open == is_open:
            return False
        root.open = is_open
        self._sums.open_roots += 1 if is_open else -1
        return True

    def _write(self, work: Sequence[tuple[str, list[Any]]]) -> None:
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            for sql, rows in work:
                if rows:
                    db.executemany(sql, rows)
            self._sums.save(db)
            db.execute("COMMIT")
        except BaseException:
            schema.rollback(db)
            raise
