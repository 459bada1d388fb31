"""``flyteidl.core.Span`` -> Span: the message itself, its bytes, or its JSON."""

from __future__ import annotations

from typing import Any

import msgspec
from google.protobuf import json_format
from google.protobuf.message import DecodeError as ProtobufError
from google.protobuf.message import Message

from otel_events.core.spans import NANO
from otel_events.model.errors import ConfigError, DecodeError
from otel_events.model.nesting import shallow
from otel_events.views.execution_span.span import Kind, Span
from otel_events.views.explain import LEVELS

MAX_BYTES = 64 << 20
"""Of one tree as bytes or text: 600,000 spans and more. Flyteadmin's own answers are 4 MiB at most unless it was told
otherwise (gRPC's default)."""
LAST_SECOND = 253_402_300_799
"""The end of year 9999: what a date can show."""
SPAN, ANSWER = "flyteidl.core.Span", "flyteidl.admin.WorkflowExecutionGetMetricsResponse"
_IDS: dict[str, tuple[Kind, str]] = {
    "workflow_id": ("workflow", "name"),
    "node_id": ("node", "node_id"),
    "task_id": ("task", "retry_attempt"),
}


def core_span(given: Any) -> Span:
    """The tree of a span. See ``ExecutionSpan.from_flyte``."""
    message: Any = given if isinstance(given, Message) else _parsed(given)
    name = message.DESCRIPTOR.full_name
    if name not in (SPAN, ANSWER):
        raise DecodeError(f"{name} is no {SPAN}: give the span that FlyteRemote.get_execution_metrics answers")
    return _tree(message.span if name == ANSWER else message)


def _parsed(given: Any) -> Any:
    if hasattr(given, "to_flyte_idl"):  # flytekit's FlyteExecutionSpan
        return given.to_flyte_idl()
    if isinstance(given, str):
        given = given.encode()
    if isinstance(given, bytes | bytearray | memoryview):
        if len(given) > MAX_BYTES:
            raise DecodeError(f"a span of {len(given)} bytes, {MAX_BYTES} at most: ask for it with a smaller depth")
        if not bytes(given[:64]).lstrip().startswith(b"{"):  # no field of a Span has a tag that reads so
            return _binary(bytes(given))
        given = _json(bytes(given))
    if not isinstance(given, dict):
        raise DecodeError(f"{type(given).__name__} is no span: give a {SPAN}, its bytes or its JSON")
    return _of_dict(given)


def _metrics() -> Any:
    try:
        from flyteidl.core import metrics_pb2  # only what reads Flyte's own needs the extra
    except ImportError:
        raise ConfigError("a Flyte span is read with flyteidl: install otel-events[flyte]") from None
    return metrics_pb2.Span()


def _binary(given: bytes) -> Any:
    message = _metrics()
    try:
        message.ParseFromString(given)
    except ProtobufError as error:
        raise DecodeError(f"no {SPAN}: {error}; give its bytes or its JSON as GetExecutionMetrics answers it") from None
    return message


def _json(given: bytes) -> Any:
    try:
        return msgspec.json.decode(shallow(given))
    except (msgspec.DecodeError, RecursionError) as error:
        raise DecodeError(f"the JSON of the span does not parse: {error}") from None


def _of_dict(given: dict[str, Any]) -> Any:
    """A whole answer, or the span itself."""
    inner = given.get("span", given)
    try:
        return json_format.ParseDict(inner, _metrics(), ignore_unknown_fields=True, max_recursion_depth=2 * LEVELS)
    except (json_format.ParseError, TypeError, AttributeError, ValueError) as error:
        raise DecodeError(f"no {SPAN}: {error}; give its JSON as GetExecutionMetrics answers it") from None


def _tree(message: Any) -> Span:
    top = _span(message)
    todo = [(top, message, 1)]
    while todo:
        span, source, level = todo.pop()
        if level > LEVELS:
            raise DecodeError(f"a span more than {LEVELS} levels deep: ask for it with a smaller depth")
        for under in source.spans:
            span.spans.append(_span(under))
            todo.append((span.spans[-1], under, level + 1))
    return top


def _span(message: Any) -> Span:
    which = message.WhichOneof("id")
    start, end = _time(message, "start_time"), _time(message, "end_time")
    if which == "operation_id":
        return Span("operation", message.operation_id, start, end, [])
    kind, field = _IDS.get(which, ("", ""))
    return Span(kind, getattr(getattr(message, which), field) if kind else "", start, end, [])


def _time(message: Any, field: str) -> int | None:
    """ns; None where it is missing, or the epoch or before, as Go writes a time that was never set."""
    time = getattr(message, field)
    if time.seconds < 0 or not (time.seconds or time.nanos):
        return None
    if time.seconds > LAST_SECOND or not 0 <= time.nanos < NANO:
        raise DecodeError(f"{field} is {time.seconds} s + {time.nanos} ns: no date; ask the server for a valid span")
    value: int = time.seconds * NANO + time.nanos
    return value
