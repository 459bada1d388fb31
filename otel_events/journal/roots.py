"""The roots in the memory of the writer: the row of each, and the marks of its events, by which repeats are
recognized."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from otel_events.journal.pack import UnreadableError, guard, open_chunk, plain_text, unguard
from otel_events.journal.schema import PLACE_BITS
from otel_events.model.event import AnyEvent
from otel_events.model.identity import trace_id

_KEYS = 65_536
_PAGE = 32
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_ROOT_WEIGHT = 8
_LOADED = 64
"""Roots that one statement looks for; always this number of values, so that SQLite parses it once."""
_COLUMNS = "key, id, source, namespace, root, first_time, last_time, last, events, written, open"
_SELECT_ONE = f"SELECT {_COLUMNS} FROM root WHERE key = ?"  # noqa: S608 - constants
_SELECT = f"SELECT {_COLUMNS} FROM root WHERE key IN ({', '.join('?' * _LOADED)})"  # noqa: S608 - constants


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
        first, last = min(times), max(times)
        if first < _INT_MIN or last > _INT_MAX:
            first, last = _int64(first), _int64(last)
        if not self.events:
            self.first_time, self.last_time = first, last
        else:
            self.first_time = min(self.first_time, first)
            self.last_time = max(self.last_time, last)
        self.events += len(times)

    def changed(self) -> tuple[int, ...]:
        """For UPDATE."""
        return (self.first_time, self.last_time, self.last, self.events, self.written, self.id)

    def row(self) -> tuple[object, ...]:
        """For INSERT, in the order of the table's columns."""
        return (self.id, self.key, *self.text, self.first_time, self.last_time, self.last, self.events, self.written,
                int(self.open))  # fmt: skip


def _padded(keys: Sequence[bytes]) -> list[bytes | None]:
    return [*keys, *[None] * (_LOADED - len(keys))]


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
        return self.load((key,)).get(key)

    def load(self, keys: Iterable[bytes]) -> dict[bytes, Root]:
        """As ``get`` for many: those of the roots that there are."""
        roots, loaded = self._roots, dict[bytes, Root]()
        keys = dict.fromkeys(keys)
        self._load([key for key in keys if key not in roots])
        for key in keys:
            root = roots.get(key)
            if root is not None:
                roots.move_to_end(key)
                loaded[key] = root
        return loaded

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

    def marked(self, count: int) -> None:
        """So many marks have been added to those of roots."""
        self._marks += count

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
        """Forget all roots: after a failed commit memory and disk may differ."""
        self._roots.clear()
        self._marks = 0

    def _count_off(self, root: Root) -> None:
        self._marks -= len(root.seen or ()) + _ROOT_WEIGHT

    def _load(self, keys: Sequence[bytes]) -> None:
        for at in range(0, len(keys), _LOADED):
            some = keys[at : at + _LOADED]
            single = len(some) == 1
            for row in self._db.execute(_SELECT_ONE if single else _SELECT, some if single else _padded(some)):
                root = self._roots[row[0]] = Root(row[0], row[1], row[2:5])
                root.first_time, root.last_time, root.last, root.events, root.written = row[5:10]
                root.open = row[10] == 1
                root.fresh = False
                root.seen = None
                self._marks += _ROOT_WEIGHT

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
