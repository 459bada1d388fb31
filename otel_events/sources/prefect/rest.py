"""Answers of Prefect's REST API, which hold what no event does: the caller of a sub-flow, and the span of a flow run.

A record is ``{"task_runs": {ID: answer of GET /api/task_runs/ID, ...}, "flow_runs": {likewise}}``.
A sub-flow's state events name a dummy task run as parent, which has no events at all; its answer names the calling
flow run, the calling task run (if any) and the sub-flow. Each answer becomes one log dated when the run was created,
so that it belongs to the run's first attempt whenever it was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from otel_events.model.event import Link, Log, Run, Scalar
from otel_events.sources.prefect.fields import (
    LONGEST,
    PARENTS,
    SOURCE,
    TRACEPARENT,
    json_text,
    nanoseconds,
    scalar,
    wrong,
)
from otel_events.sources.prefect.states import Input, stable_name


class _Policy(msgspec.Struct, gc=False):
    retries: int | None = None
    retry_delay: int | float | list[float] | None = None


class _Details(msgspec.Struct, gc=False):
    child_flow_run_id: str | None = None


class _State(msgspec.Struct, gc=False):
    state_details: _Details | None = None


class _Answer(msgspec.Struct, gc=False):
    """The fields that answers for flow and task runs share. ``missing``: HTTP status where the API had no such run."""

    id: str = ""
    created: str = ""
    updated: str | None = None
    name: str | None = None
    tags: list[str] | None = None
    labels: dict[str, Any] | None = None
    empirical_policy: _Policy | None = None
    expected_start_time: str | None = None
    missing: int = msgspec.field(default=0, name="_status")


class FlowRunAnswer(_Answer, gc=False):
    """Answer of GET /api/flow_runs/{id}: only the fields that are used."""

    flow_id: str | None = None
    flow_version: str | None = None
    deployment_id: str | None = None
    deployment_version: str | None = None
    parent_task_run_id: str | None = None
    work_queue_id: str | None = None
    work_queue_name: str | None = None
    work_pool_id: str | None = None
    work_pool_name: str | None = None
    idempotency_key: str | None = None
    infrastructure_document_id: str | None = None
    infrastructure_pid: str | None = None
    auto_scheduled: bool | None = None
    created_by: dict[str, Any] | None = None


class TaskRunAnswer(_Answer, gc=False):
    """Answer of GET /api/task_runs/{id}: only the fields that are used."""

    flow_run_id: str | None = None
    task_key: str | None = None
    dynamic_key: str | None = None
    task_version: str | None = None
    cache_key: str | None = None
    task_inputs: dict[str, list[Input]] | None = None
    state: _State | None = None


FACTS: dict[str, str] = {
    "expected_start_time": "prefect.expected_start_time",
    "flow_id": "prefect.flow.id",
    "flow_version": "prefect.flow.version",
    "deployment_id": "prefect.deployment.id",
    "deployment_version": "prefect.deployment.version",
    "parent_task_run_id": "prefect.parent_task_run.id",
    "work_queue_id": "prefect.work_queue.id",
    "work_queue_name": "prefect.work_queue.name",
    "work_pool_id": "prefect.work_pool.id",
    "work_pool_name": "prefect.work_pool.name",
    "idempotency_key": "prefect.idempotency_key",
    "infrastructure_document_id": "prefect.infrastructure.document_id",
    "infrastructure_pid": "prefect.infrastructure.id",
    "auto_scheduled": "prefect.auto_scheduled",
    "created_by": "prefect.created_by",
    "dynamic_key": "prefect.task.dynamic_key",
    "task_key": "prefect.task.key",
    "task_version": "prefect.task.version",
    "cache_key": "prefect.task.cache_key",
}
"""Field of an answer -> attribute, where the answer has it and it is not null."""


def snapshot(task_runs: Mapping[str, TaskRunAnswer], flow_runs: Mapping[str, FlowRunAnswer]) -> Iterator[Log]:
    """One log for each answer; none for a deleted run, whose answer has no time. DecodeError names a bad answer."""
    for key, task in task_runs.items():
        if not task.missing:
            yield _task(task, _time(task, f"task_runs.{key}"))
    for key, flow in flow_runs.items():
        if not flow.missing:
            yield _flow(flow, _time(flow, f"flow_runs.{key}"))


def _time(answer: _Answer, where: str) -> int:
    if not answer.id:
        raise wrong(f"`{where}.id` missing or empty")
    return nanoseconds(answer.created, f"{where}.created")


def _task(task: TaskRunAnswer, time: int) -> Log:
    child = task.state.state_details.child_flow_run_id if task.state and task.state.state_details else None
    if child:
        return _subflow(child, task, time)
    name, root = stable_name((task.task_key or "")[:LONGEST]), task.flow_run_id or task.id
    attributes = _attributes(task, "task_run")
    run = Run(SOURCE, "task", task.id, name, root, attempt=0)
    return _log(f"{task.id}:rest:{task.updated}", time, run, attributes, "prefect.task-run.snapshot")


def _subflow(child: str, dummy: TaskRunAnswer, time: int) -> Log:
    """The call of a sub-flow, on the sub-flow's run, linked to who called it."""
    attributes: dict[str, Scalar] = {"prefect.parent_task_run.id": dummy.id}
    if dummy.name:
        attributes["prefect.parent_task_run.name"] = dummy.name
    if dummy.task_key:
        attributes["prefect.parent_task_run.key"] = dummy.task_key
    if dummy.flow_run_id:
        attributes["prefect.launcher.flow_run.id"] = dummy.flow_run_id
    caller = next((task_input.id for task_input in (dummy.task_inputs or {}).get(PARENTS, ()) if task_input.id), "")
    if caller:
        attributes["prefect.launcher.task_run.id"] = caller
    run = Run(SOURCE, "workflow", child, "", child, attempt=0)
    return _log(f"{dummy.id}:subflow", time, run, attributes, "prefect.subflow", _links(caller, dummy.flow_run_id))


