"""The short way of a binary TaskExecutionEvent: most of what a Flyte cluster sends, so the hottest code we have.

An event begins with its task, node and attempt (fields 1 to 3). These bytes, cut off without parsing, are the key of a
cache that holds all that follows from them. The rest is parsed into a message made from flyteidl's own descriptor
where the fields that few events have (errors, custom_info ...) are members of one oneof: one question tells whether
any of them is there. Then, and in every other unusual case, the events come from flyte_task, whose events this must
equal (a property test compares them).
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from flyteidl.core import identifier_pb2
from flyteidl.event import event_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError as ProtobufError

from otel_events.errors import DecodeError
from otel_events.event import AnyEvent, PhaseChange, Scalar
from otel_events.sources.flyte_base import (
    CACHE_LIMIT,
    LAST_TIME,
    TASK_PHASES,
    VALUE_LIMIT,
    Execution,
    make_execution,
    nanoseconds,
)
from otel_events.sources.flyte_task import (
    CONSTANT_ROWS,
    EXECUTION,
    Attempt,
    Task,
    attempt_of,
    log_reports,
    make_attempt,
    names,
    put_names,
    task_events,
    task_of,
)

_Event = event_pb2.TaskExecutionEvent

_LOGS = "logs"
"""Rare too, but with a shorter way of their own: the events that tell of logs tell of nothing else unusual."""
_PLAIN = ("phase", "phase_version", "reason", "output_uri", *(field for field, _ in CONSTANT_ROWS))
_BYTES = ("metadata", "reported_at")
"""Kept as bytes: to be compared with the one before, and because it is often absent. Of a field told twice that is
the last; no writer tells these twice.
"""


def _narrowed(name: str, whole: Any, plain: tuple[str, ...], raw: tuple[str, ...] = (), time: str = "") -> Any:
    """A message class that reads ``whole``'s bytes: ``plain`` fields as they are, ``raw`` as bytes, ``time`` as a
    Timestamp, all others as members of the oneof ``rare``.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"otel_events/{name}.proto", package="otel_events", syntax="proto3")
    file.dependency.append(timestamp_pb2.DESCRIPTOR.name)
    message = file.message_type.add(name=name)
    message.oneof_decl.add(name="rare")
    for field in whole.DESCRIPTOR.fields:
        made: Any = message.field.add(name=field.name, number=field.number, label=FieldDescriptor.LABEL_OPTIONAL)
        usual = field.name in plain or field.name in raw or field.name == time
        if field.name == time:
            made.type, made.type_name = FieldDescriptor.TYPE_MESSAGE, ".google.protobuf.Timestamp"
        elif field.message_type is not None or (field.type == FieldDescriptor.TYPE_STRING and not usual):
            made.type = FieldDescriptor.TYPE_BYTES
        else:
            made.type = FieldDescriptor.TYPE_INT32 if field.enum_type else field.type
        if not usual:
            made.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"otel_events.{name}"))


_parse_rest = _narrowed("TaskRest", _Event, _PLAIN, _BYTES, "occurred_at").FromString
_parse_but_logs = _narrowed("TaskRestButLogs", _Event, _PLAIN, (*_BYTES, _LOGS), "occurred_at").FromString
_METADATA_FIELDS = ("generated_name", "plugin_identifier", "instance_class")
_parse_metadata = _narrowed("TaskMetadata", event_pb2.TaskExecutionMetadata, _METADATA_FIELDS).FromString
_parse_event = _Event.FromString
_parse_time = timestamp_pb2.Timestamp.FromString
_CONSTANT_ATTRIBUTES = tuple(attribute for _, attribute in CONSTANT_ROWS)
_constant_fields = attrgetter(*(field for field, _ in CONSTANT_ROWS), "metadata")
_changing_fields = attrgetter("phase", "phase_version", "reason", "output_uri", "reported_at", "occurred_at")

_PHASES = {number: (native, phase, f":{native}:0:") for number, (native, phase) in TASK_PHASES.items()}
"""Task phases with the middle of the event id where phase_version is 0, as it nearly always is."""

_ATTEMPTS: dict[bytes, Attempt] = {}
_TASKS: dict[bytes, Task] = {}
_EXECUTIONS: dict[bytes, Execution] = {}
"""What the bytes of fields 1 to 3, of field 1, and of the execution in field 2 stand for."""


def decode_fast(record: bytes) -> list[AnyEvent] | None:
    """Events of a binary TaskExecutionEvent, bare or in its admin request; None: take the long way (it says why).

    Never raises for what is in the record.
    """
    try:
        if record[0] == 0x12:
            record = _unwrapped(record)
        size = record[1]
        if size < 128 and record[0] == 0x0A and record[size + 2] == 0x12 and record[size + 3] < 128:
            end = size + 4 + record[size + 3]
        else:
            end = _long_identity(record)
        if end < len(record) and record[end] == 0x18:  # retry_attempt; one of two bytes is parsed with the rest
            end += 2 if record[end + 1] < 128 else 0
        head = record[:end]
        attempt = _ATTEMPTS.get(head) or _keep(head)
        return _decode_rest(attempt, record[end:])
    except (IndexError, KeyError, ProtobufError, DecodeError, UnicodeDecodeError):
        return None


