"""Events of tasks: definitions and transitions of their state. One attempt of Ray's is one of ours.

What tells of one attempt comes in pieces from two processes, in any order: the owner's definition, transitions and end,
and the worker's RUNNING and profile. Each transition is an event of its own, known again by task, attempt, state and
time. All that is decoded most of is here and in ray_profiles.py: no calls are made for what is nearly never set.
"""

from __future__ import annotations

from otel_events.core import redact
from otel_events.model.event import AnyEvent, Log, PhaseChange, Run
from otel_events.sources.ray.batch import Batch
from otel_events.sources.ray.failures import exception, failure
from otel_events.sources.ray.fields import (
    CREATION,
    NAME_LENGTH,
    NIL_GROUP,
    Attributes,
    digest,
    function,
    harmless,
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
"""Whether a plain ``ray.cancel`` of the running attempt would have shown: by its profile, or because it failed."""

_NOTHING = RayError()


def definition(raw: RayEvent, body: Definition, batch: Batch) -> list[AnyEvent]:
    """A task was submitted: its attempt is pending from here on, and this is what it is."""
    run = batch.run(raw, body.task_id, body.task_attempt)
    time, native = nanoseconds(raw.timestamp), raw.event_type
    if run.kind == "workflow":
        return [PhaseChange(id=raw.event_id, time=time, run=run, phase="running", native=native)]
    attributes = _defined(body, run)
    made = PhaseChange(id=raw.event_id, time=time, run=run, attributes=attributes, phase="pending", native=native)
    texts = (run.name, attributes.get("ray.task.name"), attributes.get("ray.resources"))
    clean = all(map(harmless, texts)) and len(attributes) <= _PLAIN_SIZE
    return [made] if clean else [redact.event(made)]


_PLAIN_SIZE = 6
"""Attributes of a definition that has nothing but what nearly all have; their texts are looked at one by one."""


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
    """2.49 wraps the runtime environment once more."""
    return str((body.runtime_env_info or {}).get("serializedRuntimeEnv", ""))


_NO_ENVIRONMENT = ("", "{}")


def runtime_env(serialized: str) -> str:
    """That there is one, never what it holds."""
    return redact.REDACTED if serialized not in _NO_ENVIRONMENT else ""


def lifecycle(raw: RayEvent, body: TaskLifecycle, batch: Batch) -> list[AnyEvent]:
    """Transitions of an attempt; what else the event tells goes with its last one."""
    run = batch.run(raw, body.task_id, body.task_attempt)
    transitions = body.state_transitions or _numbered(body)
    ran = any(one.state == "RUNNING" for one in transitions)
    facts, clean = _facts(raw, body, ran)
    if not transitions:
        # Comes after the end, when the worker closed its log files: nothing begins or ends with it.
        time = nanoseconds(raw.timestamp)
        found: list[AnyEvent] = [
            Log(id=raw.event_id, time=time, run=run, attributes=facts, message=raw.event_type, event_name=CLOSED)
        ]
    elif body.ray_error_info is not None or run.kind == "workflow" or run.id.startswith(CREATION):
        found, clean = _rare(raw, body, run, transitions, facts), False
    else:
        found = _common(body, run, transitions, facts)
    return found if clean else redact.events(found)


CLOSED = "ray.task.closed"


def _numbered(body: TaskLifecycle) -> list[Transition]:
    """Of 2.49: states by number."""
    return [Transition(STATE_NUMBERS.get(key, key), timestamp) for key, timestamp in body.task_state.items()]


def _common(body: TaskLifecycle, run: Run, transitions: list[Transition], facts: Attributes) -> list[AnyEvent]:
    """Transitions of a task as nearly all are: no failure, no driver, no creation of an actor."""
    before = f"{body.task_id}.{body.task_attempt}."
    found: list[AnyEvent] = []
    last = len(transitions) - 1
    for index, one in enumerate(transitions):
        state, time = one.state, nanoseconds(one.timestamp)
        phase = TASK_STATES.get(state, "")
        if index < last and state != "RUNNING" and state != "FAILED":
            found.append(PhaseChange(id=f"{before}{state}.{time}", time=time, run=run, phase=phase, native=state))
            continue
        own = facts if index == last else {}
        if state == "FAILED":
            found.append(_failed(body, run, time, _NOTHING, own))
            continue
        if state == "RUNNING":
            own = {**own, KNOWABLE: False}
        known = f"{before}{state}.{time}{digest(own)}"
        found.append(PhaseChange(id=known, time=time, run=run, attributes=own, phase=phase, native=state))
    return found


def _rare(
    raw: RayEvent, body: TaskLifecycle, run: Run, transitions: list[Transition], facts: Attributes
) -> list[AnyEvent]:
    """Transitions with an error, of a driver, or of the creation of an actor."""
    found: list[AnyEvent] = []
    error = body.ray_error_info
    if error is not None and not any(one.state == "FAILED" for one in transitions):
        found.append(_told_error(raw, run, error))
    last = len(transitions) - 1
    for index, one in enumerate(transitions):
        time, own = nanoseconds(one.timestamp), facts if index == last else {}
        if one.state == "FAILED" and run.kind == "task":
            found.append(_failed(body, run, time, error or _NOTHING, own))
        else:
            found.append(_transition(body, run, one.state, time, own))
    return found


def _transition(body: TaskLifecycle, run: Run, state: str, time: int, own: Attributes) -> AnyEvent:
    states = DRIVER_STATES if run.kind == "workflow" else TASK_STATES
    if state == "RUNNING" and run.kind == "task":
        own = {**own, KNOWABLE: False}
    known = f"{body.task_id}.{body.task_attempt}.{state}.{time}{digest(own)}"
    if state == "RUNNING" and run.attempt > 1 and run.id.startswith(CREATION):
        # The second life of an actor: Ray tells its creation's beginning only. The actor itself tells how it went.
        return Log(id=known, time=time, run=run, attributes=own, message=state, event_name="ray.actor.recreated")
    return PhaseChange(id=known, time=time, run=run, attributes=own, phase=states.get(state, ""), native=state)


def _failed(body: TaskLifecycle, run: Run, time: int, told: RayError, own: Attributes) -> PhaseChange:
    (phase, _), error = failure(told, run.id)
    own = {**own, **exception(told), KNOWABLE: True}
    known = f"{body.task_id}.{body.task_attempt}.FAILED.{time}{digest(own, error)}"
    return PhaseChange(id=known, time=time, run=run, attributes=own, phase=phase, native="FAILED", error=error)


def _facts(raw: RayEvent, body: TaskLifecycle, ran: bool) -> tuple[Attributes, bool]:
    """What an event tells beside the transitions, and whether none of it can be a secret."""
    facts: Attributes = {}
    clean = True
    # The event's own node is that of whoever sent it: the worker tells RUNNING, the owner all else.
    if node := body.node_id or (raw.node_id if ran else ""):
        facts["ray.node.id"] = hexadecimal(node)
    if body.worker_id:
        facts["ray.worker.id"] = hexadecimal(body.worker_id)
    if body.worker_pid:
        facts["ray.worker.pid"] = body.worker_pid
    if body.actor_repr_name:
        facts["ray.actor.repr"] = plain(body.actor_repr_name)[:NAME_LENGTH]
        clean = False
    if body.is_debugger_paused:
        facts["ray.debugger_paused"] = True
    files = body.task_log_info
    if files is not None:
        clean = clean and harmless(files.stdout_file) and harmless(files.stderr_file)
        _add_files(facts, files)
    return facts, clean


def _add_files(facts: Attributes, files: LogFiles) -> None:
    """Where in which files the output of the attempt is; an end that is not told yet equals the start."""
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


def _told_error(raw: RayEvent, run: Run, error: RayError) -> Log:
    """An error beside transitions none of which is an end."""
    return Log(
        id=f"{raw.event_id}.error",
        time=nanoseconds(raw.timestamp),
        run=run,
        attributes={"error.type": error.error_type or "UNKNOWN"},
        message=plain(error.error_message),
        severity=17,
        event_name="ray.task.error",
    )