def _links(caller: str, flow_run: str | None) -> tuple[Link, ...]:
    if not flow_run:
        return ()
    if caller:
        return (Link("launched_by", caller, "task", flow_run),)
    return (Link("launched_by", flow_run, "workflow", flow_run),)


def _flow(flow: FlowRunAnswer, time: int) -> Log:
    run = Run(SOURCE, "workflow", flow.id, "", flow.id, attempt=0)
    attributes = _attributes(flow, "flow_run")
    return _log(f"{flow.id}:rest:{flow.updated}", time, run, attributes, "prefect.flow-run.snapshot")


def _attributes(answer: FlowRunAnswer | TaskRunAnswer, noun: str) -> dict[str, Scalar]:
    attributes: dict[str, Scalar] = {f"prefect.{noun}.name": answer.name or ""}
    for field, attribute in FACTS.items():
        value = getattr(answer, field, None)
        if value is not None:
            attributes[attribute] = scalar(value)
    if answer.tags:
        attributes["prefect.tags"] = ",".join(sorted(answer.tags))
    policy = answer.empirical_policy or _Policy()
    if policy.retries is not None:
        attributes["prefect.retries"] = scalar(policy.retries)
    if policy.retry_delay is not None:
        attributes["prefect.retry_delay"] = scalar(policy.retry_delay)
    labels = dict(answer.labels or {})
    context = labels.pop(TRACEPARENT, None)
    if isinstance(context, str) and context:
        attributes["traceparent"] = context
    if labels:
        attributes["prefect.run.labels"] = json_text(labels)
    return attributes


def _log(
    event_id: str, time: int, run: Run, attributes: dict[str, Scalar], name: str, links: tuple[Link, ...] = ()
) -> Log:
    says = {
        "prefect.subflow": "flow run {} was called by another run",
        "prefect.flow-run.snapshot": "flow run {} as the API tells it",
        "prefect.task-run.snapshot": "task run {} as the API tells it",
    }[name].format(run.id)
    return Log(
        id=event_id, time=time, run=run, attributes=attributes, links=links, message=says[:LONGEST], event_name=name
    )
