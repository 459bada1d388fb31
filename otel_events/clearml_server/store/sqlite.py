"""The store in one SQLite file: WAL, one writer at a time, a connection of its own for each question that is read."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from otel_events.clearml_server.store import documents, pages, read, reports, scalars, schema, sweep
from otel_events.clearml_server.store.model import (
    LOG,
    Added,
    Bounds,
    Limits,
    Metrics,
    Owner,
    Page,
    Position,
    Removed,
    Series,
    Summary,
    UniqueMetric,
)
from otel_events.clearml_server.store.normal import sort_out
from otel_events.clearml_server.store.write import Writer
from otel_events.journal.lock import WriterLock
from otel_events.model.errors import JournalError, StoreError

Axis = Literal["iter", "timestamp"]

_IDLE = 8
"""Connections that wait for the next question."""
_READER_CACHE_KIB = 2048


class SqliteStore:
    """See ``protocol.Store``. StoreError where another process writes the file.

    ``durability``: "full" is on disk when ``add`` returns; "normal" survives kill -9 but not a loss of power.
    ``max_bytes``: the file never grows beyond it and a quarter; then ``add`` raises StoreError.
    """

    def __init__(
        self, path: Path, *, durability: Literal["full", "normal"] = "normal", max_bytes: int | None = None
    ) -> None:
        self.path = path
        try:
            self._held = WriterLock(path)
        except JournalError as error:
            raise StoreError(f"cannot open the store: {error}") from error
        self._writing = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._open = threading.Lock()
        self._closed = False
        try:
            with schema.told(path, "open"):
                self._db = schema.connect(path, "rwc")
                with schema.closed_on_error(self._db):
                    schema.prepare(self._db, durability)
                    if max_bytes is not None:
                        size = int(self._db.execute("PRAGMA page_size").fetchone()[0])
                        self._db.execute(f"PRAGMA max_page_count = {max(64, (max_bytes + max_bytes // 4) // size)}")
                    self._writer = Writer(self._db)
        except BaseException:
            self._held.release()
            raise

    def close(self) -> None:
        """Any number of times. What is still being read is read to its end."""
        with self._writing, self._open:
            self._closed = True
            for db in (*self._idle, self._db):
                db.close()
            self._idle.clear()
        self._held.release()

    # Writing

    def add(self, events: Sequence[dict[str, Any]], *, worker: str, now_ms: int) -> Added:
        taken, refused = sort_out(events, worker, now_ms)
        added, more = 0, Counter[str]()
        if taken:
            with self._transaction():
                added, more = self._writer.write(taken, now_ms)
        return Added(added, dict(refused + more))

    def delete(self, owner: Owner, *, keep_summary: bool = False) -> int:
        with self._transaction(forget=True) as db:
            return sweep.hide(db, owner, "deleted", keep_summary)

    def clear_log(
        self,
        owner: Owner,
        *,
        before_ms: float | None = None,
        include: Collection[str] = (),
        exclude: Collection[str] = (),
    ) -> int:
        deleted, more = 0, True
        while more:
            with self._transaction(forget=True) as db:
                step, more = sweep.clear_lines(db, owner, before_ms, include, exclude)
            deleted += step
        return deleted

    def retain(self, limits: Limits, now_ms: int) -> Removed:
        with self._transaction(forget=True) as db:
            return sweep.retain(db, limits, now_ms)

    def collect(self) -> bool:
        with self._transaction() as db:
            return sweep.collect(db)

    # Reading

    def removed_total(self) -> dict[str, int]:
        with self._reading() as db:
            return dict(db.execute("SELECT name, value FROM counter ORDER BY name").fetchall())

    def bytes(self) -> int:
        """What the file holds, freed pages not counted."""
        with self._reading() as db:
            return schema.used_bytes(db)

    def series(
        self, owners: Sequence[Owner], types: Collection[str] = (), metrics: Metrics | None = None
    ) -> list[Series]:
        with self._reading() as db:
            return [s for owner in owners for s in read.series_of(db, owner, types, metrics)]

    def summary(self, owner: Owner) -> Summary:
        with self._reading() as db:
            return read.summary(db, owner)

    def unique_metrics(self, owners: Sequence[Owner]) -> list[UniqueMetric]:
        with self._reading() as db:
            return read.unique_metrics(db, owners)

    def bounds(self, series: Sequence[Series], axis: Axis) -> list[Bounds]:
        with self._reading() as db:
            return [scalars.bounds(db, s, axis) for s in series]

    def histogram(self, series: Series, axis: Axis, interval: int) -> tuple[list[int], list[float | None]]:
        with self._reading() as db:
            return scalars.histogram(db, series, axis, interval)

    def latest(self, series: Sequence[Series], *, positive: bool = False) -> list[tuple[dict[str, Any], float] | None]:
        with self._reading() as db:
            return scalars.latest(db, series, positive)

    def single_values(self, series: Sequence[Series]) -> list[dict[str, Any]]:
        with self._reading() as db:
            return scalars.single_values(db, series)

    def page(
        self,
        series: Sequence[Series],
        *,
        axis: Axis = "iter",
        descending: bool = False,
        after: Position | None = None,
        limit: int = 500,
        numbered_only: bool = False,
    ) -> Page:
        with self._reading() as db:
            return pages.page(db, series, axis, descending, after, limit, numbered_only)

    def log(
        self,
        owner: Owner,
        *,
        descending: bool,
        after: tuple[float, int] | None = None,
        limit: int = 500,
        metrics: Metrics | None = None,
        complete: bool = False,
    ) -> tuple[Page, tuple[float, int] | None]:
        with self._reading() as db:
            lines = read.series_of(db, owner, (LOG,), metrics)
            return pages.log(db, lines, descending, after, limit, complete)

    def reports(
        self, series: Sequence[Series], *, newest: int | None = None, low: int | None = None, high: int | None = None
    ) -> list[dict[str, Any]]:
        with self._reading() as db:
            return reports.reports(db, series, newest, low, high)

    def iterations(
        self,
        series: Sequence[Series],
        *,
        newest: int,
        low: int | None = None,
        high: int | None = None,
        up: bool = False,
    ) -> list[int]:
        with self._reading() as db:
            return reports.iterations(db, series, newest, low, high, up)

    def span(self, series: Series) -> Bounds:
        with self._reading() as db:
            return reports.span(db, series)

    def overwritten(self, series: Series) -> int | None:
        with self._reading() as db:
            return reports.overwritten(db, series)

    # Documents

    def put(self, kind: str, key: str, document: Mapping[str, Any]) -> None:
        with self._transaction() as db:
            documents.put(db, kind, key, document)

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        with self._reading() as db:
            return documents.get(db, kind, key)

    def find(
        self, kind: str, *, ids: Collection[str] | None = None, where: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        with self._reading() as db:
            return documents.find(db, kind, ids, where)

    def change(
        self,
        kind: str,
        key: str,
        update: Callable[[dict[str, Any]], dict[str, Any] | None],
    ) -> dict[str, Any] | None:
        with self._transaction() as db:
            found = documents.get(db, kind, key)
            changed = None if found is None else update(found)
            if changed is not None:
                documents.put(db, kind, key, changed)
            return changed

    def remove(self, kind: str, key: str) -> bool:
        with self._transaction() as db:
            return documents.remove(db, kind, key)

    # Connections

    @contextmanager
    def _transaction(self, forget: bool = False) -> Iterator[sqlite3.Connection]:
        with self._writing, schema.told(self.path, "write"):
            self._check()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                schema.rollback(self._db)
                self._writer.forget()
                raise
            if forget:
                self._writer.forget()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection of one's own, inside a read transaction: all that one question reads is of one moment."""
        with schema.told(self.path, "read"):
            db = self._take()
            try:
                db.execute("BEGIN")
                yield db
            finally:
                schema.rollback(db)
                self._give(db)

    def _take(self) -> sqlite3.Connection:
        with self._open:
            self._check()
            return self._idle.pop() if self._idle else schema.connect(self.path, "ro", _READER_CACHE_KIB)

    def _give(self, db: sqlite3.Connection) -> None:
        with self._open:
            if self._closed or len(self._idle) >= _IDLE:
                db.close()
            else:
                self._idle.append(db)

    def _check(self) -> None:
        if self._closed:
            raise StoreError(f"the store {self.path} is closed")
