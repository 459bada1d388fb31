"""What the writer remembers of each root: its row, and the marks of its events, by which repeats are known."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from otel_events.event import AnyEvent
from otel_events.identity import trace_id
from otel_events.journal.pack import UnreadableError, guard, open_chunk, plain_text, unguard
from otel_events.journal.schema import PLACE_BITS

_KEYS = 65_536
_PAGE = 32
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_ROOT_WEIGHT = 8


class Counters(msgspec.Struct, array_like=True):
    """Sums that would need a scan of the file; a row of ``meta``, written with each commit."""

    events: int = 0
    roots: int = 0
    open_roots: int = 0
    next_root: int = 1
    dead: int = 0
    dead_bytes: int = 0
    next_dead: int = 1
    dead_dropped: int = 0

    @classmethod
    def load(cls, db: sqlite3.Connection) -> Counters:
        """Those of the last commit. UnreadableError or msgspec.MsgspecError where they are damaged."""
        row = db.execute("SELECT value FROM meta WHERE name = 'counters'").fetchone()
        return cls() if row is None else msgspec.msgpack.decode(unguard(row[0]), type=cls)

    def save(self, db: sqlite3.Connection) -> None:
        db.execute("INSERT OR REPLACE INTO meta VALUES ('counters', ?)", (guard(msgspec.msgpack.encode(self)),))


class Keys(dict[tuple[str, str, str], bytes]):
    """(source, namespace, root id) -> root key, derived once while it is in use."""

    def __missing__(self, root: tuple[str, str, str]) -> bytes:
        if len(self) >= _KEYS:
            self.clear()
        try:
            key = trace_id(*root)
        except UnicodeEncodeError:
            key = trace_id(*map(plain_text, root))
        self[root] = key
        return key


class Root:
    """A root's row as of the commit being made. ``seen`` is None until an event has to be compared."""

    __slots__ = ("events", "first_time", "fresh", "id", "key", "last", "last_time", "open", "seen", "text", "written")

    def __init__(self, key: bytes, id_: int, text: tuple[str, str, str]) -> None:
        self.key = key
        self.id = id_
        self.text = text
        self.first_time = self.last_time = self.last = self.events = self.written = 0
        self.open = False
        self.fresh = True
        self.seen: set[int] | None = set()

    def count(self, events: Sequence[AnyEvent]) -> None:
        """Events join the root. Times beyond SQLite's integers stop at 64 bits."""
        times = [event.time for event in events]
        first, last = _int64(min(times)), _int64(max(times))
        self.first_time = min(self.first_time, first) if self.events else first
        self.last_time = max(self.last_time, last) if self.events else last
        self.events += len(events)

    def changed(self) -> tuple[int, ...]:
        """For UPDATE."""
        return (self.first_time, self.last_time, self.last, self.events, self.written, self.id)

    def row(self) -> tuple[object, ...]:
        """For INSERT, in the order of the table's columns."""
        return (self.id, self.key, *self.text, self.first_time, self.last_time, self.last, self.events, self.written,
                int(self.open))  # fmt: skip


def _int64(value: int) -> int:
    return max(_INT_MIN, min(value, _INT_MAX))


class Roots:
    """The roots in use, least recently used first; those of the commit under way are never let go.

    ``limit`` bounds the marks held, at 45 bytes (one root of many events) to 250 (ten events a root) each; a root
    itself counts as 8. A root that was let go is read back from its chunks.
    """

    def __init__(self, db: sqlite3.Connection, limit: int) -> None:
        self._db = db
        self._limit = limit
        self._roots: OrderedDict[bytes, Root] = OrderedDict()
        self._marks = 0

    def get(self, key: bytes) -> Root | None:
        """The root of that key, now the most recently used; None where the journal has none."""
        root = self._roots.get(key)
        if root is None:
            root = self._load(key)
            if root is None:
                return None
            self._roots[key] = root
            self._marks += _ROOT_WEIGHT
        self._roots.move_to_end(key)
        return root

    def add(self, key: bytes, id_: int, text: tuple[str, str, str]) -> Root:
        """A root that the journal has not seen before."""
        root = self._roots[key] = Root(key, id_, text)
        self._marks += _ROOT_WEIGHT
        return root

    def seen(self, root: Root) -> set[int]:
        """The marks of all events that the journal holds of the root."""
        if root.seen is None:
            root.seen = set(self._marks_of(root.id))
            self._marks += len(root.seen)
        return root.seen

    def mark(self, root: Root, marks: set[int]) -> None:
        """Remember events that are new."""
        if root.seen is not None:
            root.seen |= marks
            self._marks += len(marks)

    def shrink(self, used: int) -> None:
        """Let go of the least recently used roots beyond the limit, but not of the last ``used`` ones."""
        while self._marks > self._limit and len(self._roots) > used:
            self._count_off(self._roots.popitem(last=False)[1])

    def forget(self, keys: Iterable[bytes]) -> None:
        """Drop roots whose rows are gone."""
        for key in keys:
            if (root := self._roots.pop(key, None)) is not None:
                self._count_off(root)

    def clear(self) -> None:
        """Forget all: a commit failed, so what is remembered may not be what is on disk."""
        self._roots.clear()
        self._marks = 0

    def _count_off(self, root: Root) -> None:
        self._marks -= len(root.seen or ()) + _ROOT_WEIGHT

    def _load(self, key: bytes) -> Root | None:
        row = self._db.execute(
            "SELECT id, source, namespace, root, first_time, last_time, last, events, written, open"
            " FROM root WHERE key = ?",
            (key,),
        ).fetchone()
        if row is None:
            return None
        root = Root(key, row[0], (row[1], row[2], row[3]))
        root.first_time, root.last_time, root.last, root.events, root.written = row[4:9]
        root.open = row[9] == 1
        root.fresh = False
        root.seen = None
        return root

    def _marks_of(self, root: int) -> Iterator[int]:
        after = -1
        sql = "SELECT id, body FROM chunk WHERE root = ? AND id > ? ORDER BY id LIMIT ?"
        while rows := self._db.execute(sql, (root, after, _PAGE)).fetchall():
            for after, body in rows:
                try:
                    yield from open_chunk(after >> PLACE_BITS, body).marks()
                except UnreadableError:
                    continue  # its events are lost: should they come again, they are new
            if len(rows) < _PAGE:
                return
