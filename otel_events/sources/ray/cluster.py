"""Events of jobs, actors, nodes and workers, and all others of the export."""

from __future__ import annotations

from collections.abc import Iterator

from otel_events.core.fold import INTERNAL
from otel_events.model.event import AnyEvent, Error, Log, PhaseChange, Run
from otel_events.sources.ray.fields import (
    LONGEST,
    MANY,
    NAME_LENGTH,
    Attributes,
    actor_run,
    digest,
    entrypoint_name,
    hexadecimal,
    is_set,
    job_run,
    json_text,
    nanoseconds,
    no_run,
    node_run,
    number,
    plain,
    put,
    raised,
)
from otel_events.sources.ray.shapes import (
    ActorDefinition,
    ActorLifecycle,
    ActorTransition,
    DeathCause,
    JobDefinition,
    JobLifecycle,
    NodeDefinition,
    NodeLifecycle,
    NodeTransition,
    RayEvent,
    WorkerDefinition,
    WorkerLifecycle,
)
from otel_events.sources.ray.tables import (
    ACTOR_STATES,
    DEATH_CONTEXTS,
    DEATH_TEXTS,
    DEATHS,
    INTERNAL_NAMESPACE,
    INTERNAL_PREFIX,
    JOB_STATES,
    NODE_DEATHS,
    NODE_STATES,
    UNKNOWN_ERROR,
    End,
)
from otel_events.sources.ray.tasks import runtime_env


def job_definition(raw: RayEvent, body: JobDefinition) -> Iterator[AnyEvent]:
    """A driver is connected: its job is running."""
    run = job_run(raw.session_name, hexadecimal(body.job_id), entrypoint_name(body.entrypoint))
    attributes: Attributes = {"ray.job.id": run.id}
    put(attributes, "ray.job.entrypoint", plain(body.entrypoint))
    put(attributes, "ray.driver.pid", number(body.driver_pid))
    put(attributes, "ray.driver.node.id", hexadecimal(body.driver_node_id))
    if body.config is not None:
        put(attributes, "ray.runtime_env", runtime_env(body.config.serialized_runtime_env))
        metadata = dict(body.config.metadata)
        put(attributes, "ray.submission.id", metadata.pop("job_submission_id", ""))
        for key, value in sorted(metadata.items())[:MANY]:
            attributes[f"ray.job.metadata.{key[:NAME_LENGTH]}"] = plain(value)
    yield PhaseChange(
        id=raw.event_id,
        time=nanoseconds(raw.timestamp),
        run=run,
        attributes=attributes,
        phase="running",
        native=raw.event_type,
    )


def job_lifecycle(raw: RayEvent, body: JobLifecycle) -> Iterator[AnyEvent]:
    run = job_run(raw.session_name, hexadecimal(body.job_id))
    for one in body.state_transitions:
        time = nanoseconds(one.timestamp)
        known = f"job.{body.job_id}.{one.state}.{time}"
        yield PhaseChange(id=known, time=time, run=run, phase=JOB_STATES.get(one.state, ""), native=one.state)


def actor_definition(raw: RayEvent, body: ActorDefinition) -> Iterator[AnyEvent]:
    """What an actor is. Ray's own actors are marked, and so is the job of the dashboard that submitted jobs run under:
    neither has spans or counts among the runs."""
    run = actor_run(raw.session_name, hexadecimal(body.actor_id), body.class_name[:NAME_LENGTH])
    attributes: Attributes = {"ray.actor.id": run.id}
    put(attributes, "ray.actor.name", body.name[:NAME_LENGTH])
    put(attributes, "ray.actor.namespace", body.ray_namespace[:NAME_LENGTH])
    put(attributes, "ray.actor.detached", body.is_detached)
    group = hexadecimal(body.placement_group_id)
    put(attributes, "ray.placement_group.id", group if is_set(group) else "")
    if body.required_resources:
        attributes["ray.resources"] = json_text(body.required_resources)
    if body.label_selector:
        attributes["ray.label_selector"] = json_text(body.label_selector)
    put(attributes, "ray.call_site", plain(body.call_site))
    put(attributes, "ray.runtime_env", runtime_env(body.serialized_runtime_env))
    time = nanoseconds(raw.timestamp)
    if _is_internal(body):
        attributes[INTERNAL] = True
    yield PhaseChange(
        id=raw.event_id, time=time, run=run, attributes=attributes, phase="pending", native=raw.event_type
    )
    if body.ray_namespace == INTERNAL_NAMESPACE:
        yield Log(
            id=f"{raw.event_id}.job",
            time=time,
            run=job_run(raw.session_name, hexadecimal(body.job_id) or run.root),
            attributes={INTERNAL: True},
            message="a job of Ray's own, which carries out submitted jobs",
            event_name="ray.job.internal",
        )


