"""The store's SQLite file: WAL, one writer at a time, a connection of its own for each question that is read."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from otel_events.clearml_server.store import schema
from otel_events.journal import sqlite
from otel_events.journal.lock import WriterLock
from otel_events.model.errors import JournalError, StoreError

_IDLE_CONNECTIONS = 8
"""Connections that wait for the next question."""
_READER_CACHE_KIB = 2048


class Database:
    """Connections to one file: one that writes, and a few that read.

    All methods may be called from any thread. Errors of SQLite are raised as StoreError.
    """

    def __init__(self, path: Path, durability: Literal["full", "normal"], max_bytes: int | None) -> None:
        """Open the file, or create it.

        Raises:
            StoreError: Another process writes the file, or it cannot be opened.
        """
        self.path = path
        try:
            self._writer_lock = WriterLock(path)
        except JournalError as error:
            raise StoreError(f"cannot open the store: {error}") from error
        self._writing = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._idle_lock = threading.Lock()
        self._closed = False
        try:
            with schema.explained(path, "open"):
                self.writer = schema.connect(path, "rwc")
                with sqlite.closed_on_error(self.writer):
                    schema.prepare(self.writer, durability)
                    if max_bytes is not None:
                        schema.limit_size(self.writer, max_bytes)
        except BaseException:
            self._writer_lock.release()
            raise

    def close(self) -> None:
        """Close all connections, any number of times. What is still being read is read to its end."""
        with self._writing, self._idle_lock:
            self._closed = True
            for db in (*self._idle, self.writer):
                db.close()
            self._idle.clear()
        self._writer_lock.release()

    @contextmanager
    def transaction(self, rolled_back: Callable[[], None] = lambda: None) -> Iterator[sqlite3.Connection]:
        """One writing transaction; others wait for it.

        Args:
            rolled_back: Called when the transaction failed, while no other can begin.
        """
        with self._writing, schema.explained(self.path, "write"):
            self._check_open()
            self.writer.execute("BEGIN IMMEDIATE")  # takes the write lock now: a later upgrade could fail half way
            try:
                yield self.writer
                self.writer.execute("COMMIT")
            except BaseException:
                sqlite.rollback(self.writer)
                rolled_back()
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a read transaction: all that one question reads is of one moment."""
        with schema.explained(self.path, "read"):
            db = self._borrow()
            try:
                db.execute("BEGIN")
                yield db
            finally:
                sqlite.rollback(db)
                self._give_back(db)

    def _borrow(self) -> sqlite3.Connection:
        with self._idle_lock:
            self._check_open()
            return self._idle.pop() if self._idle else schema.connect(self.path, "ro", _READER_CACHE_KIB)

    def _give_back(self, db: sqlite3.Connection) -> None:
        with self._idle_lock:
            if self._closed or len(self._idle) >= _IDLE_CONNECTIONS:
                db.close()
            else:
                self._idle.append(db)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the store {self.path} is closed")
