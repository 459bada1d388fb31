"""Reading the journal, from the process that writes it or from any other while it writes.

Everything is read page by page and no cursor stays open in between: memory is flat, and no reader keeps the WAL from
being moved into the file. A chunk that cannot be read is skipped and counted in ``unreadable``, never raised: one bad
sector must not keep the gateway from starting.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from otel_events.journal import schema
from otel_events.journal.pack import Chunk, UnreadableError, open_chunk, plain_text, read_chunk, unguard
from otel_events.journal.roots import Counters
from otel_events.model.errors import JournalError

_PAGE = 32
_ROOT_PAGE = 256
_MATCHES = 100
_TOP = 2**63 - 1
_ROOT = "r.id, r.key, r.source, r.namespace, r.root, r.first_time, r.last_time, r.last, r.events, r.written, r.open"


class RootRow(msgspec.Struct, frozen=True):
    """One root as of its last commit. Times of events in ns; ``written``: the journal's clock at that commit."""

    id: int
    key: bytes
    source: str
    namespace: str
    root: str
    first_time: int
    last_time: int
    last: int
    """Id of its newest chunk."""
    events: int
    written: int
    open: bool

    @property
    def last_seq(self) -> int:
        """The commit of its newest chunk."""
        return self.last >> schema.PLACE_BITS


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that could not become events. ``record`` is its beginning where ``length`` is more than it holds."""

    id: int
    time: int
    source: str
    where: str
    reason: str
    length: int
    record: bytes


class Stats(msgspec.Struct, frozen=True):
    """The journal in figures; ``bytes`` are of the pages in use, without the WAL."""

    events: int
    bytes: int
    oldest_unsent_seconds: float
    roots: int
    open_roots: int
    dead_letters: int
    dead_dropped: int
    last_seq: int
    sent_seq: int


class Reader:
    """Reads a journal. A reader belongs to one thread; each thread opens its own. Errors of the file are
    JournalErrors."""

    def __init__(self, path: Path, db: sqlite3.Connection, clock: Callable[[], int] = time.time_ns) -> None:
        self.path = path
        self.unreadable = 0
        """Chunks skipped so far because their bytes are damaged."""
        self._db = db
        self._clock = clock

    @classmethod
    def open(cls, path: str | Path, clock: Callable[[], int] = time.time_ns) -> Reader:
        """Read a journal; JournalError where there is none, or one of another version."""
        path = Path(path)
        if not path.is_file():
            raise JournalError(f"no journal at {path}; `otel-events replay` or `serve` with --journal makes one")
        with schema.journal_errors(path, "read"):
            db = schema.connect(path, "ro")
            with schema.closed_on_error(db):
                _check(path, db)
        return cls(path, db, clock)

    def close(self) -> None:
        """Any number of times."""
        self._db.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def last_seq(self) -> int:
        """Number of the newest commit; 0 before the first."""
        return int(self._rows("SELECT coalesce(max(seq), 0) FROM batch")[0][0])

    @property
    def sent_seq(self) -> int:
        """Number of the commit up to which the collector has acknowledged all telemetry."""
        return int.from_bytes(self.get("sent_seq") or b"", "big")

    def get(self, name: str) -> bytes | None:
        """A cursor or other small value that is stored beside the events."""
        rows = self._rows("SELECT value FROM meta WHERE name = ?", name)
        try:
            return unguard(rows[0][0]) if rows else None
        except UnreadableError as error:
            raise self._damaged(name, error) from error

    @property
    def snapshot(self) -> tuple[int, bytes] | None:
        """(seq, state of the metrics after that commit), as ``set_snapshot`` took it."""
        saved = self.get("snapshot")
        return None if saved is None else (int.from_bytes(saved[:8], "big"), saved[8:])

    def roots(
        self,
        order: Literal["key", "recent"] = "key",
        limit: int | None = None,
        open_only: bool = False,
        after: RootRow | None = None,
    ) -> Iterator[RootRow]:
        """Roots by key, or the most recently written first; ``after`` goes on from a row given before."""
        where = " AND r.open = 1" if open_only else ""
        if order == "key":
            sql = f"SELECT {_ROOT} FROM root r WHERE r.key > ?{where} ORDER BY r.key LIMIT ?"  # noqa: S608 - constants
        else:
            sql = (
                f"SELECT {_ROOT} FROM chunk c CROSS JOIN root r ON r.id = c.root"  # noqa: S608 - constants
                f" WHERE c.id < ? AND r.last = c.id AND r.key IS NOT NULL{where} ORDER BY c.id DESC LIMIT ?"
            )
        left = _TOP if limit is None else limit
        while left > 0:
            start: object = (b"" if order == "key" else _TOP) if after is None else _at(after, order)
            page = self._roots(sql, start, min(left, _ROOT_PAGE))
            yield from page
            if len(page) < _ROOT_PAGE:
                return
            after, left = page[-1], left - len(page)

    def root_chunks(self, key: bytes, upto: int | None = None, records: bool = True) -> Iterator[Chunk]:
        """What each commit (up to and with ``upto``) added to a root, in the order of commits.

        ``records=False`` leaves the source's records unread, which the fold does not need.
        """
        ids = self._rows("SELECT id FROM root WHERE key = ?", key)
        if not ids:
            return
        end = _TOP if upto is None else ((upto + 1) << schema.PLACE_BITS) - 1
        column = "records" if records else "NULL"
        sql = (
            f"SELECT id, body, {column} FROM chunk"  # noqa: S608 - constants
            " WHERE root = ? AND id > ? AND id <= ? ORDER BY id LIMIT ?"
        )
        after = -1
        while rows := self._rows(sql, ids[0][0], after, end, _PAGE):
            yield from self._chunks(rows)
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]

    def commits(self, after: int = 0, records: bool = True) -> Iterator[tuple[int, dict[bytes, Chunk]]]:
        """(seq, what it added to each root) of the commits later than ``after``, in order; one commit in memory."""
        column = "c.records" if records else "NULL"
        sql = (
            f"SELECT c.id, c.body, {column} FROM chunk c CROSS JOIN root r ON r.id = c.root"  # noqa: S608 - constants
            " WHERE c.id > ? AND c.id <= ? AND r.key IS NOT NULL ORDER BY c.id LIMIT ?"
        )
        last_seq = self.last_seq
        end = ((last_seq + 1) << schema.PLACE_BITS) - 1  # no part of a commit that is appended meanwhile
        at = ((after + 1) << schema.PLACE_BITS) - 1
        seq, commit = after, dict[bytes, Chunk]()
        while rows := self._rows(sql, at, end, _PAGE):
            for chunk in self._chunks(rows):
                if chunk.seq != seq:
                    if commit:
                        yield seq, commit
                    seq, commit = chunk.seq, {}
                commit[chunk.key] = chunk
            at = rows[-1][0]
        if commit:
            yield seq, commit

    def find_roots(self, text: str) -> list[RootRow]:
        """The roots of that id, else those whose id begins so; at most 100, and more than one is ambiguous."""
        text = plain_text(text)
        select = f"SELECT {_ROOT} FROM root r WHERE r.key IS NOT NULL"  # noqa: S608 - constants
        exact = self._roots(f"{select} AND r.root = ? LIMIT ?", text, _MATCHES)
        if exact or not text:
            return exact
        sql = f"{select} AND r.root >= ? AND r.root < ? ORDER BY r.root LIMIT ?"
        return self._roots(sql, text, text + "\U0010ffff", _MATCHES)

    def find_run(self, run_id: str) -> list[RootRow]:
        """The roots that hold a run of that id: a root of that id, else found by reading all chunks, newest first."""
        run_id = plain_text(run_id)
        exact = [row for row in self.find_roots(run_id) if row.root == run_id]
        if exact:
            return exact
        roots: dict[bytes, RootRow] = {}
        needle = run_id.encode()
        sql = (
            f"SELECT c.id, c.body, {_ROOT} FROM chunk c CROSS JOIN root r ON r.id = c.root"  # noqa: S608 - constants
            " WHERE c.id < ? AND r.key IS NOT NULL ORDER BY c.id DESC LIMIT ?"
        )
        at = _TOP
        while rows := self._rows(sql, at, _PAGE):
            at = rows[-1][0]
            for id_, body, *root in rows:
                if root[1] not in roots and needle in body and self._holds(id_, body, run_id):
                    roots[root[1]] = _root_row(root)
        return list(roots.values())

    def dead_letters(self, after: int = 0) -> Iterator[DeadLetter]:
        """The records that could not become events, oldest first, from the one after that id."""
        sql = "SELECT id, time, source, place, reason, length, record FROM dead WHERE id > ? ORDER BY id LIMIT ?"
        while rows := self._rows(sql, after, _PAGE):
            for row in rows:
                yield DeadLetter(*row)
            after = rows[-1][0]

    def stats(self) -> Stats:
        """The journal in figures; reads a few rows only."""
        with schema.journal_errors(self.path, "read"):
            counters = self._counters()
            used = schema.used_pages(self._db) * schema.page_size(self._db)
        sent = self.sent_seq
        rows = self._rows("SELECT time FROM batch WHERE seq > ? ORDER BY seq LIMIT 1", sent)
        waited = max(0.0, (self._clock() - rows[0][0]) / 1e9) if rows else 0.0
        c = counters
        return Stats(c.events, used, waited, c.roots, c.open_roots, c.dead, c.dead_dropped, self.last_seq, sent)

    def _counters(self) -> Counters:
        try:
            return Counters.load(self._db)
        except (UnreadableError, msgspec.MsgspecError) as error:
            raise self._damaged("counters", error) from error

    def _damaged(self, name: str, error: Exception) -> JournalError:
        return JournalError(
            f"cannot read {name!r} of {self.path}: {error}; the next writer that opens the journal repairs it"
        )

    def _rows(self, sql: str, *values: object) -> list[Any]:
        with schema.journal_errors(self.path, "read"):
            return self._db.execute(sql, values).fetchall()

    def _roots(self, sql: str, *values: object) -> list[RootRow]:
        return [_root_row(row) for row in self._rows(sql, *values)]

    def _chunks(self, rows: Iterable[tuple[int, bytes, bytes | None]]) -> Iterator[Chunk]:
        for id_, body, records in rows:
            try:
                yield read_chunk(id_ >> schema.PLACE_BITS, body, records)
            except UnreadableError:
                self.unreadable += 1

    def _holds(self, id_: int, body: bytes, run_id: str) -> bool:
        try:
            return any(run.id == run_id for run in open_chunk(id_ >> schema.PLACE_BITS, body).runs)
        except UnreadableError:
            self.unreadable += 1
            return False


def _root_row(row: Any) -> RootRow:
    return RootRow(*[*row[:-1], row[-1] == 1])


def _at(row: RootRow, order: str) -> object:
    return row.key if order == "key" else row.last


def _check(path: Path, db: sqlite3.Connection) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] != schema.APPLICATION_ID:
        raise JournalError(f"{path} is not a journal of otel_events; name another file")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version != schema.VERSION:
        raise JournalError(
            f"{path} is of journal version {version}, this otel_events reads {schema.VERSION}; use the version of "
            "otel_events that wrote it, or let its writer upgrade it"
        )
