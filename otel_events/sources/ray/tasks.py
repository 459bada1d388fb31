"""Events of tasks: definitions and transitions of their state. An attempt of Ray is an attempt of ours.

Two processes report one attempt, in any order: the owner its definition, transitions and end, the worker its RUNNING
and its profile. Each transition is an event of its own, whose id is made of task, attempt, state and time. Most records
of Ray are decoded here and in profiles.py, so these avoid calls for fields that are nearly never set.
"""

from __future__ import annotations

from otel_events.model.event import REDACTED, AnyEvent, Log, PhaseChange, Run
from otel_events.sources.ray.batch import Batch
from otel_events.sources.ray.failures import exception, failure
from otel_events.sources.ray.fields import (
    CREATION,
    NAME_LENGTH,
    NIL_GROUP,
    Attributes,
    digest,
    function,
    hexadecimal,
    is_set,
    json_text,
    nanoseconds,
    number,
    plain,
    put,
)
from otel_events.sources.ray.shapes import Definition, LogFiles, RayError, RayEvent, TaskLifecycle, Transition
from otel_events.sources.ray.tables import DRIVER_STATES, STATE_NUMBERS, TASK_STATES

KNOWABLE = "ray.cancel.knowable"
"""Attribute: whether a plain ``ray.cancel`` of the running attempt would be visible, by its profile or its failure."""

_NOTHING = RayError()


def definition(raw: RayEvent, body: Definition, batch: Batch) -> list[AnyEvent]:
    """A task was submitted: its attempt is pending. The definition of a driver task means that its job is running."""
    run = batch.run(raw, body.task_id, body.task_attempt)
    time, native = nanoseconds(raw.timestamp), raw.event_type
    if run.kind == "workflow":
        return [PhaseChange(id=raw.event_id, time=time, run=run, phase="running", native=native)]
    attributes = _defined(body, run)
    return [PhaseChange(id=raw.event_id, time=time, run=run, attributes=attributes, phase="pending", native=native)]


def _defined(body: Definition, run: Run) -> Attributes:
    attributes: Attributes = {KNOWABLE: False, "ray.task.type": body.task_type or "ACTOR_TASK"}
    name = body.task_name or body.actor_task_name
    if name:
        attributes["ray.task.name"] = name[:NAME_LENGTH]
    qualified = function(body.task_func or body.actor_func)[1]
    if qualified:
        attributes["code.function.name"] = qualified
    if body.actor_id:
        attributes["ray.actor.id"] = hexadecimal(body.actor_id)
    elif run.id.startswith(CREATION):
        attributes["ray.actor.id"] = run.id.removeprefix(CREATION)
    if body.required_resources:
        attributes["ray.resources"] = json_text(body.required_resources)
    if body.placement_group_id != NIL_GROUP and is_set(group := hexadecimal(body.placement_group_id)):
        attributes["ray.placement_group.id"] = group
    if body.serialized_runtime_env not in _NO_ENVIRONMENT or body.runtime_env_info:
        put(attributes, "ray.runtime_env", runtime_env(body.serialized_runtime_env or _nested(body)))
    if body.label_selector or body.call_site or body.is_detached_actor or body.language != "PYTHON":
        _add_rare(attributes, body)
    return attributes


def _add_rare(attributes: Attributes, body: Definition) -> None:
    if body.label_selector:
        attributes["ray.label_selector"] = json_text(body.label_selector)
    if body.language != "PYTHON":
        put(attributes, "ray.language", body.language)
    put(attributes, "ray.call_site", plain(body.call_site))
    put(attributes, "ray.actor.detached", body.is_detached_actor)


def _nested(body: Definition) -> str:
    """The runtime environment of Ray 2.49, which has it one level deeper."""
    return str((body.runtime_env_info or {}).get("serializedRuntimeEnv", ""))


_NO_ENVIRONMENT = ("", "{}")


def runtime_env(serialized: str) -> str:
    """A mark that a runtime environment was set; never its content, which holds environment variables in clear."""
    return REDACTED if serialized not in _NO_ENVIRONMENT else ""


def lifecycle(raw: RayEvent, body: TaskLifecycle, batch: Batch) -> list[AnyEvent]:
    """The transitions of an attempt; the other facts of the event become attributes of its last one."""
    run = batch.run(raw, body.task_id, body.task_attempt)
    transitions = body.state_transitions or _numbered(body)
    ran = any(transition.state == "RUNNING" for transition in transitions)
    facts = _facts(raw, body, ran)
    if not transitions:
        # Sent after the end, when the worker closed its log files: no phase begins or ends with it.
        time = nanoseconds(raw.timestamp)
        return [Log(id=raw.event_id, time=time, run=run, attributes=facts, message=raw.event_type, event_name=CLOSED)]
    if body.ray_error_info is not None or run.kind == "workflow" or run.id.startswith(CREATION):
        return _rare(raw, body, run, transitions, facts)
    return _common(body, run, transitions, facts)


CLOSED = "ray.task.closed"
"""event_name of the log that the worker closed the attempt's log files."""


def _numbered(body: TaskLifecycle) -> list[Transition]:
    """The transitions as Ray 2.49 sends them: states by number."""
    return [Transition(STATE_NUMBERS.get(key, key), timestamp) for key, timestamp in body.task_state.items()]


