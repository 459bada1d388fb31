"""The words of the store. An owner is the task or the model that events are of; a series is one metric and variant of
one type of event.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

SCALAR, VECTOR, IMAGE, PLOT, LOG = (
    "training_stats_scalar",
    "training_stats_vector",
    "training_debug_image",
    "plot",
    "log",
)
TYPES = (SCALAR, VECTOR, IMAGE, PLOT, LOG)
"""Types of events, as ClearML names them; the store keeps their places in this tuple."""
SINGLE_VALUE = -(2**31)
"""The iteration of a value that is no series (ClearML's ``report_single_value``)."""
IGNORED_ITERATIONS = frozenset((":monitor:machine", ":monitor:gpu"))
"""Metrics that a task's last iteration ignores: the resource monitor's iterations are seconds."""
MAX_UNIQUE_METRICS = 2_000
"""(metric, variant) pairs with statistics for each owner; later ones are stored without."""
MAX_SERIES = 50_000
"""Series of one owner; events of later ones are refused."""

Axis = Literal["iter", "timestamp"]
"""What orders the points of a series: the iteration, or the time of the event."""
Metrics = Mapping[str, Collection[str]]
"""A filter: metric to its variants; no variants: all of them. An empty or absent filter takes everything."""


class Owner(NamedTuple):
    """Whose events: the id of a task, or of a model where ``model`` is true."""

    id: str
    model: bool = False


class Added(msgspec.Struct):
    """What became of a batch: how many events were stored, and how many were refused, by reason."""

    added: int
    refused: dict[str, int]


class Stats(msgspec.Struct, array_like=True):
    """Statistics of every scalar that was received with a value, replaced points too. Iterations are 0 where an event
    had none."""

    value: float | int
    value_iter: int
    min: float | int
    min_iter: int
    max: float | int
    max_iter: int
    first: float | int
    first_iter: int
    count: int
    total: float
    label: str | None = None
    """``x_axis_label`` of the newest event that had one."""


class Series(msgspec.Struct):
    """One metric and variant of one type. ``events`` is exact; ``top`` is the greatest iteration, None without any."""

    id: int
    owner: Owner
    type: str
    metric: str
    variant: str
    events: int
    top: int | None
    time: float
    """The latest event time."""
    received: int
    """When the last event was received, by the server's clock."""
    stats: Stats | None


class Bounds(NamedTuple):
    """How many points a series has on one axis, the least and the greatest; None where there are none."""

    points: int
    low: float | int | None
    high: float | int | None


class Position(msgspec.Struct, array_like=True):
    """Where a page of events ended, which is where the next one begins.

    Events with an iteration (``at``) come first; those without follow, log lines last, by (time, number) = ``line``.
    """

    at: float | int | None
    line: tuple[float | int, int] | None = None


class Page(msgspec.Struct):
    """Events, in order. ``total``: of all pages. ``end``: where the next page begins, None for an empty first page."""

    events: list[dict[str, Any]]
    total: int
    end: Position | None


class Summary(msgspec.Struct):
    """What the events of an owner say about it. ``last_update``: when the last was received, None without events."""

    last_iteration: int = 0
    last_update: int | None = None
    last_metrics: dict[str, dict[str, dict[str, Any]]] = {}
    """{md5 of metric: {md5 of variant: value, min_value ...}}, in the order of the keys."""
    metric_stats: dict[str, dict[str, Any]] = {}
    """{md5 of metric: {"metric", "event_stats_by_type": {type: {"last_update"}}}}"""


class Limits(NamedTuple):
    """Retention. None: no limit. Age is counted from the last event that was received for the owner."""

    max_age_ms: int | None = None
    max_bytes: int | None = None


class Removed(msgspec.Struct):
    """What one step of retention hid: owners, and events by reason (age, bytes). ``more``: another step is needed."""

    owners: list[Owner] = []
    events: dict[str, int] = {}
    more: bool = False


def hashed(name: str) -> str:
    """The key that ClearML gives a metric's or a variant's name in ``last_metrics``."""
    return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()


def described(metric: str, variant: str, stats: Stats) -> dict[str, Any]:
    """One entry of ``last_metrics``."""
    entry = {
        "metric": metric,
        "variant": variant,
        "value": stats.value,
        "min_value": stats.min,
        "min_value_iteration": stats.min_iter,
        "max_value": stats.max,
        "max_value_iteration": stats.max_iter,
        "first_value": float(stats.first),
        "first_value_iteration": stats.first_iter,
        "count": stats.count,
        "mean_value": round(stats.total / stats.count, 2),
    }
    if stats.label is not None:
        entry["x_axis_label"] = stats.label
    return entry
