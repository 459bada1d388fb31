"""Our reader of proto3 JSON against protobuf's own, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isnan
from typing import Any

import pytest
from flyteidl.event import cloudevents_pb2, event_pb2
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from otel_events.model.errors import DecodeError
from otel_events.sources.flyte.protojson import _SCALARS, _SPECIAL, plain, read
from tests.sources.flyte_messages import is_map, messages

TYPES = (
    event_pb2.WorkflowExecutionEvent,
    event_pb2.NodeExecutionEvent,
    event_pb2.TaskExecutionEvent,
    cloudevents_pb2.CloudEventWorkflowExecution,
    cloudevents_pb2.CloudEventNodeExecution,
    cloudevents_pb2.CloudEventTaskExecution,
)


@given(st.sampled_from(TYPES).flatmap(messages), st.booleans(), st.booleans())
def test_reads_what_protobuf_writes(message: Any, snake_case: bool, numbers: bool) -> None:
    written = json_format.MessageToDict(message, preserving_proto_field_name=snake_case, use_integers_for_enums=numbers)
    ours = type(message)()
    read(ours, written)
    assert ours == json_format.ParseDict(written, type(message)()) == message


@given(st.sampled_from(TYPES).flatmap(messages))
def test_plain_values_are_those_of_protobuf(message: Any) -> None:
    def strings(value: Any) -> Any:  # protobuf writes 64-bit integers as strings and bytes as base64; plain does not
        return json.loads(json.dumps(value))

    theirs = json_format.MessageToDict(message.DESCRIPTOR and _without_bytes(message), preserving_proto_field_name=True)
    assert _loose(plain(_without_bytes(message))) == _loose(strings(theirs))


def _without_bytes(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    for field in ("input_data", "output_data", "raw_event", "output_interface", "task_node_metadata"):
        if field in copy.DESCRIPTOR.fields_by_name:
            copy.ClearField(field)
    return copy


def _loose(value: Any) -> Any:
    """Numbers as floats, wherever they are and however written."""
    if isinstance(value, dict):
        return {key: _loose(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_loose(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return value if isnan(number) else number  # the text "NAN" is equal to itself as a text only


def _reachable(descriptor: Any, seen: dict[str, Any]) -> Iterator[Any]:
    if descriptor.full_name not in seen:
        seen[descriptor.full_name] = descriptor
        for field in descriptor.fields:
            yield field
            if field.message_type is not None:
                yield from _reachable(field.message_type, seen)


def test_every_field_type_that_flyte_uses_is_known() -> None:
    seen: dict[str, Any] = {}
    for kind in TYPES:
        for field in _reachable(kind.DESCRIPTOR, seen):
            scalar = field.message_type is None and field.enum_type is None
            assert not scalar or field.type in _SCALARS, field.full_name
            assert not is_map(field) or field.message_type.fields_by_name["key"].type in _SCALARS
    standard = {name for name in seen if name.startswith("google.protobuf.") and not name.endswith("FieldsEntry")}
    assert standard <= _SPECIAL.keys()


BASE = {"phase": "RUNNING", "occurredAt": "2026-07-01T12:00:00Z"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("phase", "NO_SUCH_PHASE"),
        ("phase", 1.5),
        ("phase", True),
        ("occurredAt", "2026-07-01 12:00:00"),
        ("occurredAt", "2026-13-01T12:00:00Z"),
        ("occurredAt", "2026-07-01T12:00:00"),
        ("occurredAt", 1_760_000_000),
        ("retryAttempt", "many"),
        ("retryAttempt", -1),
        ("retryAttempt", 2**32),
        ("retryAttempt", 1.5),
        ("producerId", 5),
        ("taskId", []),
        ("taskId", {"name": None, "project": 1}),
        ("logs", {}),
        ("logs", [5]),
        ("logs", [{"ttl": "1 s"}]),
        ("logs", [{"ShowWhilePending": "yes"}]),
        ("customInfo", []),
        ("inputData", {"literals": {"x": {"hash": 1}}}),
        ("inputData", {"literals": []}),
        ("inputData", {"literals": {"x": {"scalar": {"binary": {"value": "%%"}}}}}),
        ("inputData", {"literals": {"x": {"scalar": {"primitive": {"floatValue": True}}}}}),
    ],
)
def test_what_does_not_fit_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(DecodeError, match=field):
        read(event_pb2.TaskExecutionEvent(), BASE | {field: value})


def test_words_for_numbers_and_offsets_are_read() -> None:
    event = event_pb2.TaskExecutionEvent()
    read(
        event,
        {
            "occurred_at": "2026-07-01T14:00:00.5+02:00",
            "retryAttempt": "3",
            "phaseVersion": 2.0,
            "phase": "2",
            "unknown": {"field": 1},
            "reason": None,
            "inputData": {"literals": {"x": {"scalar": {"primitive": {"floatValue": "NaN"}}}}},
        },
    )
    assert (event.occurred_at.ToJsonString(), event.retry_attempt, event.phase_version, event.phase) == (
        "2026-07-01T12:00:00.500Z",
        3,
        2,
        2,
    )
    value = event.input_data.literals["x"].scalar.primitive.float_value
    assert value != value