def _common(body: TaskLifecycle, run: Run, transitions: list[Transition], facts: Attributes) -> list[AnyEvent]:
    """The transitions of nearly all tasks: without an error, of no driver, of no creation of an actor."""
    before = f"{body.task_id}.{body.task_attempt}."
    events: list[AnyEvent] = []
    last = len(transitions) - 1
    for index, transition in enumerate(transitions):
        state, time = transition.state, nanoseconds(transition.timestamp)
        phase = TASK_STATES.get(state, "")
        if index < last and state != "RUNNING" and state != "FAILED":
            events.append(PhaseChange(id=f"{before}{state}.{time}", time=time, run=run, phase=phase, native=state))
            continue
        own = facts if index == last else {}
        if state == "FAILED":
            events.append(_failed(body, run, time, _NOTHING, own))
            continue
        if state == "RUNNING":
            own = {**own, KNOWABLE: False}
        identity = f"{before}{state}.{time}{digest(own)}"
        events.append(PhaseChange(id=identity, time=time, run=run, attributes=own, phase=phase, native=state))
    return events


def _rare(
    raw: RayEvent, body: TaskLifecycle, run: Run, transitions: list[Transition], facts: Attributes
) -> list[AnyEvent]:
    """The transitions of all other tasks: with an error, of a driver, or of the creation of an actor."""
    events: list[AnyEvent] = []
    error = body.ray_error_info
    if error is not None and not any(transition.state == "FAILED" for transition in transitions):
        events.append(_error_log(raw, run, error))
    last = len(transitions) - 1
    for index, transition in enumerate(transitions):
        time, own = nanoseconds(transition.timestamp), facts if index == last else {}
        if transition.state == "FAILED" and run.kind == "task":
            events.append(_failed(body, run, time, error or _NOTHING, own))
        else:
            events.append(_transition(body, run, transition.state, time, own))
    return events


def _transition(body: TaskLifecycle, run: Run, state: str, time: int, own: Attributes) -> AnyEvent:
    states = DRIVER_STATES if run.kind == "workflow" else TASK_STATES
    if state == "RUNNING" and run.kind == "task":
        own = {**own, KNOWABLE: False}
    identity = f"{body.task_id}.{body.task_attempt}.{state}.{time}{digest(own)}"
    if state == "RUNNING" and run.attempt > 1 and run.id.startswith(CREATION):
        # A later life of an actor: Ray reports only that its creation began. Its end is in the events of the actor.
        return Log(id=identity, time=time, run=run, attributes=own, message=state, event_name="ray.actor.recreated")
    return PhaseChange(id=identity, time=time, run=run, attributes=own, phase=states.get(state, ""), native=state)


def _failed(body: TaskLifecycle, run: Run, time: int, info: RayError, own: Attributes) -> PhaseChange:
    (phase, _), error = failure(info, run.id)
    own = {**own, **exception(info), KNOWABLE: True}
    identity = f"{body.task_id}.{body.task_attempt}.FAILED.{time}{digest(own, error)}"
    return PhaseChange(id=identity, time=time, run=run, attributes=own, phase=phase, native="FAILED", error=error)


def _facts(raw: RayEvent, body: TaskLifecycle, ran: bool) -> Attributes:
    """The facts of an event beside its transitions."""
    facts: Attributes = {}
    # The event's own node is the sender's. Only the worker sends RUNNING, so only then it is the node of the attempt.
    if node := body.node_id or (raw.node_id if ran else ""):
        facts["ray.node.id"] = hexadecimal(node)
    if body.worker_id:
        facts["ray.worker.id"] = hexadecimal(body.worker_id)
    if body.worker_pid:
        facts["ray.worker.pid"] = body.worker_pid
    if body.actor_repr_name:
        facts["ray.actor.repr"] = plain(body.actor_repr_name)[:NAME_LENGTH]
    if body.is_debugger_paused:
        facts["ray.debugger_paused"] = True
    if body.task_log_info is not None:
        _add_files(facts, body.task_log_info)
    return facts


def _add_files(facts: Attributes, files: LogFiles) -> None:
    """Where in which files the output of the attempt is. An end that equals the start is not set yet, or there was no
    output."""
    put(facts, "ray.log.stdout", files.stdout_file)
    put(facts, "ray.log.stderr", files.stderr_file)
    if files.stdout_start:
        facts["ray.log.stdout.start"] = number(files.stdout_start)
    if files.stdout_end and files.stdout_end != files.stdout_start:
        facts["ray.log.stdout.end"] = number(files.stdout_end)
    if files.stderr_start:
        facts["ray.log.stderr.start"] = number(files.stderr_start)
    if files.stderr_end and files.stderr_end != files.stderr_start:
        facts["ray.log.stderr.end"] = number(files.stderr_end)


def _error_log(raw: RayEvent, run: Run, error: RayError) -> Log:
    """The log of an error in an event whose transitions do not end the attempt."""
    return Log(
        id=f"{raw.event_id}.error",
        time=nanoseconds(raw.timestamp),
        run=run,
        attributes={"error.type": error.error_type or "UNKNOWN"},
        message=plain(error.error_message),
        severity=17,
        event_name="ray.task.error",
    )
