"""The wrappings that Flyte events travel in: CloudEvents, queue messages, gRPC captures, propeller's text sink.

A wrapping is a row of ENVELOPES: the keys that identify it, and a function that returns the content. Envelope data
(ids, sources, times of the transport) never enters an event, so that an event is the same whichever way it came.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from flyteidl.core import identifier_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError as ProtobufError

from otel_events.model.errors import DecodeError
from otel_events.model.event import AnyEvent, PhaseChange, Run
from otel_events.sources.flyte.base import (
    NODE_PHASES,
    SLASH,
    SOURCE,
    TASK_PHASES,
    WORKFLOW_PHASES,
    execution,
    name_part,
)
from otel_events.sources.flyte.protojson import put_timestamp
from otel_events.sources.flyte.task import make_attempt, names, task_of

Inside = tuple[bytes | dict[str, Any], str]
"""(content of the wrapping, name of its type in the wrapping)."""

CLOUD_EVENT_TYPE = "com.flyte.resource."


def _from_base64(text: Any, where: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (TypeError, ValueError) as error:
        raise DecodeError(f"{where} is no base64 ({error}): was the message cut or decoded before?") from None


def _cloud_event(record: dict[str, Any]) -> Inside:
    """CloudEvents 1.0, structured mode (NATS): the type names the message, the data is its proto3 JSON."""
    kind = record.get("type")
    if not isinstance(kind, str) or not kind.startswith(CLOUD_EVENT_TYPE):
        raise DecodeError(f"CloudEvent type {kind!r} is not one of Flyte's ({CLOUD_EVENT_TYPE}...): route it elsewhere")
    if isinstance(record.get("data"), dict):
        return record["data"], kind
    if "data_base64" in record:
        return _from_base64(record["data_base64"], "CloudEvent data_base64"), kind
    raise DecodeError(f"CloudEvent of type {kind} has no data: ask for the event with its payload")


def _kafka(record: dict[str, Any]) -> Inside:
    """CloudEvents, binary mode: attributes are headers ``ce_...``, the value is the data."""
    headers, value = record["headers"], record["value"]
    kind = headers.get("ce_type", "") if isinstance(headers, dict) else ""
    if isinstance(value, dict):
        return value, str(kind)
    if isinstance(value, str):
        return _encoded(value, "Kafka value"), str(kind)
    raise DecodeError(f"Kafka value is {type(value).__name__}, expected the JSON of the event: a tombstone holds none")


def _sns(record: dict[str, Any]) -> Inside:
    """An SNS notification, as it lies in SQS: Subject is the message's full name, Message its bytes in base64."""
    return _from_base64(record["Message"], "SNS Message"), str(record.get("Subject", ""))


def _pubsub(record: dict[str, Any]) -> Inside:
    """Pub/Sub: attribute ``key`` is the message's full name, data its bytes in base64."""
    attributes = record["attributes"]
    kind = attributes.get("key", "") if isinstance(attributes, dict) else ""
    return _from_base64(record["data"], "Pub/Sub data"), str(kind)


def _grpc(record: dict[str, Any]) -> Inside:
    """A request as propeller made it: the method of AdminService, and the bytes in base64."""
    return _from_base64(record["b64"], "b64"), str(record["method"])


ENVELOPES: tuple[tuple[frozenset[str], Callable[[dict[str, Any]], Inside]], ...] = (
    (frozenset(("specversion", "type")), _cloud_event),
    (frozenset(("headers", "value")), _kafka),
    (frozenset(("Type", "Message")), _sns),
    (frozenset(("attributes", "data")), _pubsub),
    (frozenset(("method", "b64")), _grpc),
)


def unwrap(record: dict[str, Any]) -> Inside | None:
    """The content of a JSON envelope; None when it is none of ENVELOPES. DecodeError when it has no usable content."""
    for keys, inside in ENVELOPES:
        if keys <= record.keys():
            return inside(record)
    return None


def _encoded(text: str, where: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise DecodeError(f"{where} holds a lone surrogate ({error.reason}): it was not UTF-8 at its origin") from None


_CLOUD_EVENT_FIELDS = {
    1: ("id", FieldDescriptor.TYPE_STRING),
    3: ("spec_version", FieldDescriptor.TYPE_STRING),
    4: ("type", FieldDescriptor.TYPE_STRING),
    6: ("binary_data", FieldDescriptor.TYPE_BYTES),
    7: ("text_data", FieldDescriptor.TYPE_STRING),
}
"""The fields of io.cloudevents.v1.CloudEvent that we read (number: name, type); its attributes stay in the envelope."""


def _cloud_event_message() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="otel_events/cloudevent.proto", package="otel_events")
    file.syntax = "proto3"
    message = file.message_type.add(name="CloudEvent")
    for number, (name, kind) in _CLOUD_EVENT_FIELDS.items():
        message.field.add(name=name, number=number, type=kind, label=FieldDescriptor.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("otel_events.CloudEvent"))


