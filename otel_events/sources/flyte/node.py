"""Flyte workflow executions and node executions: one event message in, the events of the run out."""

from __future__ import annotations

from typing import Any

from otel_events.model.event import AnyEvent, Link, PhaseChange, Report, Run, Scalar
from otel_events.sources.flyte.base import (
    CACHE_STATUS,
    NODE_PHASES,
    RESERVATION,
    SLASH,
    SOURCE,
    SYSTEM,
    WORKFLOW_PHASES,
    cached_from,
    cut,
    execution,
    fields,
    identifier_text,
    launches,
    name_part,
    occurred,
    phase_of,
    put,
    put_enum,
    put_error,
    put_task_execution,
    put_time,
)
from otel_events.sources.flyte.task import VALUES, put_values

WORKFLOW_EVENT = "flyteidl.event.WorkflowExecutionEvent"
NODE_EVENT = "flyteidl.event.NodeExecutionEvent"
_CACHE_HIT = 2

_WORKFLOW_FIELDS = fields(("producer_id", "flyte.producer"), ("output_uri", "flyte.output_uri"))
_NODE_FIELDS = fields(
    ("producer_id", "flyte.producer"),
    ("output_uri", "flyte.output_uri"),
    ("input_uri", "flyte.input_uri"),
    ("retry_group", "flyte.retry_group"),
    ("spec_node_id", "flyte.spec_node_id"),
    ("event_version", "flyte.event_version"),
    ("is_parent", "flyte.is_parent"),
    ("is_dynamic", "flyte.is_dynamic"),
    ("is_array", "flyte.is_array"),
    ("is_in_dynamic_chain", "flyte.is_in_dynamic_chain"),
    ("is_eager", "flyte.is_eager"),
)
_CHECKPOINT = fields(("checkpoint_uri", "flyte.checkpoint_uri"))
_JOB_SPEC = fields(("dynamic_job_spec_uri", "flyte.dynamic_workflow.job_spec_uri"))
_TAG = fields(("artifact_id", "flyte.cache.artifact_id"), ("name", "flyte.cache.artifact_name"))
_OUTPUT = VALUES[1:]
_REUSED = "otel_events.reused"


def decode_workflow(event: Any, extra: dict[str, Scalar] | None = None, name: str = "") -> list[AnyEvent]:
    """Events of a WorkflowExecutionEvent; ``extra`` attributes and the workflow's ``name`` come from its envelope."""
    root = execution(event.execution_id, f"{WORKFLOW_EVENT}.execution_id")
    run = Run(SOURCE, "workflow", root.root, name, root.root, None, 1, root.namespace, name, "")
    attributes = {**root.attributes, **(extra or {})}
    put(attributes, event, _WORKFLOW_FIELDS)
    return [_change(event, run, root.key, attributes, (), WORKFLOW_PHASES, WORKFLOW_EVENT)]


def decode_node(event: Any, extra: dict[str, Scalar] | None = None, workflow: str = "") -> list[AnyEvent]:
    """Events of a NodeExecutionEvent: its phase, and its deck."""
    root = execution(event.id.execution_id, f"{NODE_EVENT}.id.execution_id")
    node_id = name_part(event.id.node_id, f"{NODE_EVENT}.id.node_id", SLASH)
    parent_id = event.parent_node_metadata.node_id
    parent, parent_kind = (f"{root.root}/{parent_id}", "node") if parent_id else (None, "")
    name = event.node_name or event.spec_node_id
    run = Run(
        SOURCE,
        "node",
        f"{root.root}/{node_id}",
        name,
        root.root,
        parent,
        1,
        root.namespace,
        workflow,
        parent_kind,
    )
    attributes = {**root.attributes, "flyte.node_id": cut(node_id), **(extra or {})}
    put(attributes, event, _NODE_FIELDS)
    links = _put_targets(attributes, event)
    key = f"{root.key}:{node_id}:{event.retry_group}"
    change = _change(event, run, key, attributes, links, NODE_PHASES, NODE_EVENT)
    return [change, *_deck(change, event.deck_uri)]


