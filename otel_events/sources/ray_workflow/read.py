"""What ``replay ray-workflow`` reads besides files of records: a storage of Ray's workflows."""

from __future__ import annotations

from collections.abc import Iterator

from otel_events.model.record import Record
from otel_events.sources.ray_workflow.files import is_storage
from otel_events.sources.ray_workflow.poll import records


def read(path: str) -> Iterator[Record] | None:
    """The workflows in a storage, a record each.

    Args:
        path: a folder or URL, as ``ray.init(storage=...)`` takes it.

    Returns:
        The records as they are read; None where the path is no storage.

    Raises:
        ConfigError: while reading, a storage that cannot be read.
    """
    if not is_storage(path):
        return None
    return (Record(body, where=where) for where, body in records(path))
