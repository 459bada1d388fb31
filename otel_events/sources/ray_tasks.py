"""Events of tasks: definitions, transitions of their state, profiles. One attempt of Ray's is one of ours.

What tells of one attempt comes in pieces from two processes, in any order: the owner's definition, transitions and end,
and the worker's RUNNING and profile. Each transition is an event of its own, known again by task, attempt, state and
time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

import msgspec

from otel_events.event import AnyEvent, Error, Log, PhaseChange, Run
from otel_events.sources.ray_fields import (
    CREATION,
    DRIVER,
    MANY,
    NAME_LENGTH,
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
    raised,
    task_run,
)
from otel_events.sources.ray_shapes import Definition, LogFiles, ProfileEntry, RayError, RayEvent, TaskLifecycle
from otel_events.sources.ray_tables import DRIVER_STATES, ERROR_TYPES, STATE_NUMBERS, TASK_STATES, UNKNOWN_ERROR, End

KNOWABLE = "ray.cancel.knowable"
"""Whether a plain ``ray.cancel`` of the running attempt would have shown: by its profile, or because it failed."""

_CANCELLED = re.compile(r"TaskID\(([0-9a-f]+)\) was cancelled\.\s*\Z")
_TYPE = re.compile(r"<class '(?:\w+\.)*(\w+)'>")
_EXECUTED = "task:execute"
_NAMED = "task::"
_BEGIN = frozenset(("RUNNING", "SUBMITTED_TO_WORKER"))
_NANO = 1_000_000_000

Names = dict[tuple[str, str], Run]
"""(session, task id as sent) -> the run as a definition of the same record tells it: name and parent."""


def run_of(raw: RayEvent, task: str, attempt: int, names: Names) -> Run:
    """The run of an attempt, named where the record names it. The same object for the same attempt of one record."""
    key = (raw.session_name, f"{task}.{attempt}")
    run = names.get(key)
    if run is None:
        defined = names.get((raw.session_name, task))
        if defined is None or not defined.attempt:
            run = task_run(raw.session_name, hexadecimal(task), attempt)
        else:
            run = msgspec.structs.replace(defined, attempt=attempt + 1) if defined.attempt != attempt + 1 else defined
        names[key] = run
    return run


def name_run(raw: RayEvent, body: Definition, names: Names) -> None:
    """Learn from a definition who its task's run is."""
    name, _ = function(body.task_func or body.actor_func)
    task, parent = hexadecimal(body.task_id), hexadecimal(body.parent_task_id)
    names[raw.session_name, body.task_id] = task_run(raw.session_name, task, body.task_attempt, name, parent)


def definition(raw: RayEvent, body: Definition, names: Names) -> Iterator[AnyEvent]:
    """A task was submitted: its attempt is pending from here on, and this is what it is."""
    task = hexadecimal(body.task_id)
    run = run_of(raw, body.task_id, body.task_attempt, names)
    if task.startswith(DRIVER):
        yield _phase(raw.event_id, nanoseconds(raw.timestamp), run, "running", raw.event_type, {})
        return
    attributes = _defined(body, run)
    yield _phase(raw.event_id, nanoseconds(raw.timestamp), run, "pending", raw.event_type, attributes)


def _defined(body: Definition, run: Run) -> Attributes:
    attributes: Attributes = {KNOWABLE: False}
    name = (body.task_name or body.actor_task_name)[:NAME_LENGTH]
    put(attributes, "ray.task.name", name)
    put(attributes, "ray.task.type", body.task_type or "ACTOR_TASK")
    put(attributes, "code.function.name", function(body.task_func or body.actor_func)[1])
    actor = hexadecimal(body.actor_id) or (run.id.removeprefix(CREATION) if run.id.startswith(CREATION) else "")
    put(attributes, "ray.actor.id", actor)
    group = hexadecimal(body.placement_group_id)
    put(attributes, "ray.placement_group.id", group if is_set(group) else "")
    if body.required_resources:
        attributes["ray.resources"] = json_text(body.required_resources)
    if body.label_selector:
        attributes["ray.label_selector"] = json_text(body.label_selector)
    if body.language != "PYTHON":
        put(attributes, "ray.language", body.language)
    put(attributes, "ray.call_site", plain(body.call_site))
    put(attributes, "ray.actor.detached", body.is_detached_actor)
    put(attributes, "ray.runtime_env", runtime_env(body.serialized_runtime_env or _nested(body)))
    return attributes


