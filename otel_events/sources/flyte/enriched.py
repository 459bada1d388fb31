"""CloudEvents version 2: an event with what flyteadmin knows of its execution (flyteidl/event/cloudevents.proto).

Labels, principal, launch plan, interface and artifacts become attributes; the launch plan also names the workflow.
"""

from __future__ import annotations

from typing import Any

from otel_events.model.event import AnyEvent, Scalar
from otel_events.sources.flyte.base import cut, execution_text, fields, identifier_text, put, put_task_execution
from otel_events.sources.flyte.node import decode_node, decode_workflow
from otel_events.sources.flyte.protojson import as_json, message_text, plain
from otel_events.sources.flyte.task import decode_task

_PRINCIPAL = fields(("principal", "flyte.principal"))


def enriched_workflow(event: Any) -> list[AnyEvent]:
    """Events of a CloudEventWorkflowExecution."""
    extra = _shared(event)
    if event.HasField("reference_execution"):
        extra["flyte.reference_execution"] = execution_text(event.reference_execution)
    return decode_workflow(event.raw_event, extra, event.launch_plan_id.name)


def enriched_node(event: Any) -> list[AnyEvent]:
    """Events of a CloudEventNodeExecution."""
    extra = _shared(event)
    if event.HasField("task_exec_id"):
        put_task_execution(extra, "flyte.task_execution", event.task_exec_id)
    return decode_node(event.raw_event, extra, event.launch_plan_id.name)


def enriched_task(event: Any) -> list[AnyEvent]:
    """Events of a CloudEventTaskExecution."""
    return decode_task(event.raw_event, _labels(event))


def _labels(event: Any) -> dict[str, Scalar]:
    return {f"flyte.label.{key}": cut(value) for key, value in event.labels.items()}


def _shared(event: Any) -> dict[str, Scalar]:
    extra = _labels(event)
    put(extra, event, _PRINCIPAL)
    if event.HasField("launch_plan_id"):
        extra["flyte.launch_plan"] = identifier_text(event.launch_plan_id)
    if event.HasField("output_interface"):
        extra["flyte.output_interface"] = message_text(event.output_interface)
    if event.artifact_ids:
        extra["flyte.artifacts"] = as_json([plain(artifact) for artifact in event.artifact_ids])[0]
    return extra