def _change(
    event: Any,
    run: Run,
    key: str,
    attributes: dict[str, Scalar],
    links: tuple[Link, ...],
    phases: dict[int, tuple[str, str]],
    where: str,
) -> PhaseChange:
    native, phase = phase_of(event.phase, phases, f"{where}.phase")
    time = occurred(event.occurred_at, f"{where}.occurred_at")
    put_values(attributes, event, _OUTPUT if run.kind == "workflow" else VALUES)
    error = put_error(attributes, event.error) if event.HasField("error") else None
    if error is not None and phase == "failed" and event.error.kind == SYSTEM:
        phase = "crashed"
    if native == "RECOVERED" or (phase == "succeeded" and attributes.get("otel_events.cache.status") == "hit"):
        attributes[_REUSED] = True
    return PhaseChange(
        id=f"{key}:{native}:{time}",
        time=time,
        run=run,
        attributes=attributes,
        links=links,
        phase=phase,
        native=native,
        error=error,
    )


def _put_targets(attributes: dict[str, Scalar], event: Any) -> tuple[Link, ...]:
    """Attributes of what the node runs and of the task that created it; links to a launched execution and to the run
    whose cached outputs were used."""
    put_time(attributes, "flyte.reported_at", event, "reported_at")
    if event.HasField("target_entity"):
        attributes["flyte.target_entity"] = identifier_text(event.target_entity)
    if event.HasField("parent_task_metadata"):
        put_task_execution(attributes, "flyte.parent_task", event.parent_task_metadata.id)
    if event.HasField("task_node_metadata"):
        return _put_task_node(attributes, event.task_node_metadata)
    return launches(attributes, event) if event.HasField("workflow_node_metadata") else ()


def _put_task_node(attributes: dict[str, Scalar], metadata: Any) -> tuple[Link, ...]:
    """Cache, checkpoint and dynamic workflow. The compiled workflow is code, not an event: only its size is put out."""
    status = CACHE_STATUS.get(metadata.cache_status) or str(metadata.cache_status)
    attributes["otel_events.cache.status"] = status
    put_enum(attributes, "flyte.cache.reservation", metadata.reservation_status, RESERVATION)
    put(attributes, metadata, _CHECKPOINT)
    if metadata.HasField("dynamic_workflow"):
        dynamic = metadata.dynamic_workflow
        put(attributes, dynamic, _JOB_SPEC)
        if dynamic.HasField("id"):
            attributes["flyte.dynamic_workflow"] = identifier_text(dynamic.id)
        if dynamic.HasField("compiled_workflow"):
            attributes["flyte.dynamic_workflow.compiled.size"] = dynamic.compiled_workflow.ByteSize()
    return _put_catalog(attributes, metadata) if metadata.HasField("catalog_key") else ()


def _put_catalog(attributes: dict[str, Scalar], metadata: Any) -> tuple[Link, ...]:
    """Where a cached result lies and who made it; a link only on a hit (who fills the cache may name itself)."""
    catalog = metadata.catalog_key
    put(attributes, catalog.artifact_tag, _TAG)
    if catalog.HasField("dataset_id"):
        attributes["flyte.cache.dataset"] = identifier_text(catalog.dataset_id)
    if not catalog.HasField("source_task_execution"):
        return ()
    put_task_execution(attributes, "flyte.cache.source", catalog.source_task_execution)
    return cached_from(catalog.source_task_execution) if metadata.cache_status == _CACHE_HIT else ()


def _deck(change: PhaseChange, uri: str) -> list[Report]:
    if not uri:
        return []
    report = Report(
        id=f"{change.id}:deck", time=change.time, run=change.run, name="deck", media_type="text/html", uri=uri
    )
    return [report]
