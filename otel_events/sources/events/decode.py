"""Our own events as JSON objects, one a record: what POST /v1/events takes and ``replay events`` reads."""

from __future__ import annotations

import msgspec

from otel_events.model.errors import DecodeError
from otel_events.model.event import AnyEvent, PhaseChange
from otel_events.model.nesting import shallow

_decoder = msgspec.json.Decoder(AnyEvent)


def decode(record: bytes, hint: str = "") -> list[AnyEvent]:
    """One event; DecodeError names the field that does not fit."""
    try:
        event = _decoder.decode(shallow(record))
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise DecodeError(f"not an event of ours: {error}; see docs/sources.md for the shape") from error
    problem = _problem(event)
    if problem:
        raise DecodeError(f"not an event of ours: {problem}; see docs/sources.md for the shape")
    return [event]


def _problem(event: AnyEvent) -> str:
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
