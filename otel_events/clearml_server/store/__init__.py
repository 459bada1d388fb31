"""What tasks reported, kept for queries: scalar series, logs by time, reports, a summary of each task, small documents.

``protocol`` says what a store does; ``SqliteStore`` is the one of one file. Times are epoch milliseconds UTC.
"""

from otel_events.clearml_server.store.keeper import Keeper
from otel_events.clearml_server.store.model import (
    IMAGE,
    LOG,
    PLOT,
    SCALAR,
    SINGLE_VALUE,
    TYPES,
    VECTOR,
    Added,
    Bounds,
    Limits,
    Metrics,
    Owner,
    Page,
    Position,
    Removed,
    Series,
    Stats,
    Summary,
    UniqueMetric,
)
from otel_events.clearml_server.store.protocol import Store
from otel_events.clearml_server.store.sqlite import SqliteStore

__all__ = [
    "IMAGE",
    "LOG",
    "PLOT",
    "SCALAR",
    "SINGLE_VALUE",
    "TYPES",
    "VECTOR",
    "Added",
    "Bounds",
    "Keeper",
    "Limits",
    "Metrics",
    "Owner",
    "Page",
    "Position",
    "Removed",
    "Series",
    "SqliteStore",
    "Stats",
    "Store",
    "Summary",
    "UniqueMetric",
]