def _decode_rest(attempt: Attempt, rest: bytes) -> list[AnyEvent] | None:
    fields = _parse_rest(rest)
    constant = _constant_fields(fields)
    seen, known = attempt.seen
    if seen != constant:
        known = _shared_attributes(attempt, constant)
        attempt.seen = (constant, known)
    rare = fields.WhichOneof("rare")
    if known is None or len(rest) > VALUE_LIMIT:
        return _rare(attempt, rest)
    if rare is not None and (rare != _LOGS or _parse_but_logs(rest).WhichOneof("rare") is not None):
        return _rare(attempt, rest)
    number, version, reason, output_uri, reported_at, occurred_at = _changing_fields(fields)
    native, phase, middle = _PHASES[number]
    seconds, nanos = occurred_at.seconds, occurred_at.nanos
    time = seconds * 1_000_000_000 + nanos
    if not (0 <= nanos < 1_000_000_000 and 0 < time <= LAST_TIME):
        return None
    attributes = known.copy()
    if version:
        attributes["flyte.phase_version"] = version
        middle = f":{native}:{version}:"
    if output_uri:
        attributes["flyte.output_uri"] = output_uri
    if reported_at and (reported := nanoseconds(_parse_time(reported_at))):
        attributes["flyte.reported_at"] = reported
    change = PhaseChange(
        id=attempt.key + middle + str(time),
        time=time,
        run=attempt.run,
        attributes=attributes,
        phase=phase,
        native=native,
        reason=reason,
    )
    return [change] if rare is None else [change, *log_reports(change, _parse_event(rest).logs)]


def _rare(attempt: Attempt, rest: bytes) -> list[AnyEvent] | None:
    """The rest as flyte_task reads it; None when it tells of the identity again (then the last word counts)."""
    event = _parse_event(rest)
    again = event.HasField("task_id") or event.HasField("parent_node_execution_id") or event.retry_attempt
    if again or b"\x18\x00" in rest:  # retry_attempt told again as 0: maybe, for text may hold these bytes too
        return None
    return task_events(attempt, event, {})


def _shared_attributes(attempt: Attempt, constant: tuple[Any, ...]) -> dict[str, Scalar] | None:
    """Attributes that the events of an attempt share; None when the metadata tells of more than names."""
    metadata = _parse_metadata(constant[-1])
    if metadata.WhichOneof("rare") is not None:
        return None
    attributes = names(attempt)
    for attribute, value in zip(_CONSTANT_ATTRIBUTES, constant, strict=False):
        if value:
            attributes[attribute] = value
    put_names(attributes, metadata)
    return attributes


def _keep(head: bytes) -> Attempt:
    """The attempt that an identity (fields 1 to 3) names, kept for its next events."""
    attempt = _learn(head) or attempt_of(_parse_event(head))
    if len(_ATTEMPTS) >= CACHE_LIMIT:
        _ATTEMPTS.clear()
    _ATTEMPTS[head] = attempt
    return attempt


def _learn(head: bytes) -> Attempt | None:
    """The same from the bytes, where task and execution are known; None for an identity in an unusual form."""
    node_at = head[1] + 2
    retry = 0
    if head[1] > 127 or head[node_at + 1] > 127:
        return None
    node_end = node_at + 2 + head[node_at + 1]
    if node_end < len(head):
        retry = head[-1]
    name_end = node_at + 4 + head[node_at + 3]
    if head[node_at + 2] != 0x0A or head[name_end] != 0x12 or name_end + 2 + head[name_end + 1] != node_end:
        return None
    task = _TASKS.get(head[2:node_at]) or _keep_task(head[2:node_at])
    root = _EXECUTIONS.get(head[name_end + 2 : node_end]) or _keep_execution(head[name_end + 2 : node_end])
    return make_attempt(root, task, head[node_at + 4 : name_end].decode(), retry)


def _keep_task(raw: bytes) -> Task:
    if len(_TASKS) >= CACHE_LIMIT:
        _TASKS.clear()
    task = _TASKS[raw] = task_of(identifier_pb2.Identifier.FromString(raw))
    return task


def _keep_execution(raw: bytes) -> Execution:
    if len(_EXECUTIONS) >= CACHE_LIMIT:
        _EXECUTIONS.clear()
    identifier = identifier_pb2.WorkflowExecutionIdentifier.FromString(raw)
    root = _EXECUTIONS[raw] = make_execution(identifier, EXECUTION)
    return root


def _unwrapped(record: bytes) -> bytes:
    """The event in an admin request without a request id: field 2 and nothing else. KeyError when it is not that."""
    size, start = _varint(record, 1)
    if start + size != len(record):
        raise KeyError("more than an event")
    return record[start:]


def _long_identity(record: bytes) -> int:
    """Where fields 1 and 2 end, of any length. KeyError when the record does not begin with them."""
    end = 0
    for tag in b"\x0a\x12":
        if record[end] != tag:
            raise KeyError("no identity at the head")
        size, start = _varint(record, end + 1)
        end = start + size
    return end


def _varint(record: bytes, at: int) -> tuple[int, int]:
    """(value, where it ends) of a length. KeyError beyond four bytes: no length is that long."""
    value = 0
    for place in range(4):
        byte = record[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise KeyError("no length")
