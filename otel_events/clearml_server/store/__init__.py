"""What tasks reported, stored for queries: scalar series, logs by time, reports, a summary of each task; and small
documents.

``protocol`` says what a store does, ``SqliteStore`` does it in one file. Times are epoch milliseconds UTC.
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
    Axis,
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
)
from otel_events.clearml_server.store.protocol import Documents, Events, Retention
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
    "Axis",
    "Bounds",
    "Documents",
    "Events",
    "Keeper",
    "Limits",
    "Metrics",
    "Owner",
    "Page",
    "Position",
    "Removed",
    "Retention",
    "Series",
    "SqliteStore",
    "Stats",
    "Summary",
]
