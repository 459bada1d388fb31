"""POST /cloudevents in its three modes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otel_events.gateway.gateway import Gateway
from tests.server.serving import Served, bounds, serving

KIND = "com.flyte.resource.flyteidl.admin.WorkflowExecutionEventRequest"
STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}


def request(phase: str = "RUNNING") -> dict[str, Any]:
    """The event of a workflow execution as flyteadmin puts it into ``data``."""
    execution = {"project": "flytesnacks", "domain": "development", "name": "a7xk2p9qv5"}
    told = {"executionId": execution, "producerId": "propeller", "phase": phase, "occurredAt": "2026-07-01T12:00:01.5Z"}
    return {"event": told}


def cloudevent(phase: str = "RUNNING", kind: str = KIND) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "type": kind,
        "source": "https://example.org/flyteadmin",
        "id": f'name:"a7xk2p9qv5".{phase}',
        "time": "2026-07-01T12:00:01.5Z",
        "datacontenttype": "application/json",
        "data": request(phase),
    }


def binary(kind: str = KIND, content: str = "application/json") -> dict[str, str]:
    attributes = {
        "ce-specversion": "1.0",
        "ce-type": kind,
        "ce-source": "https://example.org",
        "ce-id": "%22a%22.RUNNING",
    }
    return attributes | {"Content-Type": content}


def test_one_event_is_the_same_in_all_three_modes(opened: Gateway) -> None:
    with serving(opened) as served:
        first = served.cloudevents(json.dumps(cloudevent()).encode(), STRUCTURED)
        batch = served.cloudevents(json.dumps([cloudevent(), cloudevent("SUCCEEDED")]).encode(), BATCH)
        last = served.cloudevents(json.dumps(request("SUCCEEDED")).encode(), binary())
    assert first.json() == {"accepted": 1, "duplicates": 0, "refused": [], "refused_count": 0}
    assert batch.json() == {"accepted": 1, "duplicates": 1, "refused": [], "refused_count": 0}
    assert last.json() == {"accepted": 0, "duplicates": 1, "refused": [], "refused_count": 0}


def test_a_type_without_source_is_refused_with_the_known_ones(shared: Served) -> None:
    answer = shared.cloudevents(json.dumps(cloudevent(kind="org.example.thing")).encode(), STRUCTURED)
    assert answer.status_code == 400
    (refused,) = answer.json()["refused"]
    assert "org.example.thing" in refused["reason"]
    assert "com.flyte.resource.* (flyte)" in refused["reason"]


def test_a_bad_event_in_a_batch_costs_itself_only(shared: Served) -> None:
    body = json.dumps([1, cloudevent("FAILED"), {"type": 1}, cloudevent(kind="other"), cloudevent("NO_SUCH")])
    told = shared.cloudevents(body.encode(), BATCH).json()
    assert told["accepted"] + told["duplicates"] == 1
    assert [one["where"] for one in told["refused"]] == [f"/cloudevents:{number}" for number in (1, 3, 4, 5)]


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[", b"[" * 100_000, b"\xff"])
def test_a_batch_that_is_no_array_is_400(shared: Served, body: bytes) -> None:
    assert shared.cloudevents(body, BATCH).status_code == 400


def test_an_empty_batch_holds_no_records(shared: Served) -> None:
    answer = shared.cloudevents(b"[]", BATCH)
    assert (answer.status_code, answer.json()["error"]) == (400, "no records in the body: send one a line")


def test_a_batch_of_too_many_values_is_refused_unread(opened: Gateway) -> None:
    with serving(opened, limits=bounds(records=10)) as served:
        assert served.cloudevents(b"[" + b"1," * 50 + b"1]", BATCH).status_code == 413


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"type":null}', b'{"type":"\\ud800"}', b'{"a":' * 100_000])
def test_a_structured_event_that_is_none_is_refused(shared: Served, body: bytes) -> None:
    answer = shared.cloudevents(body, STRUCTURED)
    assert (answer.status_code, answer.json()["refused_count"]) == (400, 1)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "application/json"},
        binary() | {"Content-Type": "application/cloudevents+protobuf"},
        {"Content-Type": "application/cloudevents+avro"},
    ],
)
def test_what_is_no_cloudevent_is_415_with_the_modes(shared: Served, headers: dict[str, str]) -> None:
    answer = shared.cloudevents(b"{}", headers)
    assert answer.status_code == 415
    assert "application/cloudevents-batch+json" in answer.json()["error"]


def test_binary_data_that_is_not_what_its_type_says_is_refused(shared: Served) -> None:
    answer = shared.cloudevents(b"{", binary())
    assert (answer.status_code, answer.json()["refused_count"]) == (400, 1)


def test_binary_data_of_other_types_goes_in_base64(opened: Gateway) -> None:
    # The bytes of WorkflowExecutionEventRequest{event{execution_id, producer_id, phase, occurred_at}}.
    from flyteidl.admin import event_pb2
    from google.protobuf.json_format import ParseDict

    body = ParseDict(request(), event_pb2.WorkflowExecutionEventRequest()).SerializeToString()
    with serving(opened) as served:
        answer = served.cloudevents(body, binary(content="application/protobuf"))
        again = served.cloudevents(json.dumps(request()).encode(), binary(content="application/json"))
    assert (answer.json()["accepted"], again.json()["duplicates"]) == (1, 1)