def _is_internal(body: ActorDefinition) -> bool:
    return body.ray_namespace == INTERNAL_NAMESPACE or (
        body.name.startswith(INTERNAL_PREFIX) or body.ray_namespace.startswith(INTERNAL_PREFIX)
    )


def actor_lifecycle(raw: RayEvent, body: ActorLifecycle) -> Iterator[AnyEvent]:
    """Transitions of an actor. RESTARTING ends the life under way and begins the next."""
    actor = hexadecimal(body.actor_id)
    run = actor_run(raw.session_name, actor)
    for one in body.state_transitions:
        yield _actor_transition(body.actor_id, run, one)


def _actor_transition(actor: str, run: Run, one: ActorTransition) -> PhaseChange:
    time, phase = nanoseconds(one.timestamp), ACTOR_STATES.get(one.state, "")
    attributes: Attributes = {}
    put(attributes, "ray.node.id", hexadecimal(one.node_id))
    put(attributes, "ray.worker.id", hexadecimal(one.worker_id))
    put(attributes, "ray.worker.pid", one.pid)
    put(attributes, "ray.actor.repr", plain(one.repr_name)[:NAME_LENGTH])
    error: Error | None = None
    if one.state == "RESTARTING":
        error = Error("RESTARTING", _REASONS.get(one.restart_reason, ""), "system")
    elif one.state == "DEAD":
        (phase, _), error = death(one.death_cause)
        internal = one.death_cause and one.death_cause.actor_died_error_context
        if internal and internal.ray_namespace == INTERNAL_NAMESPACE:
            attributes[INTERNAL] = True
    known = f"{actor}.{one.state}.{time}{digest(attributes, error)}"
    return PhaseChange(
        id=known,
        time=time,
        run=run,
        attributes=attributes,
        phase=phase,
        native=one.state,
        error=error,
        next_attempt=one.state == "RESTARTING",
    )


_REASONS = {
    "ACTOR_FAILURE": "the actor is restarted",  # also what Ray prints where no reason is set
    "LINEAGE_RECONSTRUCTION": "the actor is restarted to make lost objects again",
    "NODE_PREEMPTION": "the actor is restarted: its node is preempted",
}


def death(cause: DeathCause | None) -> tuple[End, Error | None]:
    """How the last life of an actor ended, and why. An actor that was let go has no error."""
    if cause is None:
        return UNKNOWN_ERROR, Error("ACTOR_DIED")
    died = cause.actor_died_error_context
    if died is not None and (died.reason or died.error_message):
        text = plain(died.error_message)
        end = next((end for part, end in DEATH_TEXTS if part in text), None) or DEATHS.get(died.reason, UNKNOWN_ERROR)
        return end, Error(died.reason or "ACTOR_DIED", text, end[1]) if end[0] != "succeeded" else None
    for field, (kind, end) in DEATH_CONTEXTS.items():
        found = getattr(cause, _FIELDS[field])
        if found is not None:
            text = plain(found.formatted_exception_string or found.error_message)
            return end, Error(kind, raised(text)[1], end[1], text if found.formatted_exception_string else "")
    return UNKNOWN_ERROR, Error("ACTOR_DIED")


_FIELDS = {
    "creationTaskFailureContext": "creation_task_failure_context",
    "runtimeEnvFailedContext": "runtime_env_failed_context",
    "actorUnschedulableContext": "actor_unschedulable_context",
    "oomContext": "oom_context",
}