def _nested(body: Definition) -> str:
    """2.49 wraps the runtime environment once more."""
    return str((body.runtime_env_info or {}).get("serializedRuntimeEnv", ""))


def runtime_env(serialized: str) -> str:
    """That there is one, never what it holds."""
    return "[redacted]" if serialized not in ("", "{}") else ""


def lifecycle(raw: RayEvent, body: TaskLifecycle, names: Names) -> Iterator[AnyEvent]:
    """Transitions of an attempt; what else the event tells goes with its last one."""
    run = run_of(raw, body.task_id, body.task_attempt, names)
    found = list(_transitions(body))
    states = DRIVER_STATES if run.kind == "workflow" else TASK_STATES
    facts = _facts(raw, body, found)
    error = body.ray_error_info
    if not found:
        # Comes after the end, when the worker closed its log files: nothing begins or ends with it.
        yield Log(
            id=raw.event_id,
            time=nanoseconds(raw.timestamp),
            run=run,
            attributes=facts,
            message=raw.event_type,
            event_name="ray.task.closed",
        )
        return
    if error and not any(state == "FAILED" for _, state in found):
        yield _told_error(raw, run, error)
    last = len(found) - 1
    for index, (time, state) in enumerate(found):
        own = facts if index == last else {}
        if state == "RUNNING" and run.kind == "task":
            own = {**own, KNOWABLE: False}
        yield _transition(body, run, time, state, own, error if state == "FAILED" else None, states)


def _transitions(body: TaskLifecycle) -> Iterable[tuple[int, str]]:
    """(time, state), as sent; of 2.49, by number."""
    for one in body.state_transitions:
        yield nanoseconds(one.timestamp), one.state
    for key, timestamp in body.task_state.items():
        yield nanoseconds(timestamp), STATE_NUMBERS.get(key, key)


def _facts(raw: RayEvent, body: TaskLifecycle, found: list[tuple[int, str]]) -> Attributes:
    facts: Attributes = {}
    ran = any(state == "RUNNING" for _, state in found)
    # The event's own node is that of whoever sent it: the worker tells RUNNING, the owner all else.
    put(facts, "ray.node.id", hexadecimal(body.node_id) or (hexadecimal(raw.node_id) if ran else ""))
    put(facts, "ray.worker.id", hexadecimal(body.worker_id))
    put(facts, "ray.worker.pid", body.worker_pid)
    put(facts, "ray.actor.repr", plain(body.actor_repr_name)[:NAME_LENGTH])
    put(facts, "ray.debugger_paused", body.is_debugger_paused)
    if body.task_log_info is not None:
        _add_files(facts, body.task_log_info)
    return facts


def _add_files(facts: Attributes, files: LogFiles) -> None:
    put(facts, "ray.log.stdout", files.stdout_file)
    put(facts, "ray.log.stderr", files.stderr_file)
    for key, value in (
        ("ray.log.stdout.start", files.stdout_start),
        ("ray.log.stdout.end", files.stdout_end),
        ("ray.log.stderr.start", files.stderr_start),
        ("ray.log.stderr.end", files.stderr_end),
    ):
        put(facts, key, number(value))


def _transition(
    body: TaskLifecycle, run: Run, time: int, state: str, own: Attributes, told: RayError | None, states: dict[str, str]
) -> AnyEvent:
    phase, error = states.get(state, ""), None
    if state == "FAILED" and run.kind == "task":
        (phase, _), error = failure(told or RayError(), run.id)
        own = {**own, **_exception(told), KNOWABLE: True}
    known = f"{body.task_id}.{body.task_attempt}.{state}.{time}{digest(own, error)}"
    if state == "RUNNING" and run.attempt > 1 and run.id.startswith(CREATION):
        # The second life of an actor: Ray tells its creation's beginning only. The actor itself tells how it went.
        return Log(id=known, time=time, run=run, attributes=own, message=state, event_name="ray.actor.recreated")
    return _phase(known, time, run, phase, state, own, error)


