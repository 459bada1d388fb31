"""The short way of binary task events gives what the long way gives, or nothing."""

from __future__ import annotations

from typing import Any

from flyteidl.admin import event_pb2 as admin_pb2
from flyteidl.event import event_pb2
from hypothesis import given
from hypothesis import strategies as st

from otel_events.model.errors import DecodeError
from otel_events.model.event import AnyEvent
from otel_events.sources.flyte import cut as flyte_cut
from otel_events.sources.flyte import fast as flyte_fast
from otel_events.sources.flyte.decode import decode
from otel_events.sources.flyte.fast import decode_fast
from otel_events.sources.flyte.task import decode_task
from tests.sources.flyte_messages import task_events


def simple(attempt: int = 0, log: bool = False) -> Any:
    event = event_pb2.TaskExecutionEvent(retry_attempt=attempt, phase=2, producer_id="propeller", reason="started")
    event.task_id.resource_type = 1
    event.task_id.project, event.task_id.domain, event.task_id.name, event.task_id.version = "p", "d", "t", "v1"
    event.parent_node_execution_id.node_id = "n0"
    execution = event.parent_node_execution_id.execution_id
    execution.project, execution.domain, execution.name = "p", "d", "e"
    event.occurred_at.seconds = 1_760_000_000
    event.metadata.generated_name = f"e-n0-{attempt}"
    if log:
        event.logs.add(name="Logs", uri="https://logs/1", message_format=2)
    return event


def long_way(event: Any) -> list[AnyEvent] | None:
    try:
        return decode_task(event)
    except DecodeError:
        return None


@given(st.lists(task_events(), min_size=1, max_size=3))
def test_the_short_way_gives_the_same_events_or_leaves_it_to_the_long_one(events: list[Any]) -> None:
    for event in events:
        record = event.SerializeToString()
        short = decode_fast(record)
        assert short is None or short == long_way(event_pb2.TaskExecutionEvent.FromString(record))
        wrapped = decode_fast(admin_pb2.TaskExecutionEventRequest(event=event).SerializeToString())
        assert wrapped == short


@given(task_events(), st.randoms(use_true_random=False))
def test_the_order_and_repetition_of_fields_change_nothing(event: Any, random: Any) -> None:
    pieces = []
    for field, value in event.ListFields():
        part = event_pb2.TaskExecutionEvent()
        if field.is_repeated:
            getattr(part, field.name).MergeFrom(value)
        elif field.message_type is not None:
            getattr(part, field.name).CopyFrom(value)
        else:
            setattr(part, field.name, value)
        pieces.append(part.SerializeToString())
    pieces.append(b"\x18\x00" if random.random() < 0.2 else b"\x18\x03" if random.random() < 0.2 else b"")
    head, rest = pieces[:2], pieces[2:]
    random.shuffle(rest)
    record = b"".join([*head, *rest])
    short = decode_fast(record)
    assert short is None or short == long_way(event_pb2.TaskExecutionEvent.FromString(record))


def test_usual_events_take_the_short_way() -> None:
    for event in (simple(), simple(3), simple(log=True)):
        record = event.SerializeToString()
        assert decode_fast(record) == decode_task(event)
        assert decode(record) == decode(record, "flyteidl.event.TaskExecutionEvent") == decode_task(event)


def test_what_changes_within_an_attempt_is_seen() -> None:
    first, other = simple(), simple()
    other.task_type, other.input_uri = "spark", "s3://in"
    other.metadata.plugin_identifier = "spark"
    for event in (first, other, first):
        assert decode_fast(event.SerializeToString()) == decode_task(event)


def test_the_caches_are_bounded(monkeypatch: Any) -> None:
    for module in (flyte_fast, flyte_cut):
        monkeypatch.setattr(module, "CACHE_LIMIT", 8)
    for attempt in range(50):
        event = simple(attempt, log=True)
        event.reason = event.producer_id = event.metadata.plugin_identifier = event.logs[0].name = f"x{attempt}"
        event.parent_node_execution_id.node_id = f"n{attempt}"
        event.task_id.version = event.parent_node_execution_id.execution_id.name = f"x{attempt}"
        assert decode_fast(event.SerializeToString()) == decode_task(event)
    caches: tuple[dict[Any, Any], ...] = (
        *(flyte_fast._ATTEMPTS, flyte_fast._TASKS, flyte_fast._EXECUTIONS, flyte_fast._NODES),
        *(flyte_cut._MIDDLES, flyte_cut._PRODUCERS, flyte_cut._PLUGINS, flyte_cut._LOG_KINDS),
    )
    assert all(0 < len(cache) <= 8 for cache in caches)


@given(st.binary(max_size=80))
def test_the_short_way_never_raises(record: bytes) -> None:
    assert decode_fast(record) is None
    assert decode_fast(b"\x0a\x08\x12\x01p\x1a\x01d\x22\x00" + record) is None


def test_cut_records_never_raise_and_never_lie() -> None:
    record = simple(1, log=True).SerializeToString()
    for end in range(len(record)):
        short = decode_fast(record[:end])
        if short is not None:
            assert short == long_way(event_pb2.TaskExecutionEvent.FromString(record[:end]))
