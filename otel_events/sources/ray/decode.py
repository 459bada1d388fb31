"""Ray's event export (2.49 and later): one event, the array that Ray POSTs, or a recorded POST with its body; and, by
hint, what its dashboard answers when it is asked (ray_jobs, ray_state).

Keys may be camelCase or snake_case (RAY_DASHBOARD_AGGREGATOR_AGENT_PRESERVE_PROTO_FIELD_NAME). Events of one record
share what its definitions tell of a task; the fold joins the rest, whichever way events are cut into records.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from otel_events.core import redact
from otel_events.core.redact import Redacted
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
    """A recorded POST: its body, and things of its way that no run has."""

    body: msgspec.Raw


_post = msgspec.json.Decoder(_Post)

Make = Callable[[RayEvent, Any], Iterator[AnyEvent]]

BODIES: tuple[tuple[str, Make], ...] = (
    ("driver_job_definition_event", ray_cluster.job_definition),
    ("driver_job_lifecycle_event", ray_cluster.job_lifecycle),
    ("actor_definition_event", ray_cluster.actor_definition),
    ("actor_lifecycle_event", ray_cluster.actor_lifecycle),
    ("node_definition_event", ray_cluster.node_definition),
    ("node_lifecycle_event", ray_cluster.node_lifecycle),
    ("worker_definition_event", ray_cluster.worker_definition),
    ("worker_lifecycle_event", ray_cluster.worker_lifecycle),
)
"""Field that holds the body of an event that is no task's -> what it becomes."""


ASKED: dict[str, Callable[[bytes, str], list[AnyEvent]]] = {
    ray_jobs.HINT: ray_jobs.decode,
    ray_state.HINT: ray_state.decode,
}
"""Hint of a record that an answer of the dashboard is in -> what decodes it."""


def decode(record: bytes, hint: str = "") -> list[AnyEvent]:
    """The events of one record. Raises DecodeError for what is none, PartlyDecoded where a part of an array is none."""
    if hint in ASKED:
        return ASKED[hint](record, hint)
    start = record.lstrip()[:1]
    if start == b"[":
        return _array(record)
    if start != b"{":
        raise wrong("neither an object nor an array")
    body = _body(record)
    return _array(body) if body is not None else _take([_one(record)])


def _body(record: bytes) -> bytes | None:
    """The body of a recorded POST; None for what is none."""
    try:
        return bytes(_post.decode(record).body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None


def _array(record: bytes) -> list[AnyEvent]:
    try:
        return _take(_events.decode(shallow(record)))
    except (msgspec.MsgspecError, RecursionError, UnicodeError, DecodeError):
        return _piecemeal(record)


def _piecemeal(record: bytes) -> list[AnyEvent]:
    """Event by event: one that is none costs itself only, and snake_case is understood."""
    try:
        pieces = _pieces.decode(record)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise wrong(f"not a JSON array ({error})") from error
    good: list[RayEvent] = []
    bad: list[tuple[str, str, bytes]] = []
    for index, piece in enumerate(pieces):
        try:
            raw = _one(bytes(piece))
            _take([raw])
            good.append(raw)
        except DecodeError as error:
            bad.append((f"[{index}]", str(error), bytes(piece)))
    events = _take(good)
    if bad:
        raise PartlyDecoded(f"{bad[0][0]}: {bad[0][1]}", events, bad)
    return events


def _one(record: bytes) -> RayEvent:
    try:
        return _event.decode(shallow(record))
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        told = error
    try:
        return msgspec.convert(_camel(_any.decode(shallow(record))), RayEvent)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise wrong(str(told)) from told


_VALUES = frozenset(
    ("metadata", "labels", "label_selector", "resources", "required_resources", "task_state", "ref_ids")
)
"""Fields whose keys are values."""
_WORD = re.compile("_([a-z0-9])")


def _camel(value: Any) -> Any:
    """The same with keys in camelCase."""
    if isinstance(value, dict):
        return {_WORD.sub(lambda m: m[1].upper(), k): v if k in _VALUES else _camel(v) for k, v in value.items()}
    return [_camel(one) for one in value] if isinstance(value, list) else value


def _take(raws: list[RayEvent]) -> list[AnyEvent]:
    """Events that are redacted already: what there is most of, where it holds a text that may be a secret."""
    batch = Batch()
    for raw in raws:
        if (body := raw.task_definition_event or raw.actor_task_definition_event) is not None:
            batch.define(raw, body)
    found = Redacted()
    for raw in raws:
        found += _made(raw, batch)
    return found


def _made(raw: RayEvent, batch: Batch) -> list[AnyEvent]:
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
    for field, make in BODIES:
        if (body := getattr(raw, field)) is not None:
            return redact.events(make(raw, body))
    return redact.events(ray_cluster.other(raw))
