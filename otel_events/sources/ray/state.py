"""Tasks as Ray's State API lists them (ms, not ns): read once, for what ran before the export was received.

{"session_name", "drivers": [entry of /api/jobs/ of type DRIVER, ...], "tasks": [row of /api/v0/tasks, ...]}
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from otel_events.model.event import AnyEvent, Error, PhaseChange, Run
from otel_events.sources.documents import parse
from otel_events.sources.ray.failures import failure
from otel_events.sources.ray.fields import CREATION, Attributes, entrypoint_name, job_run, put, task_run
from otel_events.sources.ray.jobs import MILLISECOND, Job
from otel_events.sources.ray.shapes import RayError
from otel_events.sources.ray.tables import TASK_STATES

HINT = "ray.state"
"""Hint of such a record."""
BACKFILLED = "ray.backfilled"
"""Attribute of an attempt that was read from the State API: its times are exact to a millisecond."""


class Transition(msgspec.Struct, gc=False):
    state: str
    created_ms: float


class Task(msgspec.Struct, gc=False):
    """One attempt: only the fields that are used."""

    task_id: str
    attempt_number: int
    job_id: str
    name: str | None = None
    func_or_class_name: str | None = None
    type: str | None = None
    parent_task_id: str | None = None
    actor_id: str | None = None
    node_id: str | None = None
    worker_id: str | None = None
    worker_pid: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    events: list[Transition] | None = None


class State(msgspec.Struct, gc=False):
    session_name: str
    tasks: list[Task]
    drivers: list[Job] = []


_decoder = msgspec.json.Decoder(State)


def decode(record: bytes, hint: str = "") -> list[AnyEvent]:
    """The events of one answer; DecodeError names the field that does not fit. ``hint`` is not used."""
    state = parse(_decoder, record, "tasks of Ray's State API", "ray.md")
    session = state.session_name
    drivers = (event for job in state.drivers for event in _driver(session, job))
    return [*drivers, *(event for task in state.tasks for event in _task(session, task))]


def _driver(session: str, job: Job) -> Iterator[PhaseChange]:
    """The job of a driver that nobody submitted: Ray says when it ended, but not how."""
    run = job_run(session, job.job_id or "", entrypoint_name(job.entrypoint))
    if job.job_id and job.start_time:
        yield _change(run, "running", "CREATED", job.start_time * MILLISECOND, {BACKFILLED: True})
        if job.end_time:
            yield _change(run, "finalizing", "FINISHED", job.end_time * MILLISECOND, {})


def _task(session: str, task: Task) -> Iterator[PhaseChange]:
    name = task.func_or_class_name or task.name or ""
    run = task_run(session, task.task_id.lower(), task.attempt_number, name, (task.parent_task_id or "").lower())
    if run.attempt > 1 and run.id.startswith(CREATION):
        return  # a later life of an actor, whose creation never ends in Ray's answers
    attributes = _attributes(task)
    for transition in task.events or ():
        phase, error, own = TASK_STATES.get(transition.state, ""), None, attributes
        if transition.state == "FAILED":
            info = RayError(error_type=task.error_type or "", error_message=task.error_message or "")
            (phase, _), error = failure(info, run.id)
        yield _change(run, phase, transition.state, round(transition.created_ms * 1000) * 1000, own, error)
        attributes = {}


def _attributes(task: Task) -> Attributes:
    attributes: Attributes = {BACKFILLED: True}
    put(attributes, "ray.task.name", task.name or "")
    put(attributes, "ray.task.type", task.type or "")
    put(attributes, "ray.actor.id", task.actor_id or "")
    put(attributes, "ray.node.id", task.node_id or "")
    put(attributes, "ray.worker.id", task.worker_id or "")
    put(attributes, "ray.worker.pid", task.worker_pid or 0)
    return attributes


def _change(
    run: Run, phase: str, native: str, time: int, attributes: Attributes, error: Error | None = None
) -> PhaseChange:
    return PhaseChange(
        id=f"state.{run.id}.{run.attempt}.{native}.{time}",
        time=time,
        run=run,
        attributes=attributes,
        phase=phase,
        native=native,
        error=error,
    )
