"""events.add and events.add_batch: reasons, codes, and that a bad event costs itself only."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events.clearml_server.api import app
from otel_events.clearml_server.api.access import Access
from otel_events.clearml_server.api.add import ENDPOINTS, MAX_REASONS, add, add_batch
from otel_events.clearml_server.api.base import MODEL, TASK, ApiError, Call, Service
from otel_events.clearml_server.store import LOG, SCALAR, TYPES, Owner
from otel_events.sources.clearml.decode import AnsweredCall, recorded
from tests.clearml_server.asking import NOW, Asked, asking, image, line, parts, plot, scalar
from tests.clearml_server.running import running
from tests.patience import PATIENCE


@pytest.fixture
def asked() -> Iterator[Asked]:
    with asking() as over_a_store:
        yield over_a_store


def batch(asked: Asked, *events: Any) -> dict[str, Any]:
    return dict(add_batch(asked.service, Call("events.add_batch", (2, 34), {}, lines=list(events), now_ms=NOW)))


def refusal(asked: Asked, *events: Any) -> tuple[int, int, str]:
    try:
        batch(asked, *events)
    except ApiError as error:
        return error.code, error.subcode, error.message
    raise AssertionError("the batch was taken")


def test_every_type_is_added_and_read_back(asked: Asked) -> None:
    vector = scalar(1, None, values=[1, 2.5]) | {"type": "training_stats_vector", "metric": "hist"}
    answer = batch(asked, scalar(1, 0.5), image(1, "http://files/1.png"), plot(1), line("hello"), vector)
    assert answer == {"added": 5, "errors": 0, "errors_info": {}}
    assert {event["type"] for event in asked("get_task_events", task="t")["events"]} == set(TYPES)
    assert add(asked.service, Call("events.add", (2, 34), scalar(2, 1.0), now_ms=NOW))["added"] == 1
    assert asked.service.events.summary(Owner("t")).last_iteration == 2


BAD: tuple[tuple[Any, str], ...] = (
    ({"task": "t"}, "Event must have a 'type' field"),
    (scalar(1, 1.0, type=None), "Event must have a 'type' field"),
    (scalar(1, 1.0, type="zzz"), "Invalid event type zzz"),
    (scalar(1, 1.0, type="z z"), "Invalid event type z_z"),
    (scalar(1, 1.0, type=5), "Invalid event type 5"),
    (scalar(1, 1.0, type=["x"]), "Invalid event type ['x']"),
    ({"type": "log", "msg": "x"}, "Event must have a 'task' field"),
    (scalar(1, 1.0, task=None), "Event must have a 'task' field"),
    (scalar(1, 1.0, task="nope"), "Invalid task id nope"),
    (scalar(1, 1.0, task=["t"]), "Invalid task id ['t']"),
    (scalar(1, 1.0, task="u", model_event=True), "Invalid model id u"),
    (line("x", task="m", model_event=True), "Task log events are not supported for models"),
    (scalar(1, math.nan), "value must be a finite number"),
    (scalar(1, "1.5"), "value must be a number"),  # type: ignore[arg-type]  # what a client may send
    (scalar("abc", 1.0), "iter must be an integer"),  # type: ignore[arg-type]  # the same
    (scalar(2**63, 1.0), "iter is beyond 64 bits"),
    (scalar(1, 1.0) | {"metric": ["m"]}, "metric and variant must be strings"),
    (scalar(1, 1.0, metric="\ud800"), "the event cannot be written as JSON"),
)


@pytest.mark.parametrize(("event", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_a_bad_event_costs_itself_only(asked: Asked, event: dict[str, Any], reason: str) -> None:
    assert refusal(asked, dict(event), dict(event)) == (400, 131, f"Events not added: {reason}=2")
    assert batch(asked, scalar(7, 1.0), dict(event), scalar(8, 1.0)) == {
        "added": 2,
        "errors": 1,
        "errors_info": {reason: 1},
    }
    assert [event["iter"] for event in asked("get_task_events", task="t")["events"]] == [7, 8]


def test_reasons_come_in_the_order_of_events(asked: Asked) -> None:
    assert refusal(asked, scalar(1, 1.0, task="zz"), scalar(1, 1.0, task="zz"), {"type": "q", "task": "t"})[2] == (
        "Events not added: Invalid task id zz=2, Invalid event type q=1"
    )


def test_an_empty_batch_and_one_plain_object(asked: Asked) -> None:
    assert refusal(asked) == (400, 17, "Batch request contains no items")
    plain = Call("events.add_batch", (2, 34), scalar(1, 1.0), now_ms=NOW)
    assert add_batch(asked.service, plain)["added"] == 1


def test_spaces_in_a_type_are_underscores(asked: Asked) -> None:
    assert batch(asked, scalar(1, 1.0, type="training stats scalar"))["added"] == 1
    assert asked("get_task_events", task="t")["events"][0]["type"] == SCALAR


def test_one_id_with_different_settings_stores_nothing(asked: Asked) -> None:
    assert refusal(asked, scalar(1, 1.0, allow_locked=True), scalar(2, 1.0)) == (
        400,
        12,
        "Validation error (Inconsistent allow_locked setting in the passed events for t)",
    )
    assert refusal(asked, scalar(1, 1.0), scalar(2, 1.0, model_event=True)) == (
        400,
        12,
        "Validation error (Inconsistent model_event setting in the passed events): tasks=(t)",
    )
    assert asked("get_task_events", task="t")["total"] == 0


def test_what_is_published_changes_only_where_the_caller_insists(asked: Asked) -> None:
    asked.store.documents.put(TASK, "t", {"id": "t", "status": "published"})
    asked.store.documents.put(MODEL, "m", {"id": "m", "ready": True})
    assert refusal(asked, scalar(1, 1.0))[2] == "Events not added: Invalid task id t=1"
    assert refusal(asked, scalar(1, 1.0, task="m", model_event=True))[2] == "Events not added: Invalid model id m=1"
    assert batch(asked, scalar(1, 1.0, allow_locked=True), scalar(1, 1.0, task="u"))["added"] == 2


def test_a_models_id_may_stand_under_its_own_name(asked: Asked) -> None:
    event = scalar(1, 2.0, model="m", model_event=True)
    del event["task"]
    assert batch(asked, event)["added"] == 1
    (event,) = asked("get_task_events", task="m", model_events=True)["events"]
    assert (event["task"], event["model_event"], "model" in event) == ("m", True, False)


def test_foreign_ids_do_not_make_the_answer_large(asked: Asked) -> None:
    events = [scalar(1, 1.0, task=f"{n}" + "x" * 1_000) for n in range(MAX_REASONS + 50)]
    answer = batch(asked, scalar(1, 1.0), *events)
    assert answer["errors"] == MAX_REASONS + 50
    assert answer["errors_info"]["Other reasons"] == 50
    assert max(map(len, answer["errors_info"])) < 200


def test_iterations_of_every_kind(asked: Asked) -> None:
    assert (
        batch(asked, scalar("7", 1.0), scalar(1.7, 1.0), scalar(None, 1.0), scalar(None, 1.0, iter=None))[  # type: ignore[arg-type]  # what a client may send
            "added"
        ]
        == 4
    )
    assert [event.get("iter", "none") for event in asked("get_task_events", task="t")["events"]][:2] == [1, 7]


hostile = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
FIELDS = ("type", "task", "metric", "variant", "iter", "value", "values", "timestamp", "worker", "model_event", "key")


@given(st.lists(st.dictionaries(st.sampled_from((*FIELDS, "msg", "url", "plot_str")), hostile, max_size=4), max_size=4))
def test_whatever_comes_beside_it_a_good_event_is_kept(changes: list[dict[str, Any]]) -> None:
    with asking() as asked:
        odd = [scalar(1, 1.0, task="u", allow_locked=False) | change for change in changes]
        odd = [event for event in odd if event.get("task") != "t"]
        models = {event["task"] for event in odd if isinstance(event["task"], str) and event.get("model_event")}
        if any(
            isinstance(event["task"], str) and event["task"] in models and not event.get("model_event") for event in odd
        ):
            return
        answer = batch(asked, scalar(5, 1.0), *odd)
        assert answer["added"] + answer["errors"] == 1 + len(odd)
        assert asked("get_task_events", task="t")["total"] == 1
        json.dumps(answer)


class Http:
    """The two endpoints over HTTP, and what they ``told``."""

    def __init__(self, client: httpx.Client, offered: list[Any]) -> None:
        self.offered, self._client = offered, client
        token = client.get("/auth.login", auth=("key", "secret")).json()["data"]["token"]
        self._headers = {"Authorization": f"Bearer {token}", "X-ClearML-Worker": "w-1"}

    def lines(self, body: bytes) -> dict[str, Any]:
        headers = self._headers | {"Content-Type": "application/json-lines"}
        answer = self._client.request("GET", "/v2.23/events.add_batch", content=body, headers=headers)
        answered: dict[str, Any] = answer.json()
        return answered


@pytest.fixture
def http(asked: Asked) -> Iterator[Http]:
    offered: list[Any] = []

    def offer(call: AnsweredCall) -> None:
        offered.append(msgspec.json.decode(recorded(call)))

    service = Service(*parts(asked.store), "company", lambda: NOW, lambda: 0.0, offer)
    with (
        running(app.create(service, Access({}, b"x" * 32), ENDPOINTS)) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE) as client,
    ):
        yield Http(client, offered)


def test_a_batch_over_http_is_told_without_what_was_refused(http: Http) -> None:
    events = [scalar(1, 0.5), scalar(1, 1.0, task="nope"), {"type": LOG, "task": "t", "msg": "x"}]
    answer = http.lines("\n".join(map(json.dumps, events)).encode())
    assert answer["data"] == {"added": 2, "errors": 1, "errors_info": {"Invalid task id nope": 1}}
    (record,) = http.offered
    assert [record[key] for key in ("t", "endpoint", "version", "status", "worker")] == [
        NOW / 1000,
        "events.add_batch",
        "2.23",
        200,
        "w-1",
    ]
    assert [event["type"] for event in record["body"]["events"]] == [SCALAR, LOG]
    assert record["resp"]["data"]["errors"] == 1


def test_what_is_refused_is_counted(asked: Asked) -> None:
    counted: list[int] = []
    asked.service.refused = counted.append
    refusal(asked, scalar(1, math.nan), {"task": "t"})
    batch(asked, scalar(1, 1.0), scalar(2, 1.0, task="nope"))
    batch(asked, scalar(1, 1.0))
    assert counted == [2, 1]


def test_nan_as_python_writes_it_and_lone_surrogates_leave_the_batch_alive(http: Http) -> None:
    bad = json.dumps(scalar(1, math.nan, metric="\ud800"))
    answer = http.lines(f"{bad}\n{json.dumps(scalar(2, 1.0))}".encode())
    assert (answer["data"]["added"], answer["data"]["errors"]) == (1, 1)
    assert [event["iter"] for event in http.offered[0]["body"]["events"]] == [2]


def test_a_bad_line_refuses_the_request_and_nothing_is_told(http: Http) -> None:
    answer = http.lines(json.dumps(scalar(1, 1.0)).encode() + b"\n{bad")
    assert (answer["meta"]["result_code"], answer["meta"]["result_subcode"]) == (400, 0)
    assert http.offered == []
