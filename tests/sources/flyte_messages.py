"""Random messages of any protobuf type, for the properties of the Flyte decoders."""

from __future__ import annotations

import json
from typing import Any

from flyteidl.event import event_pb2
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st

from otel_events.sources.flyte.decode import LEVELS

TEXT = st.text(max_size=6)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats(-1e9, 1e9) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=5,
)
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False),
    FieldDescriptor.TYPE_FLOAT: st.floats(width=32, allow_nan=False),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_STRING: TEXT,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=6),
}
DEPTH = 4


def is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _scalar(field: Any) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    return SCALARS[field.type]


def fill(draw: st.DrawFn, message: Any, depth: int = DEPTH) -> Any:
    """Give a random choice of a message's fields random values."""
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Timestamp":
        message.seconds = draw(st.integers(-62135596800, 253402300799))
        message.nanos = draw(st.sampled_from([0, 1, 123_456_000, 999_999_999]))
    elif name == "google.protobuf.Duration":
        message.seconds = draw(st.integers(0, 1_000_000))
        message.nanos = draw(st.sampled_from([0, 500_000_000]))
    elif name == "google.protobuf.Struct":
        message.update(draw(st.dictionaries(TEXT, JSON_VALUES, max_size=3)))
    elif name == "google.protobuf.BoolValue":
        message.value = draw(st.booleans())
    else:
        for field in message.DESCRIPTOR.fields:
            if draw(st.integers(0, 2)) == 0:
                _fill_field(draw, message, field, depth)
    return message


def _fill_field(draw: st.DrawFn, message: Any, field: Any, depth: int) -> None:
    target = getattr(message, field.name)
    if is_map(field):
        value = field.message_type.fields_by_name["value"]
        if value.message_type is None:
            target[draw(TEXT)] = draw(_scalar(value))
        elif depth:
            fill(draw, target[draw(TEXT)], depth - 1)
    elif field.message_type is not None:
        if depth:
            part = target.add() if field.is_repeated else target
            if not field.is_repeated:
                part.SetInParent()
            fill(draw, part, depth - 1)
    elif field.is_repeated:
        target.append(draw(_scalar(field)))
    else:
        setattr(message, field.name, draw(_scalar(field)))


@st.composite
def messages(draw: st.DrawFn, kind: Any) -> Any:
    """Messages of one type, as random as can be."""
    return fill(draw, kind())


NAMES = st.sampled_from(["n0", "task", "a" * 70, "é", "x y", "", "a/b", "c:d", "p\n"])


@st.composite
def task_events(draw: st.DrawFn) -> Any:
    """TaskExecutionEvents that are mostly whole: ids that mostly can be, times and phases that mostly are."""
    event = event_pb2.TaskExecutionEvent()
    if draw(st.integers(0, 3)) == 0:
        fill(draw, event, 2)
    event.task_id.resource_type = draw(st.sampled_from([1, 1, 1, 0, 3]))
    event.task_id.name = draw(NAMES)
    event.task_id.project = draw(st.sampled_from(["p", "other"]))
    event.task_id.version = draw(TEXT)
    node = event.parent_node_execution_id
    node.node_id = draw(NAMES)
    node.execution_id.project, node.execution_id.domain = "p", draw(NAMES)
    node.execution_id.name = draw(st.sampled_from(["e", "f" * 130]))
    event.retry_attempt = draw(st.sampled_from([0, 0, 1, 2, 127, 128, 5_000]))
    event.phase = draw(st.integers(1, 8) | st.sampled_from([0, 99]))
    event.occurred_at.seconds = draw(st.sampled_from([1_760_000_000, 1_760_000_001, 0, -1, 2**40]))
    event.occurred_at.nanos = draw(st.sampled_from([0, 123_456_000, 999_999_999, 1_000_000_000, -1]))
    for field in draw(st.sets(st.sampled_from(["producer_id", "input_uri", "output_uri", "reason", "task_type"]))):
        setattr(event, field, draw(TEXT))
    if draw(st.booleans()):
        event.metadata.generated_name = draw(TEXT)
        event.metadata.instance_class = draw(st.integers(0, 1))
    if draw(st.booleans()):
        event.reported_at.seconds = draw(st.sampled_from([0, 1_760_000_002]))
    if draw(st.integers(0, 3)) == 0:
        fill(draw, event.logs.add())
    return event


TIME = 1_782_907_200
"""2026-07-01T12:00:00Z, in seconds."""


def whole(level: str) -> Any:
    """A valid event of a level, with nothing in it but what it must have."""
    event = LEVELS[level].event(phase=2)
    event.occurred_at.seconds = TIME
    execution = {"workflow": "execution_id", "node": "id", "task": "parent_node_execution_id"}[level]
    target = getattr(event, execution)
    if level != "workflow":
        target.node_id = "n0"
        target = target.execution_id
    target.project, target.domain, target.name = "p", "d", "e"
    if level == "task":
        event.task_id.resource_type, event.task_id.name = 1, "t"
    return event


def enveloped(inner: dict[str, Any]) -> bytes:
    return json.dumps(inner).encode()
