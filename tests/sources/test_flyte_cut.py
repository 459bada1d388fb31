"""Events read by comparison with their attempt: what a parser reads, in the same order, and secrets are redacted."""

from __future__ import annotations

from typing import Any

import pytest
from flyteidl.event import event_pb2
from hypothesis import given
from hypothesis import strategies as st

from otel_events.core import redact
from otel_events.core.redact import suspicious
from otel_events.intake.ingest import decode_records
from otel_events.intake.records import Record
from otel_events.model.errors import DecodeError
from otel_events.model.event import AnyEvent
from otel_events.sources.flyte.decode import decode
from otel_events.sources.flyte.fast import decode_fast
from otel_events.sources.flyte.task import decode_task

SAID = "password=hunter2"


def usual(**fields: Any) -> Any:
    event = event_pb2.TaskExecutionEvent(phase=2, retry_attempt=1, **fields)
    event.task_id.resource_type = 1
    event.task_id.project, event.task_id.domain, event.task_id.name, event.task_id.version = "p", "d", "cut", "v1"
    event.parent_node_execution_id.node_id = "n0"
    execution = event.parent_node_execution_id.execution_id
    execution.project, execution.domain, execution.name = "p", "d", "cut"
    event.occurred_at.seconds, event.occurred_at.nanos = 1_760_000_000, 123_456_000
    return event


def full() -> Any:
    event = usual(producer_id="propeller", reason="started", phase_version=3, task_type="python-task", event_version=1)
    event.input_uri, event.output_uri = "s3://bucket/in", "s3://bucket/out"
    event.metadata.generated_name, event.metadata.plugin_identifier = "e-n0-1", "container"
    event.metadata.instance_class = 1
    event.logs.add(name="Logs", uri="https://logs/1", message_format=2)
    event.logs.add(name="All", uri="https://logs/2", ShowWhilePending=True, HideOnceFinished=True).ttl.seconds = 5
    event.reported_at.seconds = 1_760_000_001
    return event


def said_by(events: list[AnyEvent] | None) -> str:
    """Everything that the events say, the order of their attributes too."""
    return "None" if events is None else repr(list(events))


TEXTS = st.sampled_from(["", "a", "é", "x" * 127, "x" * 128, "y" * 5000, "J\x03abj\x01r\x82\x01"]) | st.text(max_size=4)


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """Events of one attempt, each with some of the usual fields, and at times what is not usual."""
    event = usual()
    event.phase = draw(st.sampled_from([1, 2, 3, 6, 0, 200]))
    for field in draw(st.sets(st.sampled_from(["producer_id", "input_uri", "output_uri", "reason", "task_type"]))):
        setattr(event, field, draw(TEXTS))
    event.phase_version = draw(st.sampled_from([0, 0, 1, 127, 128]))
    event.event_version = draw(st.sampled_from([0, 1, 1, 128]))
    event.occurred_at.nanos = draw(st.sampled_from([0, 1, 999_999_999, -1, 10**9]))
    if draw(st.booleans()):
        event.metadata.generated_name = draw(TEXTS)
        event.metadata.plugin_identifier = draw(st.sampled_from(["", "container"]))
        event.metadata.instance_class = draw(st.sampled_from([0, 1, 9]))
    for _ in range(draw(st.integers(0, 2))):
        event.logs.add(uri=draw(TEXTS), name=draw(TEXTS), message_format=draw(st.integers(0, 3)))
    if draw(st.booleans()):
        event.reported_at.seconds = draw(st.sampled_from([0, 1, 1_760_000_002]))
        event.reported_at.nanos = draw(st.sampled_from([0, 34, 162 + (1 << 7), 999_999_999]))
    raw: bytes = event.SerializeToString()
    return raw + draw(st.sampled_from([b"", b"", b"", b"\x18\x00", b"\x72\x00", b"\x3a\x02\x08\x01", b"\x6a\x01z"]))


