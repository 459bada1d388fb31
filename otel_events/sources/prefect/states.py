"""State events of Prefect's flow and task runs -> changes of phase: keyed on the state's type, refined by its name."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from otel_events.model.event import Error, Link, Log, PhaseChange, Run, Scalar
from otel_events.model.identity import span_id
from otel_events.sources.prefect.fields import (
    FLOW_RUN,
    LONGEST,
    NAME,
    PARENTS,
    SOURCE,
    TASK_RUN,
    TRACEPARENT,
    Context,
    add_other_task,
    json_text,
    labels,
    number,
    part,
    scalar,
)
from otel_events.sources.prefect.tables import (
    ATTEMPT_BEGUN,
    NAMED_STATES,
    RESTARTS,
    STATE_DETAILS,
    STATE_DETAILS_WITHHELD,
    STATES,
    TERMINAL,
    State,
)


class _Before(msgspec.Struct, gc=False):
    """The state that a state follows."""

    type: str | None = None


class _Validated(msgspec.Struct, gc=False):
    state_details: dict[str, Any] | None = None
    pause_reschedule: str | bool | None = None


class _Policy(msgspec.Struct, gc=False):
    retries: int | None = None
    retry_delay: int | float | list[float] | None = None
    retry_jitter_factor: float | None = None


class Input(msgspec.Struct, gc=False):
    """One entry of ``task_inputs``: a run that a parameter came from, or a constant or parameter without ``id``."""

    input_type: str = ""
    id: str = ""


_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class _TaskRun(msgspec.Struct, gc=False):
    task_key: str | None = None
    dynamic_key: str | None = None
    cache_key: str | None = None
    cache_expiration: str | None = None
    task_version: str | None = None
    empirical_policy: msgspec.Raw = msgspec.Raw(b"")
    tags: list[str] | None = None
    labels: dict[str, Any] | None = None
    task_inputs: dict[str, list[Input]] | None = None
    flow_run_run_count: _Int64 | None = None
    expected_start_time: str | None = None
    total_run_time: float | None = None


class _Payload(msgspec.Struct, gc=False):
    initial_state: _Before | None = None
    validated_state: _Validated | None = None
    task_run: _TaskRun | None = None


_policy = msgspec.json.Decoder(_Policy | None)
_payload = msgspec.json.Decoder(_Payload | None)

_PLAIN = frozenset(
    (
        *("prefect.resource.id", "prefect.resource.name", "prefect.run-count", "prefect.orchestration"),
        *("prefect.state-message", "prefect.state-name", "prefect.state-timestamp", "prefect.state-type"),
    )
)
"""Labels of a state event's resource that the code below reads by name."""
_EXCEPTION = re.compile(r"(?:encountered an|unexpected) exception:? ([A-Za-z_][\w.]{0,200})(?=[:(\s]|$)")
_TIMEOUT = re.compile(r"due to timeout: ([A-Za-z_][\w.]{0,200})\(")
_HASH = re.compile(r"-[0-9a-f]{8}$")


def state_event(
    event_id: str, name: str, time: int, resource: dict[str, str], where: Context, payload: bytes, occurred: str
) -> PhaseChange | Log:
    """The event of a record whose resource is a run and carries a state type; ``name`` is the record's event name.

    Raises DecodeError where the payload is not that of a state event.
    """
    content = (part("payload", _payload, payload) if payload else None) or _Payload()
    run, links, attributes = _run_of(resource["prefect.resource.id"], where, content)
    native = resource.get("prefect.state-name") or name[len(FLOW_RUN) :]
    kind = resource["prefect.state-type"]
    attributes["prefect.state.name"], attributes["prefect.state.type"] = native, kind
    if NAME in resource:
        attributes["prefect.task_run.name" if run.kind == "task" else "prefect.flow_run.name"] = resource[NAME]
    _add_labels(attributes, resource, occurred)
    if content.validated_state:
        _add_details(attributes, content.validated_state, run)
    message = resource.get("prefect.state-message", "")[:LONGEST]
    state = NAMED_STATES.get((kind, native)) or STATES.get(kind)
    if state is None or not state.phase:
        says = message or f"{'task' if run.kind == 'task' else 'flow'} run is {native}"
        return Log(id=event_id, time=time, run=run, attributes=attributes, links=links, message=says, event_name=name)
    if state.attributes:
        attributes |= state.attributes
    return PhaseChange(
        id=event_id,
        time=time,
        run=run,
        attributes=attributes,
        links=links,
        phase=state.phase,
        native=native,
        reason=message,
        error=_error(state, native, message) if state.error else None,
        next_attempt=_next_attempt(kind, native, content.initial_state),
    )


