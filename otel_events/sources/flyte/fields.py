"""Where each field of Flyte's events goes: the coverage table, and docs/flyte-fields.md printed from it.

A test walks flyteidl's descriptors and fails when a field is not here; another sets each field and looks for its value.
"""

from __future__ import annotations

WITHHELD = "withheld: "
"""Begins the row of a field whose values are never put out, and says why."""

_EVENT = "flyteidl.event."
_CORE = "flyteidl.core."
_VALUES = WITHHELD + "values of inputs and outputs are off by default; their size in bytes: `{}`"
_CODE = WITHHELD + "the compiled workflow is code, not an event; its size in bytes: `{}`"
_JSON = "in the JSON of the message that holds it"
_PART = "a part of the text of the identifier that holds it"

_MESSAGES: dict[str, dict[str, str]] = {
    _EVENT + "WorkflowExecutionEvent": {
        "execution_id": "run id, root, namespace",
        "producer_id": "`flyte.producer`",
        "phase": "phase, native; event id",
        "occurred_at": "time; event id",
        "output_uri": "`flyte.output_uri`",
        "error": "error",
        "output_data": _VALUES.format("flyte.output_data.size"),
    },
    _EVENT + "NodeExecutionEvent": {
        "id": "run id",
        "producer_id": "`flyte.producer`",
        "phase": "phase, native; event id",
        "occurred_at": "time; event id",
        "input_uri": "`flyte.input_uri`",
        "input_data": _VALUES.format("flyte.input_data.size"),
        "output_uri": "`flyte.output_uri`",
        "error": "error",
        "output_data": _VALUES.format("flyte.output_data.size"),
        "workflow_node_metadata": "link `launches`",
        "task_node_metadata": "attributes of the cache and of a dynamic workflow",
        "parent_task_metadata": "`flyte.parent_task`",
        "parent_node_metadata": "parent",
        "retry_group": "`flyte.retry_group`; event id",
        "spec_node_id": "`flyte.spec_node_id`; run name where node_name is empty",
        "node_name": "run name",
        "event_version": "`flyte.event_version`",
        "is_parent": "`flyte.is_parent`",
        "is_dynamic": "`flyte.is_dynamic`",
        "deck_uri": "report `deck`",
        "reported_at": "`flyte.reported_at` (ns)",
        "is_array": "`flyte.is_array`",
        "target_entity": "`flyte.target_entity`",
        "is_in_dynamic_chain": "`flyte.is_in_dynamic_chain`",
        "is_eager": "`flyte.is_eager`",
    },
    _EVENT + "TaskExecutionEvent": {
        "task_id": "run id, run name",
        "parent_node_execution_id": "parent; run id",
        "retry_attempt": "attempt (+ 1); event id",
        "phase": "phase, native; event id",
        "producer_id": "`flyte.producer`",
        "logs": "a report each",
        "occurred_at": "time; event id",
        "input_uri": "`flyte.input_uri`",
        "input_data": _VALUES.format("flyte.input_data.size"),
        "output_uri": "`flyte.output_uri`",
        "error": "error",
        "output_data": _VALUES.format("flyte.output_data.size"),
        "custom_info": "`flyte.custom_info` (JSON, at most 4096 characters; else also `flyte.custom_info.length`)",
        "phase_version": "`flyte.phase_version`; event id",
        "reason": "reason",
        "reasons": "the last is the reason where `reason` is empty; a log `flyte.reason` each that says more",
        "task_type": "`flyte.task.type`",
        "metadata": "attributes; sub-tasks",
        "event_version": "`flyte.event_version`",
        "reported_at": "`flyte.reported_at` (ns)",
        "log_context": "`flyte.log_context` (JSON)",
    },
    _EVENT + "WorkflowNodeMetadata": {"execution_id": "link `launches`, `flyte.launches`"},
    _EVENT + "TaskNodeMetadata": {
        "cache_status": "`otel_events.cache.status`; a hit that succeeded: `otel_events.reused`",
        "catalog_key": "attributes of the cache",
        "reservation_status": "`flyte.cache.reservation`",
        "checkpoint_uri": "`flyte.checkpoint_uri`",
        "dynamic_workflow": "attributes of the dynamic workflow",
    },
    _EVENT + "DynamicWorkflowNodeMetadata": {
        "id": "`flyte.dynamic_workflow`",
        "compiled_workflow": _CODE.format("flyte.dynamic_workflow.compiled.size"),
        "dynamic_job_spec_uri": "`flyte.dynamic_workflow.job_spec_uri`",
    },
    _EVENT + "ParentTaskExecutionMetadata": {"id": "`flyte.parent_task`, `.attempt`, `.task`"},
    _EVENT + "ParentNodeExecutionMetadata": {"node_id": "parent"},
    _EVENT + "EventReason": {"reason": "message of the log, or reason", "occurred_at": "time of the log"},
    _EVENT + "TaskExecutionMetadata": {
        "generated_name": "`flyte.generated_name`",
        "external_resources": "array tasks: an event of a sub-task each; else `flyte.external_resources` (JSON)",
        "resource_pool_info": "`flyte.resource_pool` (JSON)",
        "plugin_identifier": "`flyte.plugin`",
        "instance_class": "`flyte.instance_class`",
    },
    _EVENT + "ExternalResourceInfo": {
        "external_id": "`flyte.external_id` of the sub-task",
        "index": "run id of the sub-task, `flyte.index`",
        "retry_attempt": "attempt of the sub-task (+ 1); event id",
        "phase": "phase, native of the sub-task; event id",
        "cache_status": "`otel_events.cache.status` of the sub-task; a hit that succeeded: `otel_events.reused`",
        "logs": "a report each",
        "workflow_node_metadata": "link `launches` of the sub-task",
        "custom_info": "`flyte.custom_info` of the sub-task",
        "log_context": "`flyte.log_context` of the sub-task (JSON)",
    },
    _EVENT + "ResourcePoolInfo": {"allocation_token": _JSON, "namespace": _JSON},
    _EVENT + "CloudEventWorkflowExecution": {
        "raw_event": "the event",
        "output_interface": "`flyte.output_interface` (JSON)",
        "artifact_ids": "`flyte.artifacts` (JSON)",
        "reference_execution": "`flyte.reference_execution`",
        "principal": "`flyte.principal`",
        "launch_plan_id": "`flyte.launch_plan`; run name and workflow",
        "labels": "`flyte.label.<key>` each",
    },
    _EVENT + "CloudEventNodeExecution": {
        "raw_event": "the event",
        "task_exec_id": "`flyte.task_execution`, `.attempt`, `.task`",
        "output_interface": "`flyte.output_interface` (JSON)",
        "artifact_ids": "`flyte.artifacts` (JSON)",
        "principal": "`flyte.principal`",
        "launch_plan_id": "`flyte.launch_plan`; workflow of the run",
        "labels": "`flyte.label.<key>` each",
    },
    _EVENT + "CloudEventTaskExecution": {"raw_event": "the event", "labels": "`flyte.label.<key>` each"},
    _CORE + "WorkflowExecutionIdentifier": {
        "project": "namespace, `flyte.project`; run id",
        "domain": "namespace, `flyte.domain`; run id",
        "name": "run id, `flyte.execution`",
        "org": "`flyte.org`, or a part of the text of another execution's identifier",
    },
    _CORE + "NodeExecutionIdentifier": {"node_id": "run id, `flyte.node_id`", "execution_id": "root"},
    _CORE + "TaskExecutionIdentifier": {
        "task_id": "`.task` of the attribute that names the attempt",
        "node_execution_id": "the attribute that names the attempt (a run id)",
        "retry_attempt": "`.attempt` of that attribute (+ 1)",
    },
    _CORE + "Identifier": {
        "resource_type": "`flyte.task.resource_type` where it is not TASK; else " + _PART,
        "project": "`flyte.task.project` where it is not the execution's; else " + _PART,
        "domain": "`flyte.task.domain` where it is not the execution's; else " + _PART,
        "name": "run name; else " + _PART,
        "version": "`flyte.task.version`, event id; else " + _PART,
        "org": "`flyte.task.org`; else " + _PART,
    },
    _CORE + "ExecutionError": {
        "code": "error type",
        "message": "error message",
        "error_uri": "`flyte.error.uri`",
        "kind": "error kind; SYSTEM makes FAILED `crashed`; an unknown one `flyte.error.kind`",
        "timestamp": "`flyte.error.timestamp` (ns)",
        "worker": "`flyte.error.worker`",
    },
    _CORE + "CatalogMetadata": {
        "dataset_id": "`flyte.cache.dataset`",
        "artifact_tag": "`flyte.cache.artifact_id`, `flyte.cache.artifact_name`",
        "source_task_execution": "`flyte.cache.source`, `.attempt`, `.task`; on a hit link `cached_from`",
    },
    _CORE + "CatalogArtifactTag": {"artifact_id": "`flyte.cache.artifact_id`", "name": "`flyte.cache.artifact_name`"},
    _CORE + "TaskLog": {
        "uri": "uri of the report",
        "name": "name of the report",
        "message_format": "`flyte.log.message_format`; media type of the report",
        "ttl": "`flyte.log.ttl` (s)",
        "ShowWhilePending": "`flyte.log.show_while_pending`",
        "HideOnceFinished": "`flyte.log.hide_once_finished`",
    },
    _CORE + "LogContext": {"pods": _JSON, "primary_pod_name": _JSON},
    _CORE + "PodLogContext": {
        "namespace": _JSON,
        "pod_name": _JSON,
        "containers": _JSON,
        "primary_container_name": _JSON,
        "init_containers": _JSON,
    },
    _CORE + "ContainerContext": {"container_name": _JSON, "process": _JSON},
    _CORE + "ContainerContext.ProcessContext": {"container_start_time": _JSON, "container_end_time": _JSON},
}

FIELDS: dict[str, str] = {
    f"{message}.{field}": where for message, fields in _MESSAGES.items() for field, where in fields.items()
}
"""``<message>.<field>`` -> where its value is found; WITHHELD rows say why it is not."""


def fields_table() -> str:
    """docs/flyte-fields.md: a section for each message, a row for each field."""
    parts = [
        "# Where the fields of Flyte's events go",
        "Printed from `otel_events/sources/flyte/fields.py`; a test holds the two together, and both to flyteidl.",
        "`flyte.*` and `otel_events.*` are attributes of the event, hence of the span and of its logs. Defaults (empty,"
        " 0, false) are left out; texts are cut at 4096 characters. A text of an identifier is"
        " `type:project:domain:name:version[:org]`, of an execution `project/domain/name[/org]`.",
    ]
    for message, fields in _MESSAGES.items():
        rows = "\n".join(f"| {field} | {where} |" for field, where in fields.items())
        parts.append(f"## {message}\n\n| field | goes to |\n|---|---|\n{rows}")
    return "\n\n".join(parts) + "\n"
