"""Our own events as JSON objects, one a record: what POST /v1/events takes and ``replay events`` reads."""

from __future__ import annotations

import msgspec

from otel_events.model.errors import DecodeError
from otel_events.model.event import AnyEvent, PhaseChange
from otel_events.sources.documents import parse

_decoder = msgspec.json.Decoder(AnyEvent)


def decode(record: bytes, hint: str = "") -> list[AnyEvent]:
    """Decode one event of ours.

    Args:
        record: A JSON object of the event union (model/event.py), with the tag ``event``.
        hint: Not used: the tag says which event it is.

    Returns:
        A list of the one event.

    Raises:
        DecodeError: The record is no such object; it names the field that does not fit.

    >>> record = b'{"event": "log", "id": "1", "time": 1, "run": {"source": "mine", "kind": "task", "id": "a",'
    >>> record += b' "name": "load", "root": "a"}, "message": "started"}'
    >>> decode(record)[0].message
    'started'
    """
    event = parse(_decoder, record, "an event of ours", "sources.md")
    problem = _problem(event)
    if problem:
        raise DecodeError(f"not an event of ours: {problem}; see docs/sources.md for the shape")
    return [event]


def _problem(event: AnyEvent) -> str:
    """What an event of the right shape lacks; "" for nothing."""
    run = event.run
    if event.time <= 0:
        return "`time` must be nanoseconds since the epoch, above 0"
    if not event.id:
        return "`id` is empty"
    if not (run.source and run.id and run.root):
        return "`run` needs source, id and root"
    if isinstance(event, PhaseChange) and not (event.phase or event.native):
        return "a phase change needs `phase` or `native`"
    return ""
