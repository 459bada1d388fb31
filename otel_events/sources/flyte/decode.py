"""Flyte as a source: every form in which its events are recorded or sent, recognized by content and by hint.

Taken: the event messages of flyteidl 1.16 (workflow, node, task), bare or in their admin requests, as protobuf or
proto3 JSON; the same as CloudEvents (versions 1 and 2; structured, binary, protobuf), in SNS, Pub/Sub and Kafka
messages and gRPC captures; lines of propeller's text sink; Flyte 2's RecordRequest. Run ids: workflow
``project/domain/name``, node ``{workflow}/{node_id}``, task ``{node}/{task name}``, array sub-task ``{task}/{index}``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from flyteidl.admin import event_pb2 as admin_pb2
from flyteidl.core import metrics_pb2
from flyteidl.event import cloudevents_pb2, event_pb2
from google.protobuf.message import DecodeError as ProtobufError

from otel_events.model.bounded import remember
from otel_events.model.errors import DecodeError
from otel_events.model.event import AnyEvent
from otel_events.model.nesting import shallow
from otel_events.sources.flyte import v2 as flyte_v2
from otel_events.sources.flyte.base import CACHE_LIMIT, is_named
from otel_events.sources.flyte.enriched import enriched_node, enriched_task, enriched_workflow
from otel_events.sources.flyte.fast import decode_fast
from otel_events.sources.flyte.node import decode_node, decode_workflow
from otel_events.sources.flyte.protojson import read
from otel_events.sources.flyte.task import decode_task
from otel_events.sources.flyte.transports import decode_line, unwrap, unwrap_protobuf

_DEPTH = 4
"""Most wrappings within each other: a notification holds a CloudEvent, which holds an event."""
_FIELD_2 = 0x12
"""First byte of an admin request without a request id, as propeller sends them; an event begins with its field 1."""
_SPAN = (
    "a flyteidl.core.Span tree (GetExecutionMetrics) is a sum over events, not events: read it with"
    " `otel-events explain`, and send the execution's events here"
)


class _Level(NamedTuple):
    """The messages of one level of runs, and the functions that decode them."""

    event: Any
    request: Any
    enriched: Any
    is_named: Callable[[Any], bool]
    """Whether the ids of the event are complete, by which the type of a binary record is recognized."""
    decode: Callable[[Any], list[AnyEvent]]
    decode_enriched: Callable[[Any], list[AnyEvent]]
    json_keys: frozenset[str]
    """Keys of the event's JSON that no other level has."""


def _named_node(identifier: Any) -> bool:
    return bool(identifier.node_id) and identifier.node_id.isprintable() and is_named(identifier.execution_id)


def _named_task(event: Any) -> bool:
    name = event.task_id.name
    return bool(name) and name.isprintable() and _named_node(event.parent_node_execution_id)


LEVELS: dict[str, _Level] = {
    "workflow": _Level(
        event_pb2.WorkflowExecutionEvent,
        admin_pb2.WorkflowExecutionEventRequest,
        cloudevents_pb2.CloudEventWorkflowExecution,
        lambda event: is_named(event.execution_id),
        decode_workflow,
        enriched_workflow,
        frozenset(("executionId", "execution_id")),
    ),
    "node": _Level(
        event_pb2.NodeExecutionEvent,
        admin_pb2.NodeExecutionEventRequest,
        cloudevents_pb2.CloudEventNodeExecution,
        lambda event: _named_node(event.id),
        decode_node,
        enriched_node,
        frozenset(("id",)),
    ),
    "task": _Level(
        event_pb2.TaskExecutionEvent,
        admin_pb2.TaskExecutionEventRequest,
        cloudevents_pb2.CloudEventTaskExecution,
        _named_task,
        decode_task,
        enriched_task,
        frozenset(("taskId", "task_id", "parentNodeExecutionId", "parent_node_execution_id")),
    ),
}

_HINT = re.compile(
    r"(?P<v2>RecordRequest|\bRecord$)|(?P<span>\.core\.Span$)"
    r"|(?P<level>Workflow|Node|Task)(?:Execution|Event\b)|\.(?P<file>workflow|node|task)\.(?:pb|json)"
)
_HINTS: dict[str, str] = {"": ""}


def decode(record: bytes, hint: str = "") -> list[AnyEvent]:
    """Decode one Flyte record.

    Args:
        record: Protobuf, JSON, or a line of propeller's text sink; see above for the forms.
        hint: Name of a file, message, gRPC method or CloudEvents type; "" where none came with the record.

    Returns:
        The events of the record.

    Raises:
        DecodeError: The record is no event of Flyte; it says what is wrong, where, and what to do.
    """
    kind = _HINTS.get(hint)
    if kind is None:
        kind = _kind(hint)
    if kind == "" or kind == "task":
        events = decode_fast(record)
        if events is not None:
            return events
    try:
        return _decode(record, kind)
    except RecursionError:
        raise DecodeError("the record is nested too deeply to be an event: look at what wrote it") from None
    except UnicodeEncodeError as error:
        raise DecodeError(f"a text holds a lone surrogate ({error.reason}): it was not UTF-8 at its origin") from None