def failure(told: RayError, task: str) -> tuple[End, Error]:
    """How an attempt that is FAILED ended. That its own task was cancelled is no failure of the application."""
    outcome, blame = ERROR_TYPES.get(told.error_type, UNKNOWN_ERROR)
    text = plain(told.error_message)
    if told.error_type == "TASK_EXECUTION_EXCEPTION":
        cancelled = _CANCELLED.search(text)
        if cancelled and cancelled[1] == task:
            outcome, blame = "cancelled", ""
        message, stack = raised(text)[1], text
    else:
        message, stack = text, ""
    return (outcome, blame), Error(told.error_type or "UNKNOWN", message, blame, stack)


def _exception(told: RayError | None) -> Attributes:
    """The Python class behind an application error."""
    if told is None or told.error_type != "TASK_EXECUTION_EXCEPTION":
        return {}
    name, _ = raised(plain(told.error_message))
    return {"ray.exception.type": name} if name else {}


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


class _Extra(msgspec.Struct):
    """What is read of a profile event's extraData."""

    type: str = ""
    name: str = ""


_extra = msgspec.json.Decoder(_Extra)


@lru_cache(maxsize=1024)
def _read_extra(text: str) -> _Extra:
    try:
        return _extra.decode(text) if text else _Extra()
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return _Extra()  # extraData is cut where it is long


def profile(raw: RayEvent, names: Names) -> Iterator[AnyEvent]:
    """What a worker spent its time on. Once the task's function is left, the attempt is finalizing, or cancelled where
    it was left by KeyboardInterrupt: that is how ``ray.cancel`` ends a running task, which Ray calls FINISHED."""
    body = raw.task_profile_events
    if body is None or body.profile_events is None:
        return
    run = run_of(raw, body.task_id, body.attempt_number, names)
    entries = body.profile_events.events
    attributes = _durations(entries)
    left = [one for one in entries if one.event_name == _EXECUTED or one.event_name.startswith(_NAMED)]
    kinds = [found[1] for one in left if (found := _TYPE.search(_read_extra(one.extra_data).type))]
    put(attributes, "ray.exception.type", kinds[0] if kinds else "")
    recreated = run.attempt > 1 and run.id.startswith(CREATION)
    end = max((number(one.end_time) for one in left), default=0)
    if run.kind == "workflow" or recreated or end <= 0:
        told = ", ".join(dict.fromkeys(one.event_name[:NAME_LENGTH] for one in entries[:MANY]))
        yield Log(
            id=raw.event_id,
            time=nanoseconds(raw.timestamp),
            run=run,
            attributes=attributes,
            message=told,
            event_name="ray.task.profile",
        )
        return
    attributes[KNOWABLE] = True
    for one in left:
        if one.event_name.startswith(_NAMED):
            attributes["ray.task.name"] = one.event_name.removeprefix(_NAMED)[:NAME_LENGTH]
    phase, native = ("cancelled", "KeyboardInterrupt") if "KeyboardInterrupt" in kinds else ("finalizing", _EXECUTED)
    yield _phase(raw.event_id, end, run, phase, native, attributes)


def _durations(entries: list[ProfileEntry]) -> Attributes:
    """Seconds by name of the profile event, summed; the function's own under one name, whatever it is called."""
    spent: dict[str, int] = {}
    for one in entries:
        name = "task" if one.event_name.startswith(_NAMED) else one.event_name.removeprefix("task:")[:NAME_LENGTH]
        if name in spent or len(spent) < MANY:
            spent[name] = spent.get(name, 0) + max(0, number(one.end_time) - number(one.start_time))
    return {f"ray.profile.{name}.duration": nanos / _NANO for name, nanos in spent.items()}


def _phase(
    known: str, time: int, run: Run, phase: str, native: str, attributes: Attributes, error: Error | None = None
) -> PhaseChange:
    return PhaseChange(id=known, time=time, run=run, attributes=attributes, phase=phase, native=native, error=error)
