"""The forms in which Flyte records come, how they are told apart, and what is refused and why."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import pytest
from flyteidl.admin import event_pb2 as admin_pb2
from hypothesis import given
from hypothesis import strategies as st

from otel_events.model.errors import DecodeError
from otel_events.model.event import AnyEvent, PhaseChange
from otel_events.sources.flyte import decode as flyte
from otel_events.sources.flyte import v2 as flyte_v2
from otel_events.sources.flyte.decode import LEVELS, decode
from tests.sources.flyte_messages import TIME, enveloped, whole

NS = TIME * 1_000_000_000


def record_of(level: str, request: bool) -> bytes:
    event = whole(level)
    record: bytes = (LEVELS[level].request(event=event) if request else event).SerializeToString()
    return record


HINTS = {
    "workflow": ("CreateWorkflowEvent", "flyteidl.event.WorkflowExecutionEvent", "003.workflow.pb"),
    "node": (
        "/flyteidl.service.AdminService/CreateNodeEvent",
        "flyteidl.admin.NodeExecutionEventRequest",
        "a/1.node.pb",
    ),
    "task": ("CreateTaskEvent", "com.flyte.resource.flyteidl.admin.TaskExecutionEventRequest", "1.task.json"),
}


@pytest.mark.parametrize("request_too", [False, True])
@pytest.mark.parametrize("level", ["workflow", "node", "task"])
def test_bytes_are_told_apart_with_and_without_a_hint(level: str, request_too: bool) -> None:
    record = record_of(level, request_too)
    expected = LEVELS[level].decode(whole(level))
    for hint in ("", "application/protobuf", "some/file.pb", *HINTS[level]):
        assert decode(record, hint) == expected


def test_a_request_id_and_unknown_fields_change_nothing() -> None:
    request = admin_pb2.NodeExecutionEventRequest(request_id="abc", event=whole("node"))
    unknown = b"\xfa\x07\x03new"
    assert decode(request.SerializeToString() + unknown) == LEVELS["node"].decode(whole("node"))
    task = admin_pb2.TaskExecutionEventRequest(request_id="abc", event=whole("task"))
    assert decode(task.SerializeToString() + unknown) == LEVELS["task"].decode(whole("task"))


def test_bytes_that_begin_like_json_with_a_newline_are_protobuf() -> None:
    event = whole("task")
    event.task_id.version = "v" * (ord("{") - event.task_id.ByteSize() - 2)
    record = event.SerializeToString()
    assert record[:2] == b"\n{"
    assert decode(record) == decode(b"\x12" + bytes([len(record) & 127 | 128, len(record) >> 7]) + record)


SINK = (
    '[--TASK EVENT--] resource_type:TASK  project:"p" domain:"d"   name:"t, \\"x\\"" version:"v",'
    'node_id:"n0"  execution_id:{project:"p"  domain:"d" name:"e"}, Phase: RUNNING,'
    " OccuredAt: 2026-07-01 14:00:00.5 +0200 CEST m=+0.001"
)


def test_a_line_of_the_text_sink_with_gos_random_spaces() -> None:
    [event] = decode(SINK.encode())
    assert isinstance(event, PhaseChange)
    assert (event.run.name, event.run.attempt, event.time, event.phase) == ('t, "x"', 0, NS + 500_000_000, "running")
    assert event.id == f'p:d:e:n0:t, "x":v:-:RUNNING:-:{NS + 500_000_000}'


TASK_JSON: dict[str, Any] = {
    "taskId": {"resourceType": "TASK", "name": "t"},
    "parentNodeExecutionId": {"nodeId": "n0", "executionId": {"project": "p", "domain": "d", "name": "e"}},
    "phase": "RUNNING",
    "occurredAt": "2026-07-01T12:00:00Z",
}


@pytest.mark.parametrize(
    "record",
    [
        TASK_JSON,
        {"event": TASK_JSON},
        {"rawEvent": TASK_JSON},
        {"specversion": "1.0", "type": "com.flyte.resource.x.TaskExecutionEventRequest", "data": {"event": TASK_JSON}},
        {"headers": {"ce_type": ""}, "value": json.dumps({"event": TASK_JSON})},
        {"headers": {}, "value": TASK_JSON},
        {"attributes": {}, "data": base64.b64encode(record_of("task", True)).decode()},
        {"Type": "Notification", "Message": base64.b64encode(record_of("task", False)).decode()},
        {
            "specversion": "1.0",
            "type": "com.flyte.resource.flyteidl.admin.TaskExecutionEventRequest",
            "data_base64": base64.b64encode(json.dumps({"event": TASK_JSON}).encode()).decode(),
        },
    ],
)
def test_json_wrappings_hold_the_same_event(record: dict[str, Any]) -> None:
    assert decode(enveloped(record)) == LEVELS["task"].decode(whole("task"))


def without(*path: str) -> bytes:
    record = json.loads(json.dumps(TASK_JSON))
    part = record
    for key in path[:-1]:
        part = part[key]
    del part[path[-1]]
    return enveloped(record)


def told(**fields: Any) -> bytes:
    return enveloped(TASK_JSON | fields)


REFUSED: list[tuple[bytes, str, str]] = [
    (b"", "", "empty"),
    (b"\x00\x01\x02", "", "no Flyte event"),
    (b"hello", "003.task.pb", "no flyteidl.event.TaskExecutionEvent nor its request"),
    (record_of("task", True)[:-3], "003.task.pb", "cut, or of another type"),
    (record_of("node", True), "CreateTaskEvent", "is missing|cut, or of another"),
    (b"{", "", "broken JSON"),
    (b'{"event": NaN}', "", "broken JSON"),
    (b'{"taskId": {"name": "\\ud800"}}', "", "broken JSON|surrogate"),
    (b'{"taskId": {"name": "\xff"}}', "", "broken JSON"),
    (b"[]", "", "JSON array"),
    (b"{}", "", "no Flyte event in this JSON"),
    (b'{"event": 5}', "", "no Flyte event in this JSON"),
    (b'{"event": 5}', "CreateTaskEvent", "expected an object"),
    (b'{"a":' * 1_000 + b"1" + b"}" * 1_000, "", "nested more than 100 levels deep"),
    (told(customInfo=json.loads('{"a":' * 900 + "1" + "}" * 900)), "", "nested more than 100 levels deep"),
    (without("phase"), "", "phase is UNDEFINED"),
    (told(phase=99), "", "phase is 99, which is unknown"),
    (told(phase="RUNING"), "", "phase: 'RUNING'"),
    (without("occurredAt"), "", "occurred_at is missing"),
    (told(occurredAt="1970-01-01T00:00:00Z"), "", "occurred_at is missing or the epoch"),
    (told(occurredAt="1969-12-31T00:00:00Z"), "", "occurred_at is -86400 s"),
    (told(occurredAt="9999-01-01T00:00:00Z"), "", "not between 1970 and 2262"),
    (without("taskId", "name"), "", "task_id.name is missing"),
    (without("parentNodeExecutionId", "nodeId"), "", "node_id is missing"),
    (without("parentNodeExecutionId", "executionId", "project"), "", "execution_id.project is missing"),
    (told(taskId={"name": "a\nb"}), "", "not a name that Flyte gives"),
    (told(metadata={"externalResources": [{"index": 1, "phase": 42}]}), "", "external_resources.phase is 42"),
    (told(reasons=[{"reason": "x", "occurredAt": "1960-01-01T00:00:00Z"}]), "", "reasons.0..occurred_at"),
    (b'{"specversion":"1.0","type":"com.github.push","data":{}}', "", "not one of Flyte's"),
    (b'{"specversion":"1.0","type":"com.flyte.resource.X"}', "", "has no data"),
    (b'{"headers":{},"value":null}', "", "tombstone"),
    (b'{"Type":"Notification","Message":"%%"}', "", "SNS Message is no base64"),
    (b'{"attributes":{},"data":5}', "", "Pub/Sub data is no base64"),
    (b'{"method":"CreateTaskEvent","b64":"AAA"}', "", "b64 is no base64"),
    (b'{"method":"CreateTaskEvent","b64":""}', "", "empty"),
    (b"[--TASK EVENT--] nonsense", "", "no line of"),
    (SINK.replace("RUNNING", "WALKING").encode(), "", "'WALKING'"),
    (SINK.replace("2026-07-01", "1970-01-01").replace("14:00:00.5", "02:00:00").encode(), "", "epoch"),
    (SINK.replace("2026-07-01", "2026-17-01").encode(), "", "OccuredAt"),
    (SINK.replace(",node_id", ";node_id").encode(), "", "names no node"),
    (SINK.replace('node_id:"n0"', "node_id:n0").encode(), "", "NodeExecutionIdentifier"),
    (SINK.encode() + b"\xff", "", "not UTF-8"),
    (b"{}", "RecordRequest", "no events"),
    (b"\x01", "flyteidl2.workflow.RecordRequest", "no flyteidl2.workflow.RecordRequest"),
    (b'{"events":[{"phase":"ACTION_PHASE_RUNNING"}]}', "", r"events\[0\].*attempt is 0"),
]


@pytest.mark.parametrize(("record", "hint", "reason"), REFUSED)
def test_what_is_refused_says_why(record: bytes, hint: str, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode(record, hint)


@pytest.mark.parametrize(("seconds", "nanos"), [(0, 0), (-5, 0), (2**40, 0), (TIME, -1), (TIME, 1_000_000_000)])
@pytest.mark.parametrize("level", ["workflow", "node", "task"])
def test_times_that_are_none_are_refused_in_protobuf_too(level: str, seconds: int, nanos: int) -> None:
    event = whole(level)
    event.occurred_at.seconds, event.occurred_at.nanos = seconds, nanos
    with pytest.raises(DecodeError, match="occurred_at"):
        decode(event.SerializeToString())


def test_wrappings_without_end_are_refused() -> None:
    inner = json.dumps(TASK_JSON)
    for _ in range(6):
        inner = json.dumps({"headers": {}, "value": inner})
    with pytest.raises(DecodeError, match="wrappings"):
        decode(inner.encode())


def outcome(record: bytes, hint: str) -> list[AnyEvent] | str:
    """The events, or why the record is refused; neither is ever empty."""
    try:
        return decode(record, hint)
    except DecodeError as error:
        return str(error)


@given(st.binary(max_size=60), st.sampled_from(["", "1.task.pb", "1.node.pb", "RecordRequest"]))
def test_no_bytes_raise_anything_else(record: bytes, hint: str) -> None:
    for one in (record, record_of("task", True) + record, record_of("node", False)[: len(record)] + record):
        assert outcome(one, hint)


ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [*TASK_JSON, "event", "rawEvent", "events", "headers", "value", "specversion", "type", "data", "logs"]
)


@given(st.dictionaries(KEYS, ANY_JSON, max_size=3), st.booleans())
def test_no_json_raises_anything_else(fields: dict[str, Any], over_a_task: bool) -> None:
    record = (TASK_JSON | fields) if over_a_task else fields
    assert outcome(enveloped(record), "")


def test_flyte_2_needs_its_package_only_for_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flyteidl2.workflow", None)
    flyte_v2._request.cache_clear()
    with pytest.raises(DecodeError, match="pip install flyteidl2"):
        decode(b'{"events":[{}]}')
    with pytest.raises(DecodeError, match="pip install flyteidl2"):
        decode(b"\x0a\x00")
    assert decode(record_of("node", True))
    monkeypatch.undo()
    flyte_v2._request.cache_clear()


def test_hints_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flyte, "CACHE_LIMIT", 8)
    for number in range(50):
        assert decode(record_of("node", False), f"{number}.node.pb")
    assert len(flyte._HINTS) <= 8
