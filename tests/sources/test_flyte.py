"""What the events of a Flyte record say: phases, ids, relations, reports, enrichment; Flyte 1 and 2."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flyteidl.event import cloudevents_pb2

from otel_events.model.event import Error, Link, Log, PhaseChange, Report
from otel_events.sources.flyte import v2 as flyte_v2
from otel_events.sources.flyte.base import NODE_PHASES, TASK_PHASES, WORKFLOW_PHASES
from otel_events.sources.flyte.decode import LEVELS, decode
from tests.sources.flyte_messages import TIME, enveloped, whole

NS = TIME * 1_000_000_000


def change(event: Any, level: str = "task") -> PhaseChange:
    found = LEVELS[level].decode(event)[0]
    assert isinstance(found, PhaseChange)
    return found


@pytest.mark.parametrize(
    ("level", "phases"), [("workflow", WORKFLOW_PHASES), ("node", NODE_PHASES), ("task", TASK_PHASES)]
)
def test_the_phase_tables_are_those_of_flyteidl(level: str, phases: dict[int, tuple[str, str]]) -> None:
    field = LEVELS[level].event.DESCRIPTOR.fields_by_name["phase"]
    told = {value.number: value.name for value in field.enum_type.values if value.number}
    assert {number: native for number, (native, _) in phases.items()} == told


def test_the_phase_table_of_flyte_2_is_that_of_flyteidl2() -> None:
    from flyteidl2.common.phase_pb2 import ActionPhase

    assert {number: native for number, (native, _) in flyte_v2.PHASES.items()} == {
        number: name for name, number in ActionPhase.items() if number
    }


@pytest.mark.parametrize("level", ["workflow", "node", "task"])
@pytest.mark.parametrize(("kind", "phase"), [(0, "failed"), (1, "failed"), (2, "crashed")])
def test_a_failure_of_the_system_is_a_crash(level: str, kind: int, phase: str) -> None:
    event = whole(level)
    event.phase = event.DESCRIPTOR.fields_by_name["phase"].enum_type.values_by_name["FAILED"].number
    event.error.code, event.error.kind, event.error.message = "OOM", kind, "no memory"
    found = change(event, level)
    assert (found.phase, found.native) == (phase, "FAILED")
    assert found.error == Error("OOM", "no memory", ("", "user", "system")[kind])


def test_a_retryable_failure_of_the_system_stays_a_failure() -> None:
    event = whole("task")
    event.phase, event.error.kind = 8, 2
    assert change(event).phase == "failed"


def test_run_ids_and_parents() -> None:
    workflow, node, task = (change(whole(level), level).run for level in ("workflow", "node", "task"))
    assert (workflow.id, workflow.root, workflow.parent, workflow.namespace) == ("p/d/e", "p/d/e", None, "p/d")
    assert (node.id, node.root, node.parent, node.parent_kind, node.attempt) == ("p/d/e/n0", "p/d/e", None, "", 1)
    assert (task.id, task.name, task.parent, task.parent_kind) == ("p/d/e/n0/t", "t", "p/d/e/n0", "node")
    child = whole("node")
    child.parent_node_metadata.node_id, child.spec_node_id, child.node_name = "dyn", "spec", "shown"
    run = change(child, "node").run
    assert (run.parent, run.parent_kind, run.name) == ("p/d/e/dyn", "node", "shown")
    child.node_name = ""
    assert change(child, "node").run.name == "spec"
    assert node.name == ""  # never the node id


def test_event_ids_hold_what_tells_one_event_from_another() -> None:
    task = whole("task")
    task.task_id.version, task.retry_attempt, task.phase_version = "v1", 2, 4
    node = whole("node")
    node.retry_group = "1"
    assert change(task).id == f"p:d:e:n0:t:v1:2:RUNNING:4:{NS}"
    assert change(node, "node").id == f"p:d:e:n0:1:RUNNING:{NS}"
    assert change(whole("workflow"), "workflow").id == f"p:d:e:RUNNING:{NS}"
    assert change(task).run.attempt == 3


def test_reasons_become_the_reason_and_logs_of_their_own() -> None:
    task = whole("task")
    for offset, reason in ((-2, "assigned"), (-1, "pulling"), (0, "started")):
        told = task.reasons.add(reason=reason)
        told.occurred_at.seconds = TIME + offset
    events = LEVELS["task"].decode(task)
    assert isinstance(events[0], PhaseChange)
    assert events[0].reason == "started"
    assert [(event.message, event.time, event.event_name) for event in events[1:] if isinstance(event, Log)] == [
        ("assigned", NS - 2_000_000_000, "flyte.reason"),
        ("pulling", NS - 1_000_000_000, "flyte.reason"),
    ]
    task.reason = "deprecated"
    assert len(LEVELS["task"].decode(task)) == 4


def test_logs_and_decks_are_reports() -> None:
    task, node = whole("task"), whole("node")
    task.logs.add(name="Logs", uri="https://logs", ShowWhilePending=True, message_format=1).ttl.seconds = 60
    node.deck_uri = "s3://deck.html"
    log, deck = LEVELS["task"].decode(task)[1], LEVELS["node"].decode(node)[1]
    assert isinstance(log, Report)
    assert isinstance(deck, Report)
    assert (log.name, log.uri, log.media_type, log.id[-6:]) == ("Logs", "https://logs", "text/csv", ":log:0")
    assert log.attributes == {
        "flyte.log.show_while_pending": True,
        "flyte.log.message_format": "csv",
        "flyte.log.ttl": 60.0,
    }
    assert (deck.name, deck.uri, deck.media_type) == ("deck", "s3://deck.html", "text/html")


def cached(status: int, phase: int = 3) -> PhaseChange:
    node = whole("node")
    node.phase, node.task_node_metadata.cache_status = phase, status
    source = node.task_node_metadata.catalog_key.source_task_execution
    source.task_id.name, source.retry_attempt, source.node_execution_id.node_id = "t", 1, "n9"
    execution = source.node_execution_id.execution_id
    execution.project, execution.domain, execution.name = "p", "other", "e0"
    return change(node, "node")


def test_a_cached_run_is_linked_to_the_attempt_that_filled_the_cache() -> None:
    hit, filled, looking = cached(2), cached(3), cached(2, phase=1)
    link = Link("cached_from", "p/other/e0/n9/t", "task", "p/other/e0", 2, namespace="p/other")
    assert hit.links == (link,)
    assert filled.links == ()
    told = [one.attributes.get("otel_events.cache.status") for one in (hit, filled, looking)]
    assert told == ["hit", "populated", "hit"]
    assert [one.attributes.get("otel_events.reused") for one in (hit, filled, looking)] == [True, None, None]
    assert hit.attributes["flyte.cache.source"] == filled.attributes["flyte.cache.source"] == "p/other/e0/n9/t"


def test_a_cache_status_is_only_put_out_when_told() -> None:
    assert "otel_events.cache.status" not in change(whole("node"), "node").attributes
    assert cached(0).attributes["otel_events.cache.status"] == "disabled"
    assert cached(77).attributes["otel_events.cache.status"] == "77"


def test_a_recovered_node_is_reused() -> None:
    node = whole("node")
    node.phase = 10
    found = change(node, "node")
    assert (found.phase, found.attributes["otel_events.reused"]) == ("succeeded", True)


def test_external_resources_are_sub_tasks_of_array_tasks_only() -> None:
    task = whole("task")
    task.metadata.external_resources.add(external_id="job-1").logs.add(name="Driver", uri="https://driver")
    found, log = LEVELS["task"].decode(task)
    assert found.attributes["flyte.external_resources"] == (
        '[{"external_id":"job-1","logs":[{"name":"Driver","uri":"https://driver"}]}]'
    )
    assert isinstance(log, Report)
    assert log.run == found.run
    task.task_type = "container_array"
    sub = task.metadata.external_resources.add(index=3, phase=5, retry_attempt=1, external_id="pod-3-1")
    sub.workflow_node_metadata.execution_id.CopyFrom(task.parent_node_execution_id.execution_id)
    task.metadata.external_resources.add(index=3, phase=5, retry_attempt=1, external_id="again")
    events = LEVELS["task"].decode(task)
    subs = [event for event in events if isinstance(event, PhaseChange)][1:]
    assert [event.id.removeprefix(found.id) for event in subs] == [":sub:3:1:FAILED", ":sub:3:1:FAILED:2"]
    run = subs[0].run
    assert (run.id, run.kind, run.attempt, run.parent, run.parent_kind, run.name) == (
        "p/d/e/n0/t/3",
        "task",
        2,
        "p/d/e/n0/t",
        "task",
        "t",
    )
    assert subs[0].links == (Link("launches", "p/d/e", "workflow", "p/d/e", namespace="p/d"),)


def test_version_2_of_the_cloud_events_names_the_workflow_and_enriches() -> None:
    event = cloudevents_pb2.CloudEventWorkflowExecution(raw_event=whole("workflow"), principal="ann")
    event.launch_plan_id.name, event.launch_plan_id.version, event.launch_plan_id.resource_type = "wf", "v2", 3
    event.labels["team"] = "ml"
    event.reference_execution.CopyFrom(event.raw_event.execution_id)
    event.output_interface.outputs.variables["o"].description = "out"
    event.artifact_ids.add(version="7").artifact_key.name = "model"
    record = {
        "rawEvent": {
            "executionId": {"project": "p", "domain": "d", "name": "e"},
            "phase": "RUNNING",
            "occurredAt": "2026-07-01T12:00:00Z",
        },
        "principal": "ann",
        "launchPlanId": {"resourceType": "LAUNCH_PLAN", "name": "wf", "version": "v2"},
        "labels": {"team": "ml"},
        "referenceExecution": {"project": "p", "domain": "d", "name": "e"},
        "outputInterface": {"outputs": {"variables": {"o": {"description": "out"}}}},
        "artifactIds": [{"artifactKey": {"name": "model"}, "version": "7"}],
    }
    [found] = decode(json.dumps(record).encode(), "com.flyte.resource.cloudevents.WorkflowExecution")
    assert [found] == LEVELS["workflow"].decode_enriched(event) == decode(json.dumps(record).encode())
    assert (found.run.name, found.run.workflow) == ("wf", "wf")
    assert {
        key: value
        for key, value in found.attributes.items()
        if key not in change(whole("workflow"), "workflow").attributes
    } == {
        "flyte.principal": "ann",
        "flyte.launch_plan": "launch_plan:wf:v2",
        "flyte.label.team": "ml",
        "flyte.reference_execution": "p/d/e",
        "flyte.output_interface": '{"outputs":{"variables":{"o":{"description":"out"}}}}',
        "flyte.artifacts": '[{"artifact_key":{"name":"model"},"version":"7"}]',
    }


def test_custom_info_is_one_sorted_json_text() -> None:
    task = whole("task")
    task.custom_info.update({"b": 1, "a": [1.5, None, True, {"z": "é"}]})
    task.custom_info.fields["nan"].number_value = float("nan")
    task.custom_info.fields["inf"].number_value = float("-inf")
    assert change(task).attributes["flyte.custom_info"] == (
        '{"a":[1.5,null,true,{"z":"é"}],"b":1,"inf":"-Infinity","nan":"NaN"}'
    )
    task.custom_info.update({"b": "x" * 5000})
    found = change(task).attributes
    assert (len(str(found["flyte.custom_info"])), int(found["flyte.custom_info.length"]) > 5000) == (4096, True)


def test_flyte_2_actions_run_under_their_run_and_the_root_action_is_the_run() -> None:
    identifier = {"run": {"org": "o", "project": "p", "domain": "d", "name": "r"}, "name": "a7"}
    action: dict[str, Any] = {
        "id": identifier,
        "attempt": 2,
        "phase": "ACTION_PHASE_SUCCEEDED",
        "updatedTime": "2026-07-01T12:00:00Z",
        "startTime": "2026-07-01T11:00:00Z",
        "cacheStatus": "CACHE_HIT",
        "cacheMetadata": {"sourceActionAttempt": {"actionId": identifier | {"name": "a3"}, "attempt": 4}},
        "outputs": {"outputUri": "s3://o", "reportUri": "s3://report.html"},
        "logInfo": [{"name": "L", "uri": "u", "linkType": "IDE", "ready": True}],
        "logContext": {"primaryPodName": "pod"},
        "clusterEvents": [{"occurredAt": "2026-07-01T11:59:00Z", "message": "OOM", "type": "TYPE_WARNING", "count": 3}],
    }
    root = action | {"id": identifier | {"name": "a0"}, "phase": "ACTION_PHASE_FAILED", "clusterEvents": []}
    root |= {"errorInfo": {"message": "m", "kind": "KIND_SYSTEM", "code": "c", "gpuFault": {"name": "xid"}}}
    events = decode(enveloped({"events": [action, root]}))
    first, log, note, deck = events[:4]
    assert isinstance(first, PhaseChange)
    assert isinstance(log, Report)
    assert isinstance(note, Log)
    assert isinstance(deck, Report)
    assert (first.run.id, first.run.kind, first.run.root, first.run.attempt) == ("o/p/d/r/a7", "task", "o/p/d/r", 2)
    assert first.id == f"o:p:d:r:a7:2:ACTION_PHASE_SUCCEEDED:0:{NS}"
    assert first.links == (Link("cached_from", "o/p/d/r/a3", "task", "o/p/d/r", 4, namespace="p/d"),)
    assert first.attributes["otel_events.reused"] is True
    assert first.attributes["flyte.log_context"] == '{"primary_pod_name":"pod"}'
    assert (log.attributes, note.message, note.severity) == (
        {"flyte.log.link_type": 2, "flyte.log.ready": True},
        "OOM",
        13,
    )
    assert (note.time, deck.uri) == (NS - 60_000_000_000, "s3://report.html")
    ended = events[4]
    assert isinstance(ended, PhaseChange)
    assert (ended.run.id, ended.run.kind, ended.phase) == ("o/p/d/r", "workflow", "crashed")
    assert ended.error == Error("c", "m", "system")
    assert ended.attributes["flyte.error.gpu_fault"] == '{"name":"xid"}'
