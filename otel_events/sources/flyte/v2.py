"""Flyte 2: RecordRequest, a batch of ActionEvents (flyteidl2/workflow/events_proxy_service.proto).

Attempts count from 1 and the enums have other numbers than in Flyte 1. A run is the root; its root action, always named
``a0``, is the run itself, and the event of any other action does not tell by whom it was started. flyteidl2 is imported
with the first such record.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from google.protobuf.message import DecodeError as ProtobufError

from otel_events.model.errors import DecodeError
from otel_events.model.event import AnyEvent, Error, ErrorKind, Link, Log, PhaseChange, Report, Run, Scalar
from otel_events.sources.flyte.base import (
    CACHE_STATUS,
    SLASH,
    SOURCE,
    cut,
    fields,
    name_part,
    occurred,
    phase_of,
    put,
    put_enum,
    put_time,
)
from otel_events.sources.flyte.protojson import as_json, message_text, plain, read
from otel_events.sources.flyte.task import log_reports

EVENT = "flyteidl2.workflow.ActionEvent"
ROOT_ACTION = "a0"
PHASES: dict[int, tuple[str, str]] = {
    1: ("ACTION_PHASE_QUEUED", "pending"),
    2: ("ACTION_PHASE_WAITING_FOR_RESOURCES", "pending"),
    3: ("ACTION_PHASE_INITIALIZING", "pending"),
    4: ("ACTION_PHASE_RUNNING", "running"),
    5: ("ACTION_PHASE_SUCCEEDED", "succeeded"),
    6: ("ACTION_PHASE_FAILED", "failed"),
    7: ("ACTION_PHASE_ABORTED", "cancelled"),
    8: ("ACTION_PHASE_TIMED_OUT", "timed_out"),
    9: ("ACTION_PHASE_PAUSED", "paused"),
    10: ("ACTION_PHASE_RECOVERED", "succeeded"),
}
_RECOVERED = 10
_ERROR_KIND: dict[int, ErrorKind] = {1: "user", 2: "system"}
_WARNING, _WARN, _INFO = 2, 13, 9
_FIELDS = fields(("version", "flyte.phase_version"), ("cluster", "flyte.cluster"))
_TIMES = (
    ("start_time", "flyte.start_time"),
    ("end_time", "flyte.end_time"),
    ("reported_time", "flyte.reported_at"),
)
_CLUSTER_EVENT = fields(
    ("reason", "flyte.cluster_event.reason"),
    ("source_component", "flyte.cluster_event.source_component"),
    ("count", "flyte.cluster_event.count"),
)
_OUTPUTS = fields(("output_uri", "flyte.output_uri"))
_LOG = fields(("link_type", "flyte.log.link_type"), ("ready", "flyte.log.ready"), ("icon_uri", "flyte.log.icon_uri"))


@cache
def _request() -> Any:
    try:
        from flyteidl2.workflow import events_proxy_service_pb2  # optional: only records of Flyte 2 need it
    except ModuleNotFoundError as missing:
        raise DecodeError(
            f"a Flyte 2 record needs {missing.name}: pip install flyteidl2, then replay the dead letter"
        ) from None
    return events_proxy_service_pb2.RecordRequest


def decode_record(record: bytes) -> list[AnyEvent]:
    """Events of a binary RecordRequest."""
    try:
        request = _request().FromString(record)
    except ProtobufError as error:
        raise DecodeError(f"no flyteidl2.workflow.RecordRequest: {error}; is it cut, or of another type?") from None
    return _events(request)


def decode_record_json(record: dict[str, Any]) -> list[AnyEvent]:
    """Events of a RecordRequest in proto3 JSON."""
    request = _request()()
    read(request, record)
    return _events(request)


def is_record(record: bytes) -> bool:
    """Whether bytes are a RecordRequest whose events name their run and action."""
    try:
        request = _request().FromString(record)
    except (ProtobufError, DecodeError):
        return False
    return bool(request.events) and all(
        event.id.name.isprintable() and event.id.run.name.isprintable() and event.id.name and event.id.run.name
        for event in request.events
    )


def _events(request: Any) -> list[AnyEvent]:
    if not request.events:
        raise DecodeError("flyteidl2.workflow.RecordRequest holds no events: an empty request tells nothing")
    events: list[AnyEvent] = []
    for number, event in enumerate(request.events):
        try:
            events += _action(event)
        except DecodeError as error:
            raise DecodeError(f"events[{number}]: {error}") from None
    return events


def _run(action: Any, attempt: int) -> Run:
    run = action.run
    parts = ("org", "project", "domain", "name")
    values = [name_part(getattr(run, part), f"{EVENT}.id.run.{part}", SLASH) for part in parts]
    root, namespace = "/".join(values), f"{run.project}/{run.domain}"
    name = name_part(action.name, f"{EVENT}.id.name", SLASH)
    if name == ROOT_ACTION:
        return Run(SOURCE, "workflow", root, "", root, None, attempt, namespace)
    return Run(SOURCE, "task", f"{root}/{name}", "", root, None, attempt, namespace)


def _action(event: Any) -> list[AnyEvent]:
    if not event.attempt:
        raise DecodeError(f"{EVENT}.attempt is 0: Flyte 2 counts attempts from 1; ask the producer for a valid record")
    native, phase = phase_of(event.phase, PHASES, f"{EVENT}.phase")
    time = occurred(event.updated_time, f"{EVENT}.updated_time")
    run = _run(event.id, event.attempt)
    attributes = _attributes(event)
    error = _put_error(attributes, event.error_info) if event.HasField("error_info") else None
    if error is not None and phase == "failed" and error.kind == "system":
        phase = "crashed"
    if event.phase == _RECOVERED or (phase == "succeeded" and attributes.get("otel_events.cache.status") == "hit"):
        attributes["otel_events.reused"] = True
    key = run.root.replace("/", ":") + f":{event.id.name}:{event.attempt}"
    change = PhaseChange(
        id=f"{key}:{native}:{event.version}:{time}",
        time=time,
        run=run,
        attributes=attributes,
        links=_put_source(attributes, event),
        phase=phase,
        native=native,
        error=error,
    )
    events: list[AnyEvent] = [change, *_logs(change, event.log_info)]
    events += _cluster_events(change, event.cluster_events)
    return events + _deck(change, event)


def _attributes(event: Any) -> dict[str, Scalar]:
    run = event.id.run
    attributes: dict[str, Scalar] = {
        "flyte.org": cut(run.org),
        "flyte.project": cut(run.project),
        "flyte.domain": cut(run.domain),
        "flyte.execution": cut(run.name),
        "flyte.action": cut(event.id.name),
    }
    put(attributes, event, _FIELDS)
    for field, attribute in _TIMES:
        put_time(attributes, attribute, event, field)
    put(attributes, event.outputs, _OUTPUTS)
    put_enum(attributes, "otel_events.cache.status", event.cache_status, CACHE_STATUS)
    if event.HasField("log_context"):
        attributes["flyte.log_context"] = message_text(event.log_context)
    return attributes


def _put_error(attributes: dict[str, Scalar], error: Any) -> Error:
    if error.HasField("gpu_fault"):
        attributes["flyte.error.gpu_fault"] = as_json(plain(error.gpu_fault))[0]
    return Error(error.code, error.message, _ERROR_KIND.get(error.kind, ""))


def _put_source(attributes: dict[str, Scalar], event: Any) -> tuple[Link, ...]:
    """The attempt whose result was reused, as attributes and, on a hit, as a link."""
    if not event.cache_metadata.HasField("source_action_attempt"):
        return ()
    source = event.cache_metadata.source_action_attempt
    run = _run(source.action_id, source.attempt or 1)
    attributes["flyte.cache.source"] = cut(run.id)
    attributes["flyte.cache.source.attempt"] = run.attempt
    if attributes.get("otel_events.cache.status") != "hit":
        return ()
    return (Link("cached_from", run.id, run.kind, run.root, run.attempt, namespace=run.namespace),)


def _logs(change: PhaseChange, logs: Any) -> Iterator[Report]:
    for report, log in zip(log_reports(change, logs), logs, strict=True):
        put(report.attributes, log, _LOG)
        yield report


def _cluster_events(change: PhaseChange, cluster_events: Any) -> Iterator[Log]:
    """The Kubernetes events of the pod: a log each, at its own time."""
    for number, event in enumerate(cluster_events):
        time = change.time
        if event.HasField("occurred_at"):
            time = occurred(event.occurred_at, f"{EVENT}.cluster_events[{number}].occurred_at")
        attributes: dict[str, Scalar] = {}
        put(attributes, event, _CLUSTER_EVENT)
        if event.HasField("gpu_fault"):
            attributes["flyte.cluster_event.gpu_fault"] = as_json(plain(event.gpu_fault))[0]
        yield Log(
            id=f"{change.id}:cluster_event:{number}",
            time=time,
            run=change.run,
            attributes=attributes,
            message=event.message,
            severity=_WARN if event.type == _WARNING else _INFO,
            event_name="flyte.cluster_event",
        )


def _deck(change: PhaseChange, event: Any) -> list[AnyEvent]:
    uri = event.outputs.report_uri
    if not uri:
        return []
    identity = f"{change.id}:deck"
    return [Report(id=identity, time=change.time, run=change.run, name="deck", media_type="text/html", uri=uri)]