@given(st.lists(records(), min_size=1, max_size=4))
def test_events_of_one_attempt_say_what_a_parser_finds(some: list[bytes]) -> None:
    for record in some:
        short = decode_fast(record)
        try:
            long: list[AnyEvent] | None = decode_task(event_pb2.TaskExecutionEvent.FromString(record))
        except DecodeError:
            long = None
        assert short is None or said_by(short) == said_by(long)


FIELDS = [field.name for field, _ in full().ListFields() if field.name not in ("task_id", "parent_node_execution_id")]


@pytest.mark.parametrize("missing", ["", *(set(FIELDS) - {"phase", "occurred_at"})])
def test_the_usual_fields_are_cut_whichever_of_them_are_there(missing: str) -> None:
    event = full()
    if missing:
        event.ClearField(missing)
    for _ in range(2):  # first by its tags, then by what the first one had
        events = decode_fast(event.SerializeToString())
        assert events is not None
        assert said_by(events) == said_by(decode_task(event))


def test_events_that_tell_nothing_new_share_their_attributes() -> None:
    event = usual(producer_id="propeller")
    (first,) = decode(event.SerializeToString())
    event.phase = 3
    (other,) = decode(event.SerializeToString())
    assert first.attributes is other.attributes
    assert first != other


@pytest.mark.parametrize("again", [b"\x0a\x00", b"\x0a\x01?", b"\x0a\x01x"])
def test_a_name_or_address_told_again_is_the_last_one_told(again: bytes) -> None:
    event = usual()
    record = event.SerializeToString()
    log = b"\x0a\x03uri\x12\x01n" + again
    head, time = record.split(b"\x3a", 1)
    record = head + b"\x32" + bytes([len(log)]) + log + b"\x3a" + time
    metadata = b"\x0a\x04name\x22\x01p" + again
    record += b"\x82\x01" + bytes([len(metadata)]) + metadata
    assert said_by(decode_fast(record)) == said_by(decode_task(event_pb2.TaskExecutionEvent.FromString(record)))


def _texts(event: Any) -> list[tuple[Any, str]]:
    node = event.parent_node_execution_id
    return [
        *((event, field) for field in ("producer_id", "reason", "input_uri", "output_uri", "task_type")),
        *((event.metadata, field) for field in ("generated_name", "plugin_identifier")),
        *((event.logs[number], field) for number in (0, 1) for field in ("uri", "name")),
        *((event.task_id, field) for field in ("name", "version", "project", "domain", "org")),
        *((node.execution_id, field) for field in ("project", "domain", "name", "org")),
        (node, "node_id"),
    ]


@pytest.mark.parametrize("place", range(len(_texts(full()))))
def test_a_secret_in_any_text_is_seen(place: int) -> None:
    event = full()
    decode(event.SerializeToString())  # an event of the same attempt without it
    message, field = _texts(event)[place]
    setattr(message, field, SAID)
    record = event.SerializeToString()
    for _ in range(2):
        assert suspicious(record)
    batch = decode_records("flyte", decode, [Record(record)], keep=True)
    attributes = [value for event in batch.events for value in event.attributes.values()]
    assert SAID not in attributes
    assert b"hunter2" not in (batch.masked[0] or b"")


@given(st.lists(records(), min_size=1, max_size=3), st.sampled_from(["", "eyJ", "token", "x://u:p@h", "zo_authoriz"]))
def test_intake_redacts_cut_events_as_it_does_parsed_ones(some: list[bytes], said: str) -> None:
    for record in some:
        event = event_pb2.TaskExecutionEvent.FromString(record)
        event.reason += said
        whole = event.SerializeToString()
        events = decode_fast(whole)
        if events is not None:
            batch = decode_records("flyte", decode, [Record(whole)], keep=True)
            assert batch.events == redact.events(decode_task(event))
            assert batch.masked[0] == redact.mask(whole)
