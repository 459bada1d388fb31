"""What a Prefect record becomes, rule by rule; whole captured runs are in test_prefect_golden.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otel_events.model.errors import DecodeError
from otel_events.model.event import PHASES, AnyEvent, Error, Link, Log, PhaseChange, Report
from otel_events.model.identity import span_id, trace_id, traceparent
from otel_events.sources.prefect.decode import decode, families_table
from otel_events.sources.prefect.tables import FAMILIES, NAMED_STATES, STATES, WITHHELD

FLOW, OTHER, TASK, CALLER = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "1234")
Json = dict[str, Any]


def record(event: str = "acme.thing.done", resource: str = "acme.thing.1", **fields: Any) -> Json:
    return {
        "occurred": "2026-11-21T00:08:49.561924Z",
        "event": event,
        "resource": {"prefect.resource.id": resource},
        "related": [],
        "payload": {},
        "id": "01a1fb6f-2c9a-7849-bd79-e84c482a5316",
        "follows": None,
        **fields,
    }


def role(name: str, resource: str, **labels: str) -> dict[str, str]:
    return {"prefect.resource.id": resource, "prefect.resource.role": name} | labels


FLOW_ROLES = [
    role("flow-run", f"prefect.flow-run.{FLOW}", **{"prefect.resource.name": "sly-turtle"}),
    role("flow", "prefect.flow.f1", **{"prefect.resource.name": "nightly"}),
]


def state(kind: str, name: str, before: str | None = None, message: str = "", of: str = "task", **task: Any) -> Json:
    """A state event of the flow run FLOW or of its task run TASK; ``before``: the type of the state it follows."""
    run = {"task": f"prefect.task-run.{TASK}", "flow": f"prefect.flow-run.{FLOW}"}[of]
    made = record(f"{run[:16]}.{name}", run)
    made["resource"] |= {"prefect.state-type": kind, "prefect.state-name": name, "prefect.state-message": message}
    made["related"] = FLOW_ROLES if of == "task" else FLOW_ROLES[1:]
    made["payload"] = {
        "initial_state": {"type": before, "name": "whatever"} if before else None,
        "validated_state": {"type": kind, "name": name},
    }
    if of == "task":
        made["payload"]["task_run"] = {"task_key": "extract-878d72d9", **task}
    return made


def one(source: Json) -> AnyEvent:
    (event,) = decode(json.dumps(source).encode())
    return event


def phase(source: Json) -> PhaseChange:
    event = one(source)
    assert isinstance(event, PhaseChange)
    return event


def log(source: Json) -> Log:
    event = one(source)
    assert isinstance(event, Log)
    return event


# --- states ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("SCHEDULED", "Scheduled", "pending"),
        ("SCHEDULED", "Late", "pending"),
        ("SCHEDULED", "AwaitingRetry", "pending"),
        ("SCHEDULED", "AwaitingConcurrencySlot", "pending"),
        ("PENDING", "Pending", "pending"),
        ("PENDING", "Submitting", "pending"),
        ("PENDING", "InfrastructurePending", "pending"),
        ("PENDING", "NotReady", "skipped"),
        ("RUNNING", "Running", "running"),
        ("RUNNING", "Retrying", "running"),
        ("RUNNING", "Resumed", "running"),
        ("PAUSED", "Paused", "paused"),
        ("PAUSED", "Suspended", "paused"),
        ("CANCELLING", "Cancelling", "finalizing"),
        ("COMPLETED", "Completed", "succeeded"),
        ("COMPLETED", "Cached", "succeeded"),
        ("FAILED", "Failed", "failed"),
        ("FAILED", "TimedOut", "timed_out"),
        ("CRASHED", "Crashed", "crashed"),
        ("CANCELLED", "Cancelled", "cancelled"),
        # Names lie: a refinement needs the type to fit too.
        ("COMPLETED", "Failed", "succeeded"),
        ("FAILED", "Completed", "failed"),
        ("COMPLETED", "TimedOut", "succeeded"),
        ("CRASHED", "TimedOut", "crashed"),
        ("FAILED", "NotReady", "failed"),
        ("FAILED", "Cached", "failed"),
        ("FAILED", "RolledBack", "failed"),
        ("RUNNING", "AwaitingRetry", "running"),
        ("FAILED", "Quality Gate/Fail", "failed"),
        ("COMPLETED", "Stage.1/2 ✓ ok", "succeeded"),
    ],
)
@pytest.mark.parametrize("of", ["task", "flow"])
def test_phase_is_of_the_state_type(kind: str, name: str, expected: str, of: str) -> None:
    event = phase(state(kind, name, of=of))
    assert (event.phase, event.native) == (expected, name)
    reused = {"otel_events.reused": True, "otel_events.cache.status": "hit"}
    assert (reused.items() <= event.attributes.items()) == ((kind, name) == ("COMPLETED", "Cached"))


def test_every_state_leads_to_a_phase_that_is_known() -> None:
    assert {row.phase for row in (*STATES.values(), *NAMED_STATES.values())} <= {*PHASES, ""}


@pytest.mark.parametrize(("kind", "name"), [("COMPLETED", "RolledBack"), ("ZOMBIE", "Undead"), ("", "Nameless")])
def test_what_is_no_change_of_phase_is_a_log_of_its_run(kind: str, name: str) -> None:
    event = log(state(kind, name))
    assert (event.event_name, event.run.id) == (f"prefect.task-run.{name}", TASK)
    assert event.attributes["prefect.state.type"] == kind


@pytest.mark.parametrize(
    ("kind", "name", "before", "expected"),
    [
        ("SCHEDULED", "AwaitingRetry", "RUNNING", True),
        ("SCHEDULED", "AwaitingRetry", "CRASHED", True),
        ("RUNNING", "Retrying", "RUNNING", True),
        ("RUNNING", "Retrying", None, True),
        ("RUNNING", "Retrying", "SCHEDULED", False),  # AwaitingRetry has begun the attempt
        ("RUNNING", "Retrying", "PENDING", False),
        ("RUNNING", "Retrying", "PAUSED", False),
        ("RUNNING", "Running", "SCHEDULED", False),
        ("RUNNING", "Running", "PENDING", False),
        ("RUNNING", "Resumed", "PAUSED", False),  # although run-count goes up
        ("RUNNING", "Running", "FAILED", True),
        ("RUNNING", "Retrying", "CRASHED", True),
        ("SCHEDULED", "Scheduled", "COMPLETED", True),
        ("PENDING", "Pending", "CANCELLED", True),
        ("PENDING", "NotReady", "COMPLETED", False),
        ("FAILED", "Retrying", "RUNNING", False),
        ("CANCELLING", "Cancelling", "COMPLETED", False),
        ("COMPLETED", "Completed", "FAILED", False),
    ],
)
def test_which_states_begin_an_attempt(kind: str, name: str, before: str | None, expected: bool) -> None:
    assert phase(state(kind, name, before)).next_attempt is expected


@pytest.mark.parametrize(
    ("kind", "name", "message", "expected"),
    [
        ("FAILED", "Failed", "Task run encountered an exception ValueError: x=1\nline", ("ValueError", "user")),
        ("FAILED", "Failed", "Flow run encountered an exception: my.mod.Boom: no", ("my.mod.Boom", "user")),
        ("FAILED", "Failed", "Task run encountered an exception KeyboardInterrupt", ("KeyboardInterrupt", "user")),
        ("FAILED", "Failed", "dq < 0.9", ("Failed", "user")),
        ("FAILED", "Quality Gate", "", ("Quality Gate", "user")),
        ("FAILED", "TimedOut", "Flow run failed due to timeout: TimeoutError('1 s')", ("TimeoutError", "user")),
        ("FAILED", "TimedOut", "Task run exceeded timeout of 1.0 second(s)", ("TimedOut", "user")),
        ("CRASHED", "Crashed", "Process exited with status code: 137.", ("Crashed", "system")),
        ("CRASHED", "Crashed", "", ("Crashed", "system")),
        ("SCHEDULED", "AwaitingRetry", "Flow run encountered an exception: OSError: x", ("OSError", "user")),
        ("SCHEDULED", "AwaitingRetry", "", None),
        ("RUNNING", "Retrying", "", None),
        ("CANCELLED", "Cancelled", "by code", None),
        ("COMPLETED", "Failed", "only the name says so", None),
    ],
)
def test_errors_are_of_the_message(kind: str, name: str, message: str, expected: tuple[str, Any] | None) -> None:
    event = phase(state(kind, name, message=message))
    assert event.reason == message
    assert event.error == (Error(expected[0], message, expected[1]) if expected else None)


def test_long_texts_are_cut() -> None:
    event = phase(state("FAILED", "Failed", message="m" * 200_000, dynamic_key="k" * 200_000))
    assert event.error is not None
    assert {len(event.reason), len(event.error.message)} == {4096}
    assert max(len(str(value)) for value in event.attributes.values()) == 4096


# --- runs and relations ---------------------------------------------------------------------------------------------


def test_a_flow_run_is_a_root_named_after_its_flow() -> None:
    source = state("RUNNING", "Running", of="flow")
    source["related"] = [*FLOW_ROLES[1:], role("task-run", f"prefect.task-run.{CALLER}")]
    event = one(source)
    run = event.run
    assert (run.kind, run.id, run.root, run.parent, run.attempt) == ("workflow", FLOW, FLOW, None, 0)
    assert (run.name, run.workflow, run.namespace) == ("nightly", "nightly", "")
    assert event.attributes["prefect.parent_task_run.id"] == CALLER  # a dummy without events: no parent, no link
    assert event.links == ()


def test_a_task_run_belongs_to_the_first_flow_run_named() -> None:
    source = state("RUNNING", "Running")
    stale = [
        role("flow-run", f"prefect.flow-run.{OTHER}"),
        role("flow", "prefect.flow.f2", **{"prefect.resource.name": "an earlier one"}),
    ]
    source["related"] = [*FLOW_ROLES, *stale]
    event = one(source)
    run = event.run
    assert (run.kind, run.id, run.root, run.parent, run.parent_kind) == ("task", TASK, FLOW, FLOW, "workflow")
    assert (run.name, run.workflow, run.attempt) == ("extract", "nightly", 0)
    assert OTHER not in str(event)


@pytest.mark.parametrize(
    ("key", "name"),
    [("extract-878d72d9", "extract"), ("a-b-0123abcd", "a-b"), ("plain", "plain"), ("x-878d72dZ", "x-878d72dZ")],
)
def test_the_hash_of_the_source_is_no_part_of_a_task_name(key: str, name: str) -> None:
    assert one(state("RUNNING", "Running", task_key=key)).run.name == name


def test_inputs_are_links_and_the_caller_is_the_parent() -> None:
    inputs = {
        "__parents__": [{"input_type": "task_run", "id": CALLER}],
        "xs": [{"input_type": "task_run", "id": "t1"}, {"input_type": "task_run", "id": "t2"}],
        "again": [{"input_type": "task_run", "id": "t1"}],
        "sub": [{"input_type": "flow_run", "id": OTHER}],
        "n": [],
        "c": [{"input_type": "constant", "type": "int"}, {"input_type": "parameter", "name": "p"}],
    }
    event = one(state("RUNNING", "Running", task_inputs=inputs))
    assert (event.run.parent, event.run.parent_kind, event.run.root) == (CALLER, "task", FLOW)
    assert event.links == (
        Link("depends_on", "t1", "task", FLOW),
        Link("depends_on", "t2", "task", FLOW),
        Link("depends_on", OTHER, "workflow", OTHER),
    )


def test_a_task_without_a_flow_is_its_own_root() -> None:
    source = state("RUNNING", "Running", task_inputs={"__parents__": [{"input_type": "task_run", "id": CALLER}]})
    source["related"] = []
    event = one(source)
    assert (event.run.root, event.run.parent, event.run.parent_kind) == (TASK, None, "")
    assert event.links == (Link("launched_by", CALLER, "task", CALLER),)


def test_a_heartbeat_names_the_task_that_called_the_flow() -> None:
    source = record("prefect.flow-run.heartbeat", f"prefect.flow-run.{FLOW}")
    source["related"] = [role("task-run", f"prefect.task-run.{CALLER}")]
    event = one(source)
    assert (event.run.id, event.links) == (FLOW, ())
    assert event.attributes["prefect.launcher.task_run.id"] == CALLER
    source["related"].append(role("flow-run", f"prefect.flow-run.{OTHER}"))
    assert one(source).links == (Link("launched_by", CALLER, "task", OTHER),)


def test_a_run_is_no_parent_of_itself() -> None:
    """States that are made while the span that we derive for the run is at hand carry that one."""
    caller, own = (span_id("prefect", "", of, 1, kind) for of, kind in ((FLOW, "workflow"), (TASK, "task")))
    for span, expected in ((caller, caller), (own, None)):
        source = state("RUNNING", "Running")
        told = traceparent(trace_id("prefect", "", FLOW), span)
        source["payload"]["validated_state"]["state_details"] = {"traceparent": told}
        found = phase(source).attributes.get("otel_events.parent.traceparent")
        assert found == (told if expected else None)


def test_state_events_tell_their_facts() -> None:
    source = state(
        "RUNNING",
        "Running",
        dynamic_key="d",
        cache_key="c",
        cache_expiration="2027-01-01T00:00:00Z",
        task_version="v1",
        empirical_policy={"retries": 2, "retry_delay": [1, 2.5], "retry_jitter_factor": 0.5, "max_retries": 2},
        tags=["b", "a"],
        labels={"team": "x", "n": 1},
        flow_run_run_count=1,
        expected_start_time="2026-11-21T00:00:00Z",
        total_run_time=0.5,
    )
    source["resource"] |= {"prefect.run-count": "1", "prefect.orchestration": "client", "new-label": "n"}
    source["resource"]["prefect.state-timestamp"] = "2026-11-21T00:08:50Z"
    source["related"] = [
        *FLOW_ROLES,
        role("tag", "prefect.tag.c"),
        role("deployment", "prefect.deployment.d1", **{"prefect.resource.name": "prod"}),
        role("work-pool", "prefect.work-pool.p1", **{"prefect.resource.name": "k8s", "prefect.work-pool.type": "k"}),
        role("work-queue", "prefect.work-queue.q1", **{"prefect.resource.name": "fast"}),
        role("dataset", "acme.dataset.7", acc="1"),
    ]
    details = {"scheduled_time": "2026-11-21T00:01:00Z", "retriable": False, "cache_key": None, "later": {"x": 1}}
    source["payload"]["validated_state"] |= {"state_details": details, "pause_reschedule": "true"}
    attributes = one(source).attributes
    assert attributes == {
        "prefect.flow.id": "f1",
        "prefect.flow.name": "nightly",
        "prefect.deployment.id": "d1",
        "prefect.deployment.name": "prod",
        "prefect.work_pool.id": "p1",
        "prefect.work_pool.name": "k8s",
        "prefect.work_pool.type": "k",
        "prefect.work_queue.id": "q1",
        "prefect.work_queue.name": "fast",
        "prefect.tags": "a,b,c",
        "prefect.related": '[{"acc":"1","prefect.resource.id":"acme.dataset.7","prefect.resource.role":"dataset"}]',
        "prefect.flow_run.name": "sly-turtle",
        "prefect.flow_run.run_count": 1,
        "prefect.task.key": "extract-878d72d9",
        "prefect.task.dynamic_key": "d",
        "prefect.task.cache_key": "c",
        "prefect.task.cache_expiration": "2027-01-01T00:00:00Z",
        "prefect.task.version": "v1",
        "prefect.expected_start_time": "2026-11-21T00:00:00Z",
        "prefect.total_run_time": 0.5,
        "prefect.retries": 2,
        "prefect.retry_delay": "[1.0,2.5]",
        "prefect.retry_jitter_factor": 0.5,
        "prefect.run.labels": '{"n":1,"team":"x"}',
        "prefect.run_count": 1,
        "prefect.orchestration": "client",
        "prefect.labels": '{"new-label":"n"}',
        "prefect.state.name": "Running",
        "prefect.state.type": "RUNNING",
        "prefect.state.timestamp": "2026-11-21T00:08:50Z",
        "prefect.state.scheduled_time": "2026-11-21T00:01:00Z",
        "prefect.state.retriable": False,
        "prefect.state.pause_reschedule": "true",
        "prefect.state.details": '{"later":{"x":1}}',
    }


# --- other families -------------------------------------------------------------------------------------------------

BOTH = [role("flow-run", f"prefect.flow-run.{FLOW}"), role("task-run", f"prefect.task-run.{TASK}")]


@pytest.mark.parametrize(
    ("event", "resource", "expected"),
    [
        ("prefect.artifact.created", "prefect.artifact.a1", ("task", TASK, FLOW)),
        ("prefect.asset.referenced", "s3://b/x", ("task", TASK, FLOW)),
        ("prefect.concurrency-limit.acquired", "prefect.concurrency-limit.c1", ("task", TASK, FLOW)),
        ("acme.model.trained", "acme.model.1", ("task", TASK, FLOW)),
        ("prefect.worker.submitted-flow-run", "prefect.worker.process.w1", ("workflow", FLOW, FLOW)),
        ("prefect.flow-run.pull-step.failed", f"prefect.flow-run.{OTHER}", ("workflow", OTHER, OTHER)),
    ],
)
def test_whose_event_it_is(event: str, resource: str, expected: tuple[str, str, str]) -> None:
    run = one(record(event, resource, related=BOTH)).run
    assert (run.kind, run.id, run.root) == expected
    assert (run.parent, run.attempt) == (None, 0)  # who called the task, its own events tell


def test_an_event_of_no_run_has_its_resource_as_root() -> None:
    run = one(record("prefect.work-pool.ready", "prefect.work-pool.p1")).run
    assert (run.kind, run.id, run.name, run.root) == ("task", "", "", "prefect.work-pool.p1")


@pytest.mark.parametrize(
    ("event", "severity"),
    [
        ("prefect.work-pool.ready", 9),
        ("prefect.deployment.not-ready", 13),
        ("prefect.kubernetes.pod.evicted", 13),
        ("prefect.kubernetes.pod.failed", 17),
        ("prefect.docker.container.creation-failed", 17),
        ("prefect.flow-run.pull-step.failed", 17),
        ("prefect.automation.action.failed", 17),
        ("prefect.asset.materialization.failed", 17),
        ("prefect.runner.cancelled-flow-run", 13),
        ("prefect-cloud.webhook.failed", 17),
        ("acme.model.trained", 9),
    ],
)
def test_severity_is_of_the_last_word(event: str, severity: int) -> None:
    assert log(record(event)).severity == severity


def test_a_user_event_keeps_its_labels_and_payload_as_json() -> None:
    source = record("acme.model.trained", "acme.model.42", payload={"b": [1, {"z": None}], "a": 0.5}, follows="e0")
    source["resource"] |= {"prefect.resource.name": "churn", "limit": "3", "acc": "0.9"}
    event = log(source)
    assert event.message == "acme.model.trained of churn"
    assert event.attributes == {
        "prefect.resource.id": "acme.model.42",
        "prefect.resource.name": "churn",
        "prefect.labels": '{"acc":"0.9","limit":"3"}',
        "prefect.payload": '{"a":0.5,"b":[1,{"z":null}]}',
        "prefect.follows": "e0",
    }


@pytest.mark.parametrize("payload", [None, [], "", {}])
def test_an_empty_payload_is_no_attribute(payload: Any) -> None:
    assert "prefect.payload" not in one(record(payload=payload)).attributes


@pytest.mark.parametrize("payload", [[1], "text", 0, False, 1.5])
def test_a_payload_may_be_any_json(payload: Any) -> None:
    assert one(record(payload=payload)).attributes["prefect.payload"] == json.dumps(payload)


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [("markdown", "text/markdown"), ("table", "application/json"), ("image", "image/*"), ("progress", "")],
)
def test_an_artifact_is_a_report_without_its_data(kind: str, media_type: str) -> None:
    payload = {"key": "report", "type": kind, "data": "PRIVATE", "description": "d"}
    event = one(record("prefect.artifact.created", "prefect.artifact.a1", payload=payload, related=BOTH))
    assert isinstance(event, Report)
    assert (event.name, event.media_type, event.uri, event.content) == ("report", media_type, "", "")
    assert event.attributes["prefect.artifact.description"] == "d"


def test_a_materialized_asset_is_a_report_of_where_it_is() -> None:
    event = one(record("prefect.asset.materialization.succeeded", "s3://b/x.csv", payload={"rows": 1}))
    assert isinstance(event, Report)
    assert (event.name, event.uri) == ("s3://b/x.csv", "s3://b/x.csv")
    assert event.attributes["prefect.payload"] == '{"rows":1}'


@pytest.mark.parametrize(
    ("row", "key"),
    [(row, key) for row in FAMILIES for key in row.withholds],
    ids=lambda one: str(getattr(one, "pattern", one)),
)
def test_what_a_family_withholds_is_nowhere_in_the_event(row: Any, key: str) -> None:
    event = one(record(row.prefix + "updated" * row.pattern.endswith("*"), payload={key: "PRIVATE", "new": "told"}))
    assert "PRIVATE" not in str(event)
    assert event.attributes["prefect.payload"] == '{"new":"told"}'


def test_the_printed_table_names_every_row() -> None:
    printed = families_table()
    for row in FAMILIES:
        assert f"| `{row.pattern}` |" in printed
    for what, why in WITHHELD:
        assert f"| {what} | {why} |" in printed
    assert all(f"| {kind} | any | `{row.phase}`" in printed for kind, row in STATES.items())


# --- answers of the API ---------------------------------------------------------------------------------------------


def test_answers_tell_who_called_a_subflow() -> None:
    dummy = {
        "id": "dummy",
        "created": "2026-11-21T00:12:05.740172Z",
        "flow_run_id": OTHER,
        "task_inputs": {"__parents__": [{"input_type": "task_run", "id": CALLER}]},
        "state": {"state_details": {"child_flow_run_id": FLOW}},
    }
    from_task = log({"task_runs": {"dummy": dummy}, "flow_runs": {}})
    assert (from_task.id, from_task.event_name) == ("dummy:subflow", "prefect.subflow")
    assert from_task.time == 1795219925740172000
    assert (from_task.run.kind, from_task.run.id, from_task.run.root) == ("workflow", FLOW, FLOW)
    assert from_task.links == (Link("launched_by", CALLER, "task", OTHER),)
    from_flow = one({"task_runs": {"dummy": dummy | {"task_inputs": {"i": []}}}})
    assert from_flow.links == (Link("launched_by", OTHER, "workflow", OTHER),)
    unknown = one({"task_runs": {"dummy": dummy | {"flow_run_id": None}}})
    assert unknown.links == ()
    assert unknown.attributes["prefect.launcher.task_run.id"] == CALLER


def test_answers_for_other_runs_are_snapshots() -> None:
    answer = {"created": "2026-11-21T00:00:00Z", "updated": "u1", "name": "n", "labels": {"k": "v"}, "tags": ["b", "a"]}
    context = {"__OTEL_TRACEPARENT": "00-6b5bfe867b28a4c35b9fc5ac189c9034-ae1bd652d00b93ed-03"}
    flow = log({"flow_runs": {FLOW: {"id": FLOW, **answer, "labels": context, "parameters": {"x": "PRIVATE"}}}})
    assert (flow.id, flow.event_name, flow.run.id) == (f"{FLOW}:rest:u1", "prefect.flow-run.snapshot", FLOW)
    assert flow.attributes["traceparent"] == context["__OTEL_TRACEPARENT"]
    assert "PRIVATE" not in str(flow)
    task = log({"task_runs": {TASK: {"id": TASK, "flow_run_id": FLOW, "task_key": "x-0123abcd", **answer}}})
    assert (task.event_name, task.run.name, task.run.root) == ("prefect.task-run.snapshot", "x", FLOW)
    assert task.attributes["prefect.run.labels"] == '{"k":"v"}'
    assert task.attributes["prefect.tags"] == "a,b"


def test_a_deleted_run_tells_nothing() -> None:
    assert decode(b'{"flow_runs":{"x":{"_status":404,"_body":{"detail":"Flow run not found"}}}}') == []


# --- times and refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21T00:08:49.561924Z", 1795219729561924000),
        ("2026-11-21T00:08:49.561924+00:00", 1795219729561924000),
        ("2026-11-21T02:08:49.561924+02:00", 1795219729561924000),
        ("2026-11-20T19:38:49.561924-0430", 1795219729561924000),
        ("2026-11-21T00:08:49Z", 1795219729000000000),
        ("2026-11-21T00:08:49.5Z", 1795219729500000000),
        ("2026-11-21T00:08:49.123456789Z", 1795219729123456789),
        ("1970-01-01T00:00:00.000001Z", 1000),
    ],
)
def test_times_are_nanoseconds(text: str, expected: int) -> None:
    assert one(record(occurred=text)).time == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "1970-01-01T00:00:00.000000Z", "1969-12-31T23:59:59Z", "2026-11-21T00:08:49.561924"),
        *("2026-13-21T00:08:49.561924Z", "2026-11-21T00:08:60.000000Z", "9999-12-31T23:59:59.999999Z", "1795219729"),
        *("2026-11-21T00:08:49.5\uff161924Z", "0001-01-01T00:00:00+14:00", "2026-11-21T00:08:49.+12345Z"),
    ],
)
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(DecodeError, match=r"`occurred` is .*not a time after 1970.*give one event"):
        one(record(occurred=text))


GOOD = json.dumps(record()).encode()
STATE = json.dumps(state("RUNNING", "Running")).encode()


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (b"", "truncated"),
        (GOOD[:-1], "truncated"),
        (GOOD + b"x", "trailing"),
        (b"[]", "Expected `object`"),
        (b"{}", r"`event`, `resource.prefect.resource.id`, `id` missing"),
        (b'{"type":"auth_success"}', "missing"),
        (b'{"type":"event","event":{}}', "missing"),
        (GOOD.replace(b'"acme.thing.done"', b'""'), "`event` missing"),
        (GOOD.replace(b'"acme.thing.done"', b"null"), r"\$.event"),
        (GOOD.replace(b'"id": "01a1', b'"no": "01a1'), "`id` missing"),
        (GOOD.replace(b"acme.thing.1", b""), "`resource.prefect.resource.id` missing"),
        (GOOD.replace(b'"acme.thing.1"', b"1"), r"Expected `str`, got `int` - at `\$.resource"),
        (GOOD.replace(b'"related": []', b'"related": [{"n": 1}]'), "Expected `str`, got `int`"),
        (GOOD.replace(b'"related": []', b'"related": 7'), "in `related`: Expected `array | null`"),
        (GOOD.replace(b'"payload": {}', b'"payload": NaN'), "malformed"),
        (GOOD.replace(b'"payload": {}', b'"payload": 1e999'), "out of range"),
        (GOOD.replace(b'"payload": {}', b'"payload": "\\ud800"'), "malformed|truncated"),
        (GOOD.replace(b"acme.thing.1", b"\xff"), "utf-8"),
        (GOOD.replace(b'"payload": {}', b'"payload": ' + b"[" * 1000 + b"]" * 1000), "more than 100 levels"),
        (b'{"a":' * 1000 + b"1" + b"}" * 1000, "more than 100 levels"),
        (
            STATE.replace(b'"task_key": "extract-878d72d9"', b'"task_inputs": []'),
            "in `payload`: Expected `object | null`",
        ),
        (STATE.replace(f"prefect.task-run.{TASK}".encode(), b"prefect.task-run."), "without the run's id"),
        (GOOD.replace(b"acme.thing.1", b"prefect.flow-run."), "without the run's id"),
        (b'{"events":7}', r"\$.events"),
        (b'{"flow_runs":{"a":{"created":"2026-11-21T00:00:00Z"}}}', "`flow_runs.a.id` missing"),
        (b'{"task_runs":{"a":{"id":"a"}}}', "`task_runs.a.created` is ''"),
        (b'{"task_runs":[]}', r"\$.task_runs"),
    ],
)
def test_a_bad_record_is_refused_with_what_where_and_what_to_do(bad: bytes, says: str) -> None:
    with pytest.raises(DecodeError, match=rf"(?s)not a Prefect record: .*(?:{says}).*; give one event"):
        decode(bad)


def test_a_page_is_refused_with_the_place_of_the_bad_event() -> None:
    with pytest.raises(
        DecodeError, match=r"^events\[1\]: not a Prefect record: `resource.*`id` missing or empty; give"
    ):
        decode(b'{"events":[' + GOOD + b',{"event":"x"}]}')
