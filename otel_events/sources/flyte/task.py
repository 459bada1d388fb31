"""Flyte task attempts: one TaskExecutionEvent in, the events of the attempt and of its array sub-tasks out."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
from flyteidl.core import execution_pb2
from flyteidl.event import event_pb2

from otel_events.model.event import AnyEvent, Link, Log, PhaseChange, Report, Run, Scalar
from otel_events.sources.flyte.base import (
    CACHE_STATUS,
    RESOURCE_TYPE,
    SLASH,
    SOURCE,
    SYSTEM,
    TASK_PHASES,
    Execution,
    cut,
    enum_text,
    execution,
    fields,
    launches,
    name_part,
    occurred,
    phase_of,
    put,
    put_enum,
    put_error,
    put_time,
)
from otel_events.sources.flyte.protojson import as_json, message_text, plain

EVENT = "flyteidl.event.TaskExecutionEvent"
TASK_NAME = f"{EVENT}.task_id.name"
NODE_ID = f"{EVENT}.parent_node_execution_id.node_id"
EXECUTION = f"{EVENT}.parent_node_execution_id.execution_id"
_FAILED, _TASK = 5, 1
_ARRAY_TYPE, _ARRAY_PLUGIN = "container_array", "k8s-array"
_INSTANCE_CLASS = enum_text(event_pb2.TaskExecutionMetadata.InstanceClass.DESCRIPTOR)
_MESSAGE_FORMAT = enum_text(execution_pb2.TaskLog.MessageFormat.DESCRIPTOR)
_MEDIA_TYPES = {"csv": "text/csv", "json": "application/json"}

VALUES = ("input_data", "output_data")

CONSTANT_ROWS = (
    ("producer_id", "flyte.producer"),
    ("input_uri", "flyte.input_uri"),
    ("task_type", "flyte.task.type"),
    ("event_version", "flyte.event_version"),
)
"""What stays the same from event to event of one attempt (with ``metadata``, see put_metadata)."""
_CONSTANT = fields(*CONSTANT_ROWS)
_CHANGING = fields(("phase_version", "flyte.phase_version"), ("output_uri", "flyte.output_uri"))
_task_fields = attrgetter("name", "version", "project", "domain", "org", "resource_type")
_EXTERNAL_ID = fields(("external_id", "flyte.external_id"))
_metadata_fields = attrgetter("generated_name", "plugin_identifier", "instance_class")


class Task(NamedTuple):
    """A task definition."""

    name: str
    key: str
    """``name:version``."""
    place: list[str]
    """Project and domain."""
    attributes: dict[str, Scalar]


class Attempt(msgspec.Struct, gc=False):
    """Who a task event is about: all that follows from its task, node, execution and retry attempt."""

    run: Run
    key: str
    """Head of the event ids, up to and with the attempt (from 0, as propeller's keys count)."""
    root: Execution
    task: Task
    node_id: str
    constant: Any = None
    """For cut.py: what the events of the attempt have in common. Set in one assignment, since threads share it."""


def task_of(identifier: Any) -> Task:
    """The definition that an identifier names; DecodeError when it has no name."""
    name, version, project, domain, org, resource_type = _task_fields(identifier)
    name_part(name, TASK_NAME)
    attributes: dict[str, Scalar] = {}
    if version:
        attributes["flyte.task.version"] = cut(version)
    if org:
        attributes["flyte.task.org"] = cut(org)
    if resource_type != _TASK:
        put_enum(attributes, "flyte.task.resource_type", resource_type, RESOURCE_TYPE)
    return Task(name, f"{name}:{version}", [project, domain], attributes)


def attempt_of(event: Any) -> Attempt:
    """The attempt that an event names; DecodeError says which part of the name is missing."""
    node = event.parent_node_execution_id
    root, task = execution(node.execution_id, EXECUTION), task_of(event.task_id)
    return make_attempt(root, task, node.node_id, event.retry_attempt)


def make_attempt(root: Execution, task: Task, node_id: str, retry: int) -> Attempt:
    """Attempt number ``retry`` (from 0) of a task in a node; DecodeError when the node's id is none."""
    name_part(node_id, NODE_ID, SLASH)
    name, parent = task.name, root.root + "/" + node_id
    run = Run(SOURCE, "task", parent + "/" + name, name, root.root, parent, retry + 1, root.namespace, "", "node")
    return Attempt(run, f"{root.key}:{node_id}:{task.key}:{retry}", root, task, node_id)


def names(attempt: Attempt) -> dict[str, Scalar]:
    """The attributes that follow from who the event is about; a new dict."""
    root, task = attempt.root, attempt.task
    attributes = root.attributes.copy()
    attributes["flyte.node_id"] = cut(attempt.node_id)
    attributes.update(task.attributes)
    if task.place != root.place:
        for part, value, own in zip(("project", "domain"), task.place, root.place, strict=True):
            if value and value != own:  # said only where it is not the execution's
                attributes[f"flyte.task.{part}"] = cut(value)
    return attributes


def decode_task(event: Any, extra: dict[str, Scalar] | None = None) -> list[AnyEvent]:
    """Events of a whole TaskExecutionEvent; ``extra`` are attributes from its envelope (labels)."""
    return task_events(attempt_of(event), event, extra or {})


def task_events(attempt: Attempt, event: Any, extra: dict[str, Scalar]) -> list[AnyEvent]:
    """Events of a message whose attempt is given: its own identity fields are not read."""
    native, phase = phase_of(event.phase, TASK_PHASES, f"{EVENT}.phase")
    time = occurred(event.occurred_at, f"{EVENT}.occurred_at")
    identity = f"{attempt.key}:{native}:{event.phase_version}:{time}"
    attributes = names(attempt) | extra
    put(attributes, event, _CONSTANT)
    put_metadata(attributes, event.metadata)
    put(attributes, event, _CHANGING)  # in this order, as in cut.py: equal events must be equal bytes too
    put_time(attributes, "flyte.reported_at", event, "reported_at")
    put_values(attributes, event)
    _put_details(attributes, event)
    error = put_error(attributes, event.error) if event.HasField("error") else None
    if error is not None and event.phase == _FAILED and event.error.kind == SYSTEM:
        phase = "crashed"
    reasons = event.reasons
    reason = event.reason or (reasons[-1].reason if reasons else "")
    change = PhaseChange(
        id=identity,
        time=time,
        run=attempt.run,
        attributes=attributes,
        phase=phase,
        native=native,
        reason=reason,
        error=error,
    )
    return [change, *_reasons(change, reasons), *log_reports(change, event.logs), *_resources(change, attempt, event)]


def put_metadata(attributes: dict[str, Scalar], metadata: Any) -> None:
    """TaskExecutionMetadata without its external resources, which are events or need to know the task."""
    put_names(attributes, metadata)
    if metadata.resource_pool_info:
        pools = [plain(pool) for pool in metadata.resource_pool_info]
        attributes["flyte.resource_pool"] = as_json(pools)[0]


def put_names(attributes: dict[str, Scalar], metadata: Any) -> None:
    """The fields that nearly all metadata has: name of the pod, plugin, class of instance."""
    name, plugin, instance_class = _metadata_fields(metadata)
    if name:
        attributes["flyte.generated_name"] = cut(name)
    if plugin:
        attributes["flyte.plugin"] = cut(plugin)
    if instance_class:
        put_enum(attributes, "flyte.instance_class", instance_class, _INSTANCE_CLASS)


def put_values(attributes: dict[str, Scalar], event: Any, fields: tuple[str, ...] = VALUES) -> None:
    """The sizes in bytes of inputs and outputs in the event itself; their values never become attributes (law 8)."""
    for field in fields:
        if event.HasField(field):
            attributes[f"flyte.{field}.size"] = getattr(event, field).ByteSize()


def _put_details(attributes: dict[str, Scalar], message: Any) -> None:
    """custom_info and log_context, of a task or of an external resource."""
    if message.HasField("custom_info"):
        text, length = as_json(plain(message.custom_info))
        attributes["flyte.custom_info"] = text
        if length > len(text):
            attributes["flyte.custom_info.length"] = length
    if message.HasField("log_context"):
        attributes["flyte.log_context"] = message_text(message.log_context)


def _reasons(change: PhaseChange, reasons: Any) -> Iterator[Log]:
    """A log for each reason, without the one that equals the reason of ``change`` at the same time."""
    for number, row in enumerate(reasons):
        time = change.time
        if row.HasField("occurred_at"):
            time = occurred(row.occurred_at, f"{EVENT}.reasons[{number}].occurred_at")
        if row.reason and (row.reason, time) != (change.reason, change.time):
            yield Log(
                id=f"{change.id}:reason:{number}",
                time=time,
                run=change.run,
                message=row.reason,
                event_name="flyte.reason",
            )


def log_reports(change: PhaseChange, logs: Any, mark: str = "log") -> list[Report]:
    """A report for each TaskLog (flyteidl or flyteidl2): where the log is to be read."""
    return [_log_report(change, f"{change.id}:{mark}:{number}", log) for number, log in enumerate(logs)]


_log_fields = attrgetter("name", "uri", "message_format", "ShowWhilePending", "HideOnceFinished")


def _log_report(change: PhaseChange, identity: str, log: Any) -> Report:
    name, uri, message_format, show, hide = _log_fields(log)
    attributes: dict[str, Scalar] = {}
    text = ""
    if message_format:
        attributes["flyte.log.message_format"] = text = _MESSAGE_FORMAT.get(message_format) or str(message_format)
    if show:
        attributes["flyte.log.show_while_pending"] = True
    if hide:
        attributes["flyte.log.hide_once_finished"] = True
    if log.HasField("ttl"):
        attributes["flyte.log.ttl"] = log.ttl.seconds + log.ttl.nanos / 1e9
    return Report(
        id=identity,
        time=change.time,
        run=change.run,
        attributes=attributes,
        name=name,
        media_type=_MEDIA_TYPES.get(text, "text/plain"),
        uri=uri,
    )


def _resources(change: PhaseChange, attempt: Attempt, event: Any) -> Iterator[AnyEvent]:
    """Sub-tasks of an array task as events of their own; other external resources as an attribute of ``change``."""
    resources = event.metadata.external_resources
    if not resources:
        return
    array = (
        event.task_type == _ARRAY_TYPE
        or event.metadata.plugin_identifier == _ARRAY_PLUGIN
        or any(resource.index or resource.phase for resource in resources)
    )
    others = []
    seen: dict[str, int] = {}
    for number, resource in enumerate(resources):
        if array and resource.phase:
            yield from _sub_task(change, attempt, resource, seen)
        else:
            others.append(plain(resource))
            yield from log_reports(change, resource.logs, f"resource:{number}:log")
    if others:
        change.attributes["flyte.external_resources"] = as_json(others)[0]


def _sub_run(parent: Run, resource: Any) -> Run:
    """The run of a sub-task of an array task."""
    run_id, attempt = f"{parent.id}/{resource.index}", resource.retry_attempt + 1
    return Run(
        SOURCE, "task", run_id, parent.name, parent.root, parent.id, attempt, parent.namespace, parent_kind="task"
    )


def _sub_task(change: PhaseChange, attempt: Attempt, resource: Any, seen: dict[str, int]) -> Iterator[AnyEvent]:
    native, phase = phase_of(resource.phase, TASK_PHASES, f"{EVENT}.metadata.external_resources.phase")
    identity = f"{change.id}:sub:{resource.index}:{resource.retry_attempt}:{native}"
    seen[identity] = seen.get(identity, 0) + 1
    if seen[identity] > 1:  # two entries that differ only in other fields: both become events
        identity += f":{seen[identity]}"
    attributes = names(attempt)
    attributes["flyte.index"] = resource.index
    put(attributes, resource, _EXTERNAL_ID)
    put_enum(attributes, "otel_events.cache.status", resource.cache_status, CACHE_STATUS)
    if phase == "succeeded" and attributes.get("otel_events.cache.status") == "hit":
        attributes["otel_events.reused"] = True
    _put_details(attributes, resource)
    links: tuple[Link, ...] = launches(attributes, resource)
    sub = PhaseChange(
        id=identity,
        time=change.time,
        run=_sub_run(change.run, resource),
        attributes=attributes,
        links=links,
        phase=phase,
        native=native,
    )
    yield sub
    yield from log_reports(sub, resource.logs)