_CloudEvent = _cloud_event_message()


def unwrap_protobuf(record: bytes) -> Inside | None:
    """The content of a CloudEvent in the protobuf format (Pub/Sub, SNS); None for other bytes."""
    if CLOUD_EVENT_TYPE.encode() not in record:
        return None
    try:
        event = _CloudEvent.FromString(record)
    except ProtobufError:
        return None
    if event.spec_version != "1.0" or not event.type.startswith(CLOUD_EVENT_TYPE):
        return None
    data = event.binary_data or event.text_data.encode()
    if not data:
        raise DecodeError(f"CloudEvent {event.id[:80]!r} has no data: ask for the event with its payload")
    return data, event.type


_LINE = re.compile(
    r"\[--(WF|NODE|TASK) EVENT--\]\s*(.*), Phase: (\w+), OccuredAt: (\S+) (\S+) ([+-]\d{4})\b.*", re.DOTALL
)
_BETWEEN = re.compile(r",(?=\s*(?:node_id|execution_id)\s*:)")
_LEVELS = {"WF": WORKFLOW_PHASES, "NODE": NODE_PHASES, "TASK": TASK_PHASES}
_SINK = "propeller's event sink"


def decode_line(line: str) -> list[AnyEvent]:
    """The event of a line of propeller's file, log or stdout sink (propeller's events/local_eventsink.go).

    The line has no attempt number: the ``attempt`` of the run is 0, so that the fold counts, and in the id of the event
    ``-`` stands for it and for every other part that the line lacks.
    """
    match = _LINE.fullmatch(line.strip())
    if match is None:
        raise DecodeError(f"no line of {_SINK}: {line[:80]!r}; expected [--.. EVENT--] id, Phase: P, OccuredAt: time")
    level, names_text, native, day, clock, offset = match.groups()
    phases = dict(_LEVELS[level].values())
    if native not in phases:
        raise DecodeError(f"phase {native!r} in a line of {_SINK} is unknown; known: {', '.join(phases)}")
    time = _go_time(f"{day}T{clock}{offset[:3]}:{offset[3:]}")
    run, key, attributes = _LINE_RUNS[level](names_text)
    change = PhaseChange(
        id=f"{key}:{native}{':-' if level == 'TASK' else ''}:{time}",
        time=time,
        run=run,
        attributes=attributes,
        phase=phases[native],
        native=native,
    )
    return [change]


class _Seconds:
    """The fields of a Timestamp that put_timestamp sets."""

    seconds = 0
    nanos = 0


def _go_time(text: str) -> int:
    value = _Seconds()
    try:
        put_timestamp(value, text)
    except ValueError as error:
        raise DecodeError(f"OccuredAt {text!r} in a line of {_SINK}: {error}") from None
    time = value.seconds * 1_000_000_000 + value.nanos
    if time <= 0:
        raise DecodeError(f"OccuredAt {text!r} in a line of {_SINK} is the epoch or before: the event had no time")
    return time


def _text_message(text: str, message: Any) -> Any:
    """A Go text protobuf, whose spaces are random on purpose."""
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise DecodeError(f"no {message.DESCRIPTOR.full_name} in a line of {_SINK}: {error}; was it cut?") from None


def _line_workflow(text: str) -> tuple[Run, str, dict[str, Any]]:
    root = execution(_text_message(text, identifier_pb2.WorkflowExecutionIdentifier()), _SINK)
    return Run(SOURCE, "workflow", root.root, "", root.root, None, 1, root.namespace), root.key, root.attributes.copy()


def _line_node(text: str) -> tuple[Run, str, dict[str, Any]]:
    node = _text_message(text, identifier_pb2.NodeExecutionIdentifier())
    root = execution(node.execution_id, f"{_SINK}: execution_id")
    node_id = name_part(node.node_id, f"{_SINK}: node_id", SLASH)
    run = Run(SOURCE, "node", f"{root.root}/{node_id}", "", root.root, None, 1, root.namespace)
    return run, f"{root.key}:{node_id}:-", root.attributes | {"flyte.node_id": node_id}


def _line_task(text: str) -> tuple[Run, str, dict[str, Any]]:
    parts = _BETWEEN.split(text, maxsplit=1)
    if len(parts) != 2:
        raise DecodeError(f"a task line of {_SINK} names no node: {text[:80]!r}; was it cut?")
    task = task_of(_text_message(parts[0], identifier_pb2.Identifier()))
    node = _text_message(parts[1], identifier_pb2.NodeExecutionIdentifier())
    root = execution(node.execution_id, f"{_SINK}: execution_id")
    attempt = make_attempt(root, task, node.node_id, -1)
    return attempt.run, f"{root.key}:{node.node_id}:{task.key}:-", names(attempt)


_LINE_RUNS = {"WF": _line_workflow, "NODE": _line_node, "TASK": _line_task}