def node_definition(raw: RayEvent, body: NodeDefinition) -> Iterator[AnyEvent]:
    run = node_run(raw.session_name, hexadecimal(body.node_id))
    attributes: Attributes = {}
    put(attributes, "host.name", body.hostname)
    put(attributes, "host.ip", body.node_ip_address)
    put(attributes, "ray.node.name", body.node_name)
    put(attributes, "host.id", body.instance_id)
    put(attributes, "host.type", body.instance_type_name)
    yield PhaseChange(
        id=raw.event_id,
        time=nanoseconds(raw.timestamp),
        run=run,
        attributes=attributes,
        phase="pending",
        native=raw.event_type,
    )


def node_lifecycle(raw: RayEvent, body: NodeLifecycle) -> Iterator[AnyEvent]:
    run = node_run(raw.session_name, hexadecimal(body.node_id))
    for one in body.state_transitions:
        yield _node_transition(body.node_id, run, one)


def _node_transition(node: str, run: Run, one: NodeTransition) -> PhaseChange:
    time, phase = nanoseconds(one.timestamp), NODE_STATES.get(one.state, "")
    attributes: Attributes = {}
    if one.resources:
        attributes["ray.resources"] = json_text(one.resources)
    if one.alive_sub_state == "DRAINING":
        attributes["ray.node.draining"] = True
    error: Error | None = None
    if one.state == "DEAD":
        reason = one.death_info.reason if one.death_info else ""
        phase, blame = NODE_DEATHS.get(reason, UNKNOWN_ERROR)
        told = plain(one.death_info.reason_message) if one.death_info else ""
        error = Error(reason or "NODE_DIED", told, blame) if phase != "succeeded" else None
    known = f"{node}.{one.state}.{time}{digest(attributes, error)}"
    return PhaseChange(id=known, time=time, run=run, attributes=attributes, phase=phase, native=one.state, error=error)


def worker_definition(raw: RayEvent, body: WorkerDefinition) -> Iterator[AnyEvent]:
    attributes: Attributes = {}
    put(attributes, "ray.worker.id", hexadecimal(body.worker_id))
    put(attributes, "ray.worker.pid", body.pid)
    put(attributes, "ray.worker.type", body.worker_type)
    told = f"worker {body.pid} is there"
    yield _worker_log(raw, raw.event_id, nanoseconds(raw.timestamp), body.node_id, attributes, told, 9, "defined")


def worker_lifecycle(raw: RayEvent, body: WorkerLifecycle) -> Iterator[AnyEvent]:
    """Births and deaths of workers: logs of the node that they run on."""
    for one in body.state_transitions:
        time = nanoseconds(one.timestamp)
        attributes: Attributes = {}
        put(attributes, "ray.worker.id", hexadecimal(body.worker_id))
        put(attributes, "ray.job.id", hexadecimal(body.job_id))
        told, severity = f"worker {one.state}", 9
        if one.state == "DEAD" and one.death_info is not None:
            put(attributes, "ray.worker.exit_type", one.death_info.exit_type)
            told = plain(one.death_info.exit_detail) or told
            severity = 9 if one.death_info.exit_type.startswith("INTENDED") else 13
        known = f"{body.worker_id}.{one.state}.{time}{digest(attributes)}"
        yield _worker_log(raw, known, time, raw.node_id, attributes, told, severity, one.state.lower())


def _worker_log(
    raw: RayEvent, known: str, time: int, node: str, attributes: Attributes, told: str, severity: int, what: str
) -> Log:
    node = hexadecimal(node or raw.node_id)
    run = node_run(raw.session_name, node) if node else no_run(raw.session_name)
    name = f"ray.worker.{what}"
    return Log(id=known, time=time, run=run, attributes=attributes, message=told, severity=severity, event_name=name)


def other(raw: RayEvent) -> Iterator[AnyEvent]:
    """An event of no type that is known, or without its body."""
    yield Log(
        id=raw.event_id,
        time=nanoseconds(raw.timestamp),
        run=no_run(raw.session_name),
        message=raw.message[:LONGEST] or raw.event_type,
        event_name=f"ray.{raw.event_type.lower()}",
    )
