"""The store in one SQLite file: documents, events and their retention as three objects over one database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from otel_events.clearml_server.store import pages, read, reports, scalars, schema, sweep
from otel_events.clearml_server.store.database import Database
from otel_events.clearml_server.store.documents import SqliteDocuments
from otel_events.clearml_server.store.model import (
    LOG,
    SCALAR,
    Added,
    Axis,
    Bounds,
    Limits,
    Metrics,
    Owner,
    Page,
    Position,
    Removed,
    Series,
    Summary,
)
from otel_events.clearml_server.store.normal import sort_out
from otel_events.clearml_server.store.write import Writer


class SqliteStore:
    """One file with what ClearML's tasks are and report.

    ``documents``, ``events`` and ``retention`` fulfil the protocols of those names.
    """

    def __init__(
        self, path: Path, *, durability: Literal["full", "normal"] = "normal", max_bytes: int | None = None
    ) -> None:
        """Open the file, or create it.

        Args:
            path: The file.
            durability: "full" is on disk when ``add`` returns; "normal" survives kill -9 but not a loss of power.
            max_bytes: The file never grows beyond it and a quarter; then ``add`` raises StoreError.

        Raises:
            StoreError: Another process writes the file, or it cannot be opened.
        """
        self._database = Database(path, durability, max_bytes)
        try:
            with schema.explained(path, "open"):
                writer = Writer(self._database.writer)
        except BaseException:
            self._database.close()
            raise
        self.path = path
        self.documents = SqliteDocuments(self._database)
        self.events = SqliteEvents(self._database, writer)
        self.retention = SqliteRetention(self._database, writer)

    def bytes(self) -> int:
        """What the file holds, freed pages not counted."""
        with self._database.reading() as db:
            return schema.used_bytes(db)

    def close(self) -> None:
        """Close the file, any number of times. What is still being read is read to its end."""
        self._database.close()


class SqliteEvents:
    """``protocol.Events`` in one SQLite file."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database, self._writer = database, writer

    def add(self, events: Sequence[dict[str, Any]], *, worker: str, now_ms: int) -> Added:
        rows, refused = sort_out(events, worker, now_ms)
        added, over_limit = 0, Counter[str]()
        if rows:
            # After a failed transaction the writer would remember rows that the file does not have.
            with self._database.transaction(self._writer.forget):
                added, over_limit = self._writer.write(rows, now_ms)
        return Added(added, dict(refused + over_limit))

    def delete(self, owner: Owner, *, keep_summary: bool = False) -> int:
        with self._database.transaction() as db:
            self._writer.forget()
            return sweep.hide(db, owner, "deleted", keep_summary)

    def series(
        self,
        owners: Sequence[Owner],
        types: Collection[str] = (),
        metrics: Metrics | None = None,
        *,
        with_events: bool = True,
    ) -> list[Series]:
        with self._database.reading() as db:
            return [s for owner in owners for s in read.series_of(db, owner, types, metrics, with_events)]

    def summary(self, owner: Owner) -> Summary:
        with self._database.reading() as db:
            return read.summary(db, owner)

    def bounds(self, series: Sequence[Series], axis: Axis) -> list[Bounds]:
        with self._database.reading() as db:
            return [scalars.bounds(db, s, axis) if s.type == SCALAR else reports.bounds(db, s) for s in series]

    def histogram(self, series: Series, axis: Axis, interval: int) -> tuple[list[int], list[float | None]]:
        with self._database.reading() as db:
            return scalars.histogram(db, series, axis, interval)

    def points(self, series: Sequence[Series], iteration: int | None = None) -> list[dict[str, Any] | None]:
        with self._database.reading() as db:
            return scalars.points(db, series, iteration)

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
        with self._database.reading() as db:
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
        with self._database.reading() as db:
            lines = read.series_of(db, owner, (LOG,), metrics)
            return pages.log(db, lines, descending, after, limit, complete)

    def reports(
        self, series: Sequence[Series], *, newest: int | None = None, low: int | None = None, high: int | None = None
    ) -> list[dict[str, Any]]:
        with self._database.reading() as db:
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
        with self._database.reading() as db:
            return reports.iterations(db, series, newest, low, high, up)

    def overwritten(self, series: Series) -> int | None:
        with self._database.reading() as db:
            return reports.overwritten(db, series)


class SqliteRetention:
    """``protocol.Retention`` in one SQLite file. What deletes makes the writer forget what it remembers of the file."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database, self._writer = database, writer

    def clear_log(
        self,
        owner: Owner,
        *,
        before_ms: float | None = None,
        include: Collection[str] = (),
        exclude: Collection[str] = (),
    ) -> int:
        deleted, more = 0, True
        while more:  # in steps, so that a batch never waits long for a transaction
            with self._database.transaction() as db:
                self._writer.forget()
                step, more = sweep.clear_lines(db, owner, before_ms, include, exclude)
            deleted += step
        return deleted

    def retain(self, limits: Limits, now_ms: int) -> Removed:
        with self._database.transaction() as db:
            self._writer.forget()
            return sweep.retain(db, limits, now_ms)

    def collect(self) -> bool:
        with self._database.transaction() as db:
            return sweep.collect(db)

    def removed_total(self) -> dict[str, int]:
        with self._database.reading() as db:
            return dict(db.execute("SELECT name, value FROM counter ORDER BY name").fetchall())
