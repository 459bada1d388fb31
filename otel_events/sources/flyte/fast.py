"""The short way of a binary TaskExecutionEvent: most of what a Flyte cluster sends, so the hottest code we have.

An event begins with its task, node and attempt (fields 1 to 3). These bytes, cut off without parsing, are the key of a
cache that holds all that follows from them. Of the rest flyte_cut makes the event where it is laid out as usual. In
every other case the events come from flyte_task, whose events both must equal (a property test compares them).
"""

from __future__ import annotations

from flyteidl.core import identifier_pb2
from flyteidl.event import event_pb2
from google.protobuf.message import DecodeError as ProtobufError

from otel_events.core.redact import has_clue, suspicious
from otel_events.model.errors import DecodeError
from otel_events.model.event import AnyEvent
from otel_events.sources.flyte.base import CACHE_LIMIT, Execution, make_execution
from otel_events.sources.flyte.cut import cut_events
from otel_events.sources.flyte.task import EXECUTION, Attempt, Task, attempt_of, make_attempt, task_events, task_of

_parse_event = event_pb2.TaskExecutionEvent.FromString

_ATTEMPTS: dict[bytes, Attempt] = {}
_TASKS: dict[bytes, tuple[Task, bool]] = {}
_EXECUTIONS: dict[bytes, tuple[Execution, bool]] = {}
_NODES: dict[bytes, tuple[str, bool]] = {}
"""What the bytes of fields 1 to 3, of field 1, and of the execution and node id in field 2 stand for; of the latter
three also whether nothing in them may be a secret."""


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
        rest = record[end:]
        return cut_events(attempt, rest) or _rare(attempt, rest)
    except (IndexError, KeyError, ProtobufError, DecodeError, UnicodeDecodeError):
        return None


def _rare(attempt: Attempt, rest: bytes) -> list[AnyEvent] | None:
    """The rest as flyte_task reads it; None when it tells of the identity again (then the last word counts)."""
    event = _parse_event(rest)
    again = event.HasField("task_id") or event.HasField("parent_node_execution_id") or event.retry_attempt
    if again or b"\x18\x00" in rest:  # retry_attempt told again as 0: maybe, for text may hold these bytes too
        return None
    return task_events(attempt, event, {})


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
    task, task_clean = _TASKS.get(head[2:node_at]) or _keep_task(head[2:node_at])
    root, root_clean = _EXECUTIONS.get(head[name_end + 2 : node_end]) or _keep_execution(head[name_end + 2 : node_end])
    raw = head[node_at + 4 : name_end]
    node_id, node_clean = _NODES.get(raw) or _keep_node(raw)
    attempt = make_attempt(root, task, node_id, retry)
    attempt.clean = task_clean and root_clean and node_clean
    return attempt


def _keep_task(raw: bytes) -> tuple[Task, bool]:
    if len(_TASKS) >= CACHE_LIMIT:
        _TASKS.clear()
    made = _TASKS[raw] = task_of(identifier_pb2.Identifier.FromString(raw)), not suspicious(raw)
    return made


def _keep_execution(raw: bytes) -> tuple[Execution, bool]:
    if len(_EXECUTIONS) >= CACHE_LIMIT:
        _EXECUTIONS.clear()
    identifier = identifier_pb2.WorkflowExecutionIdentifier.FromString(raw)
    made = _EXECUTIONS[raw] = make_execution(identifier, EXECUTION), not suspicious(raw)
    return made


def _keep_node(raw: bytes) -> tuple[str, bool]:
    if len(_NODES) >= CACHE_LIMIT:
        _NODES.clear()
    node_id = raw.decode()
    made = _NODES[raw] = node_id, not has_clue(node_id)
    return made


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
