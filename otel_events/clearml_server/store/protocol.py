"""What a store does, as three protocols: documents, reported events, and their retention.

A caller takes the protocol that it needs. Each is small, and every question is one that ClickHouse answers too:
ranges, groups, the newest of a key. ``Events`` never reads a value in order to write a changed one: it appends,
replaces by key, deletes by owner and reads. Only ``Documents.change`` reads, updates and writes in one step.

An event is a JSON object with ``type``, ``task``, ``iter``, ``metric``, ``variant``, ``timestamp`` and whatever else
its type has. What comes back is what went in, normalised: metric and variant are strings, ``iter`` is an integer where
there was one, and ``timestamp``, ``@timestamp``, ``worker`` and ``model_event`` are always there.

All methods may be called from any thread, and raise StoreError where the file cannot be read or written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from otel_events.clearml_server.store.model import (
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


class Documents(Protocol):
    """JSON objects by (kind, key): tasks, models, projects, queues, settings."""

    def put(self, kind: str, key: str, document: Mapping[str, Any]) -> None:
        """Store a document; one of the same kind and key is replaced."""

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        """The document, or None where there is none."""

    def find(
        self, kind: str, *, ids: Collection[str] | None = None, where: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Documents of a kind, in the order in which they were first put.

        Args:
            kind: The kind of document.
            ids: Only documents with these keys.
            where: Only documents whose top-level fields equal these values.
        """

    def change(
        self, kind: str, key: str, update: Callable[[dict[str, Any]], dict[str, Any] | None]
    ) -> dict[str, Any] | None:
        """Read, update and write one document as one step.

        Returns:
            The changed document; None where there is none, or where ``update`` gives None.
        """

    def remove(self, kind: str, key: str) -> bool:
        """Delete a document; whether there was one."""


class Events(Protocol):
    """Reported events: scalars, vectors, images, plots and log lines, by owner and series."""

    def add(self, events: Sequence[dict[str, Any]], *, worker: str, now_ms: int) -> Added:
        """Store events, the last write of a key wins; they are on disk when it returns.

        Args:
            events: ``type`` is one of TYPES and ``task`` the id of the owner (of a model where ``model_event`` is
                true): the caller has checked that.
            worker: For events that name none.
            now_ms: When they were received.

        Returns:
            How many were stored, and how many were refused, by reason.
        """

    def delete(self, owner: Owner, *, keep_summary: bool = False) -> int:
        """Hide all events of an owner at once, however many; ``Retention.collect`` frees the room later.

        Args:
            owner: Whose events.
            keep_summary: Keep its last metrics and last iteration, as ``events.delete_for_task`` does and a reset does
                not.

        Returns:
            How many events it had.
        """

    def series(
        self,
        owners: Sequence[Owner],
        types: Collection[str] = (),
        metrics: Metrics | None = None,
        *,
        with_events: bool = True,
    ) -> list[Series]:
        """The series of these owners, by owner as given, then metric, variant and type.

        Args:
            owners: Whose series.
            types: Only series of these types.
            metrics: Only these metrics and variants.
            with_events: Leave out series of which only the statistics are left (see ``delete``).
        """

    def summary(self, owner: Owner) -> Summary:
        """What its events say about an owner; that of an unknown owner is empty."""

    def bounds(self, series: Sequence[Series], axis: Axis) -> list[Bounds]:
        """How many points each series has on the axis, the least and the greatest.

        Single values are no points of a scalar series. Of images (by iteration only) those count that can still be
        seen: where a URL was used again, the older image is gone.
        """

    def histogram(self, series: Series, axis: Axis, interval: int) -> tuple[list[int], list[float | None]]:
        """(x, y) of a scalar series: the keys of the buckets that have points, floor(x / interval) * interval, and the
        mean of their values as 32-bit floats (None where no point of the bucket has a value)."""

    def points(self, series: Sequence[Series], iteration: int | None = None) -> list[dict[str, Any] | None]:
        """The event of each scalar series at an iteration; None where it has none.

        Args:
            series: Scalar series.
            iteration: Which one (SINGLE_VALUE too); None for the greatest one that has a value.
        """

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
        """Events in order of the axis; the last place is completed, so a page may exceed the limit.

        By iteration, those without one follow, unless ``numbered_only``. ``Page.total`` is exact.
        """

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
        """Log lines by (time, arrival), and the place of the last one.

        Args:
            owner: Whose lines.
            descending: Newest first.
            after: Begin behind this place.
            limit: Lines at most.
            metrics: Only lines of these metrics.
            complete: Add all further lines of the last time, so that a page may exceed the limit.
        """

    def reports(
        self, series: Sequence[Series], *, newest: int | None = None, low: int | None = None, high: int | None = None
    ) -> list[dict[str, Any]]:
        """Images, plots or vectors: of each series the ``newest`` iterations within [low, high], newest first."""

    def iterations(
        self,
        series: Sequence[Series],
        *,
        newest: int,
        low: int | None = None,
        high: int | None = None,
        up: bool = False,
    ) -> list[int]:
        """The greatest iterations (``up``: the least) of these report series together within [low, high]."""

    def overwritten(self, series: Series) -> int | None:
        """The iteration up to which images were overwritten: the second newest one of the newest image's URL."""


class Retention(Protocol):
    """What goes by age, size or filter, and how the room is freed."""

    def clear_log(
        self,
        owner: Owner,
        *,
        before_ms: float | None = None,
        include: Collection[str] = (),
        exclude: Collection[str] = (),
    ) -> int:
        """Delete log lines.

        Args:
            owner: Whose lines.
            before_ms: Only older ones; None for all.
            include: Only lines of these metrics.
            exclude: No lines of these metrics.

        Returns:
            How many were deleted.
        """

    def retain(self, limits: Limits, now_ms: int) -> Removed:
        """One step of retention: hide the owners that were least recently written; counted in ``removed_total``."""

    def collect(self) -> bool:
        """One short step of freeing what was hidden; whether there is more."""

    def removed_total(self) -> dict[str, int]:
        """Events removed since the store was created, by reason: age, bytes, deleted, log_cleared."""
