"""What a store does. Small, and every question one that ClickHouse answers too: ranges, groups, the newest of a key.

An event is a JSON object (3.2 of ClearML's facts): ``type``, ``task``, ``iter``, ``metric``, ``variant``, ``timestamp``
and what else its type has. What comes back is what went in, normalised: metric and variant are strings, ``iter`` an
integer where there was one, ``timestamp``, ``@timestamp``, ``worker`` and ``model_event`` always there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, Protocol

from otel_events.clearml_server.store.model import (
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

Axis = Literal["iter", "timestamp"]


class Store(Protocol):
    """All methods may be called from any thread. StoreError where the file cannot be read or written."""

    # Writing

    def add(self, events: Sequence[dict[str, Any]], *, worker: str, now_ms: int) -> Added:
        """Keep events, last write wins; on disk when it returns. One that cannot be kept is refused with a reason.

        ``type`` is one of TYPES and ``task`` the owner's id (``model_event`` true: a model's): the caller has looked.
        ``worker``: for events that name none.
        """

    def delete(self, owner: Owner, *, keep_summary: bool = False) -> int:
        """Hide all events of an owner at once, at any number of them; ``collect`` frees the room. How many they were.

        ``keep_summary``: its last metrics and last iteration stay (events.delete_for_task; a reset forgets them).
        """

    def clear_log(
        self,
        owner: Owner,
        *,
        before_ms: float | None = None,
        include: Collection[str] = (),
        exclude: Collection[str] = (),
    ) -> int:
        """Delete log lines older than ``before_ms`` (None: all), of these metrics only, or not of those. How many."""

    def retain(self, limits: Limits, now_ms: int) -> Removed:
        """One step of retention: hide the owners that were least recently written; counted in ``removed_total``."""

    def collect(self) -> bool:
        """One short step of freeing what was hidden; whether there is more."""

    def removed_total(self) -> dict[str, int]:
        """Events that were removed since the store was made, by reason: age, bytes, deleted, log_cleared."""

    # Reading

    def series(
        self, owners: Sequence[Owner], types: Collection[str] = (), metrics: Metrics | None = None
    ) -> list[Series]:
        """The series that have events, by owner as given, then metric, variant and type."""

    def summary(self, owner: Owner) -> Summary:
        """What its events say about it; that of an unknown owner is empty."""

    def unique_metrics(self, owners: Sequence[Owner]) -> list[UniqueMetric]:
        """The metrics and variants of last metrics, once each, in order."""

    def bounds(self, series: Sequence[Series], axis: Axis) -> list[Bounds]:
        """For each scalar series: points on the axis, the least and the greatest. Single values are no points."""

    def histogram(self, series: Series, axis: Axis, interval: int) -> tuple[list[int], list[float | None]]:
        """(x, y): keys of the buckets that have points, floor(x / interval) * interval, and the mean of their float32
        values, None where no point of the bucket has one."""

    def latest(self, series: Sequence[Series], *, positive: bool = False) -> list[tuple[dict[str, Any], float] | None]:
        """(event, float32 of its value) of each scalar series' greatest iteration; ``positive``: with a value > 0."""

    def single_values(self, series: Sequence[Series]) -> list[dict[str, Any]]:
        """The events of iteration SINGLE_VALUE of these scalar series."""

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
        """Events by iteration; the last iteration is completed, so a page may exceed the limit.

        Those without an iteration follow, unless ``numbered_only``. ``total`` is exact.
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
        """Log lines by (time, arrival), and the place of the last. ``complete``: with all lines of the last time."""

    def reports(
        self,
        series: Sequence[Series],
        *,
        newest: int | None = None,
        low: int | None = None,
        high: int | None = None,
    ) -> list[dict[str, Any]]:
        """Images, plots or vectors, of each series the ``newest`` iterations within [low, high], by iteration."""

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

    def span(self, series: Series) -> Bounds:
        """Of the iterations of a report series that can still be seen: an image whose url was used again cannot."""

    def overwritten(self, series: Series) -> int | None:
        """The iteration up to which images were overwritten: the second newest one of the newest image's url."""

    # Documents

    def put(self, kind: str, key: str, document: Mapping[str, Any]) -> None: ...

    def get(self, kind: str, key: str) -> dict[str, Any] | None: ...

    def find(
        self, kind: str, *, ids: Collection[str] | None = None, where: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Documents in the order in which they were first put; ``where``: top-level fields that equal these values."""

    def change(
        self,
        kind: str,
        key: str,
        update: Callable[[dict[str, Any]], dict[str, Any] | None],
    ) -> dict[str, Any] | None:
        """Read, update and write one document as one step; None where there is none or ``update`` gives None."""

    def remove(self, kind: str, key: str) -> bool: ...

    def close(self) -> None: ...