def _kind(hint: str) -> str:
    """The type of record that a hint names: a key of LEVELS, ``v2``, ``span``, or "" for none."""
    match = _HINT.search(hint)
    kind = (match.lastgroup or "") if match else ""
    if match is not None and kind in ("level", "file"):
        kind = match[kind].lower()
    return remember(_HINTS, hint, kind, CACHE_LIMIT)


def _decode(record: bytes | dict[str, Any], kind: str) -> list[AnyEvent]:
    """Take off wrappings until there is an event, then decode it."""
    for _ in range(_DEPTH):
        if isinstance(record, bytes):
            if record.startswith(b"[--"):
                return decode_line(_text(record))
            content = _json(record)
            inside = unwrap_protobuf(record) if content is None else unwrap(content)
            if inside is None:
                return _from_protobuf(record, kind) if content is None else _from_json(content, kind)
        else:
            inside = unwrap(record)
            if inside is None:
                return _from_json(record, kind)
        record, hint = inside
        kind = _kind(hint) or kind
    raise DecodeError(f"more than {_DEPTH} wrappings in one another: no transport of Flyte's does that")


def _text(record: bytes) -> str:
    try:
        return record.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"a line of propeller's event sink is not UTF-8: {error}") from None


def _json(record: bytes) -> dict[str, Any] | None:
    """The JSON object that the record is; None when it is protobuf. DecodeError when it is JSON, but broken."""
    start = record[:64].lstrip()[:1]
    if start not in (b"{", b"["):
        return None
    try:
        shallow(record)
    except msgspec.DecodeError as error:
        raise DecodeError(f"{error}, too deep for an event: look at what wrote it") from None
    try:
        content = msgspec.json.decode(record)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if record[:1] != start:  # a protobuf message may begin with what JSON takes for white space
            return None
        raise DecodeError(f"broken JSON: {error}; was the record cut?") from None
    if isinstance(content, dict):
        return content
    raise DecodeError("the record is a JSON array: give the events of a batch one by one")


def _from_json(content: dict[str, Any], kind: str) -> list[AnyEvent]:
    if kind == "span" or "spans" in content or {"startTime", "operationId"} <= content.keys():
        raise DecodeError(_SPAN)
    if kind == "v2" or "events" in content:
        return flyte_v2.decode_record_json(content)
    for key in ("rawEvent", "raw_event"):
        if key in content:
            level = _json_level(content[key], kind)
            return level.decode_enriched(_message(level.enriched, content))
    event = content.get("event", content)
    level = _json_level(event, kind)
    return level.decode(_message(level.event, event))


def _json_level(event: Any, kind: str) -> _Level:
    if kind in LEVELS:
        return LEVELS[kind]
    if isinstance(event, dict):
        for level in reversed(LEVELS.values()):  # a task event first: its keys are the most specific
            if not level.json_keys.isdisjoint(event):
                return level
    raise DecodeError(
        "no Flyte event in this JSON: expected taskId, id or executionId in the event; give the message's type as hint,"
        " or route the record elsewhere"
    )


def _message(message_type: Any, content: Any) -> Any:
    message = message_type()
    try:
        read(message, content)
    except DecodeError as error:
        raise DecodeError(f"{message_type.DESCRIPTOR.full_name}: {error}") from None
    return message


def _parsed(message_type: Any, record: bytes) -> Any:
    try:
        return message_type.FromString(record)
    except ProtobufError:
        return None


def _event_in(request: Any) -> Any:
    return None if request is None else request.event


def _from_protobuf(record: bytes, kind: str) -> list[AnyEvent]:
    """Decode bytes as the message in which all ids are set: messages of other levels have their ids in other fields."""
    if not record:
        raise DecodeError("the record is empty: drop it, or look at what wrote it")
    if kind == "span":
        raise DecodeError(_SPAN)
    if kind == "v2":
        return flyte_v2.decode_record(record)
    bare_first = record[0] != _FIELD_2
    for level in (LEVELS[kind],) if kind else LEVELS.values():
        for bare in (bare_first, not bare_first):
            event = _parsed(level.event, record) if bare else _event_in(_parsed(level.request, record))
            if event is not None and level.is_named(event):
                return level.decode(event)
    return _unnamed(record, kind)


def _unnamed(record: bytes, kind: str) -> list[AnyEvent]:
    """Decode a record of Flyte 2, whose ids are in other fields; else raise an error as specific as the record
    allows."""
    if kind:
        level = LEVELS[kind]
        request, event = _parsed(level.request, record), _parsed(level.event, record)
        if request is not None and request.HasField("event"):
            return level.decode(request.event)
        if event is not None:
            return level.decode(event)
        name = level.event.DESCRIPTOR.full_name
        raise DecodeError(f"no {name} nor its request, {len(record)} bytes: cut, or of another type than the hint says")
    span = _parsed(metrics_pb2.Span, record)
    if span is not None and span.WhichOneof("id") and span.HasField("start_time"):
        raise DecodeError(_SPAN)
    if flyte_v2.is_record(record):
        return flyte_v2.decode_record(record)
    raise DecodeError(
        f"no Flyte event in these {len(record)} bytes: neither flyteidl.event messages with complete ids, nor their"
        " requests, CloudEvents or Flyte 2 records (pip install flyteidl2 to read those); give the type as hint"
    )
