"""The decoder of Ray's event export (2.49 and later), and of what Ray's dashboard answers.

A record of the export is one event, the array that Ray POSTs, or a recorded POST with its body. Keys may be camelCase
or snake_case (RAY_DASHBOARD_AGGREGATOR_AGENT_PRESERVE_PROTO_FIELD_NAME). Events of one record share what its
definitions say of a task; the fold joins the rest, so it does not matter how events are cut into records. An answer of
the dashboard is recognized by its hint and decoded in ``jobs.py`` and ``state.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from otel_events.model.errors import DecodeError, PartlyDecoded
from otel_events.model.event import AnyEvent
from otel_events.model.nesting import shallow
from otel_events.sources.ray import cluster as ray_cluster
from otel_events.sources.ray import jobs as ray_jobs
from otel_events.sources.ray import profiles as ray_profiles
from otel_events.sources.ray import state as ray_state
from otel_events.sources.ray import tasks as ray_tasks
from otel_events.sources.ray.batch import Batch
from otel_events.sources.ray.fields import wrong
from otel_events.sources.ray.shapes import RayEvent

__all__ = ["decode"]

_events = msgspec.json.Decoder(list[RayEvent])
_event = msgspec.json.Decoder(RayEvent)
_pieces = msgspec.json.Decoder(list[msgspec.Raw])
_any: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class _Post(msgspec.Struct):
    """A recorded POST, of which only the body is read."""

    body: msgspec.Raw


_post = msgspec.json.Decoder(_Post)

DecodeBody = Callable[[RayEvent, Any], Iterator[AnyEvent]]

BODIES: tuple[tuple[str, DecodeBody], ...] = (
    ("driver_job_definition_event", ray_cluster.job_definition),
    ("driver_job_lifecycle_event", ray_cluster.job_lifecycle),
    ("actor_definition_event", ray_cluster.actor_definition),
    ("actor_lifecycle_event", ray_cluster.actor_lifecycle),
    ("node_definition_event", ray_cluster.node_definition),
    ("node_lifecycle_event", ray_cluster.node_lifecycle),
    ("worker_definition_event", ray_cluster.worker_definition),
    ("worker_lifecycle_event", ray_cluster.worker_lifecycle),
)
"""(field that holds the body of an event that is not of a task, what decodes it)."""


ANSWERS: dict[str, Callable[[bytes, str], list[AnyEvent]]] = {
    ray_jobs.HINT: ray_jobs.decode,
    ray_state.HINT: ray_state.decode,
}
"""Hint of a record that holds an answer of the dashboard -> what decodes it."""


def decode(record: bytes, hint: str = "") -> list[AnyEvent]:
    """Decode one record of Ray.

    Args:
        record: JSON: an event, an array of events, a recorded POST, or an answer of the dashboard.
        hint: ``ray.jobs`` or ``ray.state`` for an answer of the dashboard.

    Returns:
        The events, in the order of the record.

    Raises:
        DecodeError: The record is none of these.
        PartlyDecoded: Some elements of the array are no events; it holds the events of the others.
    """
    if hint in ANSWERS:
        return ANSWERS[hint](record, hint)
    start = record.lstrip()[:1]
    if start == b"[":
        return _array(record)
    if start != b"{":
        raise wrong("neither an object nor an array")
    body = _body(record)
    return _array(body) if body is not None else _decode_all([_parsed(record)])


def _body(record: bytes) -> bytes | None:
    """The body of a recorded POST; None for any other record."""
    try:
        return bytes(_post.decode(record).body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None


def _array(record: bytes) -> list[AnyEvent]:
    try:
        return _decode_all(_events.decode(shallow(record)))
    except (msgspec.MsgspecError, RecursionError, UnicodeError, DecodeError):
        return _piecemeal(record)


def _piecemeal(record: bytes) -> list[AnyEvent]:
    """The events of an array whose elements are parsed one by one: a malformed element fails alone, and keys may be
    snake_case."""
    try:
        pieces = _pieces.decode(record)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise wrong(f"not a JSON array ({error})") from error
    good: list[RayEvent] = []
    bad: list[tuple[str, str, bytes]] = []
    for index, piece in enumerate(pieces):
        try:
            raw = _parsed(bytes(piece))
            _decode_all([raw])
            good.append(raw)
        except DecodeError as error:
            bad.append((f"[{index}]", str(error), bytes(piece)))
    events = _decode_all(good)  # together, because they share what their definitions say
    if bad:
        raise PartlyDecoded(f"{bad[0][0]}: {bad[0][1]}", events, bad)
    return events


def _parsed(record: bytes) -> RayEvent:
    """One event with keys in camelCase or snake_case; DecodeError for anything else."""
    try:
        return _event.decode(shallow(record))
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        camel_case_error = error
    try:
        return msgspec.convert(_camel(_any.decode(shallow(record))), RayEvent)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise wrong(str(camel_case_error)) from camel_case_error


_VALUES = frozenset(
    ("metadata", "labels", "label_selector", "resources", "required_resources", "task_state", "ref_ids")
)
"""Fields that hold a user's own mapping: its keys stay as they are."""
_WORD = re.compile("_([a-z0-9])")


def _camel(value: Any) -> Any:
    """The value with keys in camelCase."""
    if isinstance(value, dict):
        return {_WORD.sub(lambda m: m[1].upper(), k): v if k in _VALUES else _camel(v) for k, v in value.items()}
    return [_camel(element) for element in value] if isinstance(value, list) else value


def _decode_all(raws: list[RayEvent]) -> list[AnyEvent]:
    """The events of one record; its definitions are read first, since the other events use them."""
    batch = Batch()
    for raw in raws:
        if (body := raw.task_definition_event or raw.actor_task_definition_event) is not None:
            batch.define(raw, body)
    events: list[AnyEvent] = []
    for raw in raws:
        events += _decode_event(raw, batch)
    return events


def _decode_event(raw: RayEvent, batch: Batch) -> Iterable[AnyEvent]:
    if not raw.event_id:
        raise wrong("`eventId` is empty")
    lifecycle = raw.task_lifecycle_event or raw.task_execution_event
    if lifecycle is not None:
        return ray_tasks.lifecycle(raw, lifecycle, batch)
    definition = raw.task_definition_event or raw.actor_task_definition_event
    if definition is not None:
        return ray_tasks.definition(raw, definition, batch)
    if raw.task_profile_events is not None:
        return ray_profiles.profile(raw, raw.task_profile_events, batch)
    for field, decode_body in BODIES:
        if (body := getattr(raw, field)) is not None:
            return decode_body(raw, body)
    return ray_cluster.other(raw)
