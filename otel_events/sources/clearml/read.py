"""What ``replay clearml`` reads besides files of records: an offline session."""

from __future__ import annotations

from collections.abc import Iterator

from otel_events.model.record import Record, Refused
from otel_events.sources.clearml.session import is_session, records


def read(path: str) -> Iterator[Record | Refused] | None:
    """The records of an offline session.

    Args:
        path: the zip that the SDK writes, or the folder of it.

    Returns:
        The task first, then its flushes; what cannot be read as Refused. None where the path is no session.

    Raises:
        ConfigError: while reading, a zip without a session.
    """
    return _parts(path) if is_session(path) else None


def _parts(path: str) -> Iterator[Record | Refused]:
    for where, body, reason, length in records(path):
        yield Refused(where, reason, body, length) if reason else Record(body, where=where)