def _run_of(own: str, where: Context, content: _Payload) -> tuple[Run, tuple[Link, ...], dict[str, Scalar]]:
    """(run, its links, its attributes) of the resource id ``own``."""
    if own.startswith(TASK_RUN):
        return _task(own[len(TASK_RUN) :], where, content.task_run or _TaskRun())
    attributes = {**where.attributes}
    if where.task_run:
        add_other_task(attributes, "prefect.parent_task_run", where)
    return flow_run(own[len(FLOW_RUN) :], where), (), attributes


def flow_run(run_id: str, where: Context) -> Run:
    """A flow run: the root of its own trace, also when another run called it."""
    return Run(SOURCE, "workflow", run_id, where.workflow, run_id, attempt=0, workflow=where.workflow)


def task_run(run_id: str, where: Context) -> Run:
    """A task run of which a record has only the id: it belongs to the first related flow run."""
    return Run(SOURCE, "task", run_id, "", where.flow_run or run_id, attempt=0, workflow=where.workflow)


def _told_task(run_id: str, where: Context, name: str, caller: str) -> Run:
    """A task run below the task that called it, else below its flow run; without a flow run it is a root."""
    root = where.flow_run
    if not root:
        return Run(SOURCE, "task", run_id, name, run_id, None, 0, "", where.workflow)
    kind = "task" if caller else "workflow"
    return Run(SOURCE, "task", run_id, name, root, caller or root, 0, "", where.workflow, kind)


def _task(run_id: str, where: Context, task: _TaskRun) -> tuple[Run, tuple[Link, ...], dict[str, Scalar]]:
    links, caller = _links(task.task_inputs, where.flow_run or run_id) if task.task_inputs else ((), "")
    if caller and not where.flow_run:  # without a flow, caller and called are roots of their own
        links = (Link("launched_by", caller, "task", caller), *links)
    attributes = {**where.attributes}
    if where.flow_run_name:
        attributes["prefect.flow_run.name"] = where.flow_run_name
    key = (task.task_key or "")[:LONGEST]
    if key:
        attributes["prefect.task.key"] = key
    _add_facts(attributes, task)
    if task.labels:
        _add_run_labels(attributes, task.labels)
    if task.tags and not where.tags.issuperset(task.tags):
        attributes["prefect.tags"] = ",".join(sorted(where.tags.union(task.tags)))
    if where.task_run:
        add_other_task(attributes, "prefect.context.task_run", where)
    return _told_task(run_id, where, stable_name(key), caller), links, attributes


@lru_cache(maxsize=4096)
def stable_name(task_key: str) -> str:
    """The task's name: its key without the hash of its source (``extract-878d72d9`` -> ``extract``)."""
    return _HASH.sub("", task_key)


def _links(inputs: dict[str, list[Input]], root: str) -> tuple[tuple[Link, ...], str]:
    """(links to the runs that the inputs came from, id of the task run that called this one or "")."""
    links: dict[str, Link] = {}
    parent = ""
    for name, entries in inputs.items():
        for entry in entries:
            if not entry.id:
                continue
            if entry.input_type == "flow_run":
                links[entry.id] = Link("depends_on", entry.id, "workflow", entry.id)
            elif name != PARENTS:
                links[entry.id] = Link("depends_on", entry.id, "task", root)
            elif not parent:
                parent = entry.id
    return tuple(links.values()), parent


def _add_facts(attributes: dict[str, Scalar], task: _TaskRun) -> None:
    if task.dynamic_key:
        attributes["prefect.task.dynamic_key"] = task.dynamic_key
    if task.flow_run_run_count is not None:
        attributes["prefect.flow_run.run_count"] = task.flow_run_run_count
    if task.expected_start_time:
        attributes["prefect.expected_start_time"] = task.expected_start_time
    if task.total_run_time is not None:
        attributes["prefect.total_run_time"] = task.total_run_time
    if task.cache_key:
        attributes["prefect.task.cache_key"] = task.cache_key
    if task.cache_expiration:
        attributes["prefect.task.cache_expiration"] = task.cache_expiration
    if task.task_version:
        attributes["prefect.task.version"] = task.task_version
    policy = bytes(task.empirical_policy)
    if policy:
        attributes |= _remembered_policy(policy) if len(policy) <= LONGEST else _policy_attributes(policy)


def _policy_attributes(text: bytes) -> dict[str, Scalar]:
    policy = _policy.decode(text) or _Policy()
    fields = (policy.retries, policy.retry_delay, policy.retry_jitter_factor)
    return {
        f"prefect.{name}": scalar(value)
        for name, value in zip(_Policy.__struct_fields__, fields, strict=True)
        if value is not None
    }


_remembered_policy = lru_cache(maxsize=256)(_policy_attributes)  # all runs of one task have the same policy


def _add_run_labels(attributes: dict[str, Scalar], run_labels: dict[str, Any]) -> None:
    """The span that Prefect's own telemetry opened for this run, and the run's other labels as JSON."""
    context = run_labels.get(TRACEPARENT)
    if isinstance(context, str) and context:
        attributes["traceparent"] = context
    others = {key: value for key, value in run_labels.items() if key != TRACEPARENT}
    if others:
        attributes["prefect.run.labels"] = json_text(others)


def _add_labels(attributes: dict[str, Scalar], resource: dict[str, str], occurred: str) -> None:
    if "prefect.run-count" in resource:
        attributes["prefect.run_count"] = number(resource["prefect.run-count"])
    if "prefect.orchestration" in resource:
        attributes["prefect.orchestration"] = resource["prefect.orchestration"]
    stamp = resource.get("prefect.state-timestamp")
    if stamp and stamp[:26] != occurred[:26]:
        attributes["prefect.state.timestamp"] = stamp
    if not _PLAIN.issuperset(resource):
        others = labels(attributes, {key: value for key, value in resource.items() if key not in _PLAIN})
        if others:
            attributes["prefect.labels"] = json_text(others)


def _add_details(attributes: dict[str, Scalar], state: _Validated, run: Run) -> None:
    if state.pause_reschedule is not None:
        attributes["prefect.state.pause_reschedule"] = state.pause_reschedule
    if not state.state_details:
        return
    others: dict[str, Any] = {}
    for key, value in state.state_details.items():
        if key in STATE_DETAILS and value is not None:
            attributes[f"prefect.state.{key}"] = scalar(value)
        elif key not in STATE_DETAILS_WITHHELD and value is not None:
            others[key] = value
    if others:
        attributes["prefect.state.details"] = json_text(others)
    outer = state.state_details.get("traceparent")
    # Before the run starts this is the span of its caller; afterwards its own, which its labels hold too.
    if isinstance(outer, str) and outer and "traceparent" not in attributes and _own_span(run) not in outer:
        attributes["otel_events.parent.traceparent"] = outer


def _own_span(run: Run) -> str:
    """Hex id of the span that we give the run. Where our instrumentor runs and Prefect's own tracing does not, this is
    the span in the run's traceparent, which must not become its own parent."""
    return span_id(run.source, run.namespace, run.id, 1, run.kind).hex()


def _next_attempt(kind: str, name: str, before: _Before | None) -> bool:
    """Whether this state begins another attempt. Prefect's run-count cannot be used: a pause raises it too."""
    if kind not in RESTARTS:
        return False
    after = before.type if before else None
    if after in TERMINAL:
        return (kind, name) != ("PENDING", "NotReady")
    if kind == "RUNNING":
        return name == "Retrying" and after not in ATTEMPT_BEGUN
    return kind == "SCHEDULED" and name == "AwaitingRetry"


def _error(state: State, native: str, message: str) -> Error | None:
    if not message and state.phase in ("pending", "running"):
        return None
    match = _EXCEPTION.search(message) or _TIMEOUT.search(message)
    return Error(match[1] if match else native, message, state.error)
