"""Events of jobs, actors, nodes and workers, and all other events of the export that are not of a task."""

from __future__ import annotations

from collections.abc import Iterator

from otel_events.model.event import INTERNAL, AnyEvent, Error, Log, PhaseChange, Run
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
    """A driver connected to the cluster: its job is running."""
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
    """Transitions of a job."""
    run = job_run(raw.session_name, hexadecimal(body.job_id))
    for transition in body.state_transitions:
        time = nanoseconds(transition.timestamp)
        identity = f"job.{body.job_id}.{transition.state}.{time}"
        yield PhaseChange(
            id=identity, time=time, run=run, phase=JOB_STATES.get(transition.state, ""), native=transition.state
        )


def actor_definition(raw: RayEvent, body: ActorDefinition) -> Iterator[AnyEvent]:
    """An actor was defined: it is pending. Ray's own actors are marked as internal, and so is the dashboard's job that
    carries out submitted jobs: these have no spans and do not count as runs."""
    run = actor_run(raw.session_name, hexadecimal(body.actor_id), body.class_name[:NAME_LENGTH])
    attributes = _actor_attributes(run, body)
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


def _actor_attributes(run: Run, body: ActorDefinition) -> Attributes:
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
    return attributes


def _is_internal(body: ActorDefinition) -> bool:
    return body.ray_namespace == INTERNAL_NAMESPACE or (
        body.name.startswith(INTERNAL_PREFIX) or body.ray_namespace.startswith(INTERNAL_PREFIX)
    )


def actor_lifecycle(raw: RayEvent, body: ActorLifecycle) -> Iterator[AnyEvent]:
    """Transitions of an actor. RESTARTING ends its present life (attempt) and begins the next."""
    actor = hexadecimal(body.actor_id)
    run = actor_run(raw.session_name, actor)
    for transition in body.state_transitions:
        yield _actor_transition(body.actor_id, run, transition)


def _actor_transition(actor: str, run: Run, transition: ActorTransition) -> PhaseChange:
    time, phase = nanoseconds(transition.timestamp), ACTOR_STATES.get(transition.state, "")
    attributes: Attributes = {}
    put(attributes, "ray.node.id", hexadecimal(transition.node_id))
    put(attributes, "ray.worker.id", hexadecimal(transition.worker_id))
    put(attributes, "ray.worker.pid", transition.pid)
    put(attributes, "ray.actor.repr", plain(transition.repr_name)[:NAME_LENGTH])
    error: Error | None = None
    if transition.state == "RESTARTING":
        error = Error("RESTARTING", _REASONS.get(transition.restart_reason, ""), "system")
    elif transition.state == "DEAD":
        (phase, _), error = death(transition.death_cause)
        internal = transition.death_cause and transition.death_cause.actor_died_error_context
        if internal and internal.ray_namespace == INTERNAL_NAMESPACE:
            attributes[INTERNAL] = True
    identity = f"{actor}.{transition.state}.{time}{digest(attributes, error)}"
    return PhaseChange(
        id=identity,
        time=time,
        run=run,
        attributes=attributes,
        phase=phase,
        native=transition.state,
        error=error,
        next_attempt=transition.state == "RESTARTING",
    )


_REASONS = {
    "ACTOR_FAILURE": "the actor is restarted",  # also what Ray prints where no reason is set
    "LINEAGE_RECONSTRUCTION": "the actor is restarted to make lost objects again",
    "NODE_PREEMPTION": "the actor is restarted: its node is preempted",
}


def death(cause: DeathCause | None) -> tuple[End, Error | None]:
    """How the last life of an actor ended, and why; no error where it ended as its owner wished."""
    if cause is None:
        return UNKNOWN_ERROR, Error("ACTOR_DIED")
    died = cause.actor_died_error_context
    if died is not None and (died.reason or died.error_message):
        text = plain(died.error_message)
        end = next((end for part, end in DEATH_TEXTS if part in text), None) or DEATHS.get(died.reason, UNKNOWN_ERROR)
        return end, Error(died.reason or "ACTOR_DIED", text, end[1]) if end[0] != "succeeded" else None
    for field, (kind, end) in DEATH_CONTEXTS.items():
        context = getattr(cause, _FIELDS[field])
        if context is not None:
            text = plain(context.formatted_exception_string or context.error_message)
            return end, Error(kind, raised(text)[1], end[1], text if context.formatted_exception_string else "")
    return UNKNOWN_ERROR, Error("ACTOR_DIED")


_FIELDS = {
    "creationTaskFailureContext": "creation_task_failure_context",
    "runtimeEnvFailedContext": "runtime_env_failed_context",
    "actorUnschedulableContext": "actor_unschedulable_context",
    "oomContext": "oom_context",
}


def node_definition(raw: RayEvent, body: NodeDefinition) -> Iterator[AnyEvent]:
    """A node joined the cluster: it is pending until it is ALIVE."""
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
    """Transitions of a node."""
    run = node_run(raw.session_name, hexadecimal(body.node_id))
    for transition in body.state_transitions:
        yield _node_transition(body.node_id, run, transition)


def _node_transition(node: str, run: Run, transition: NodeTransition) -> PhaseChange:
    time, phase = nanoseconds(transition.timestamp), NODE_STATES.get(transition.state, "")
    attributes: Attributes = {}
    if transition.resources:
        attributes["ray.resources"] = json_text(transition.resources)
    if transition.alive_sub_state == "DRAINING":
        attributes["ray.node.draining"] = True
    error: Error | None = None
    if transition.state == "DEAD":
        reason = transition.death_info.reason if transition.death_info else ""
        phase, blame = NODE_DEATHS.get(reason, UNKNOWN_ERROR)
        message = plain(transition.death_info.reason_message) if transition.death_info else ""
        error = Error(reason or "NODE_DIED", message, blame) if phase != "succeeded" else None
    identity = f"{node}.{transition.state}.{time}{digest(attributes, error)}"
    return PhaseChange(
        id=identity, time=time, run=run, attributes=attributes, phase=phase, native=transition.state, error=error
    )


def worker_definition(raw: RayEvent, body: WorkerDefinition) -> Iterator[AnyEvent]:
    """A worker was started: a log of its node, since workers are no runs."""
    attributes: Attributes = {}
    put(attributes, "ray.worker.id", hexadecimal(body.worker_id))
    put(attributes, "ray.worker.pid", body.pid)
    put(attributes, "ray.worker.type", body.worker_type)
    message = f"worker {body.pid} is there"
    yield _worker_log(raw, raw.event_id, nanoseconds(raw.timestamp), body.node_id, attributes, message, 9, "defined")


def worker_lifecycle(raw: RayEvent, body: WorkerLifecycle) -> Iterator[AnyEvent]:
    """Transitions of a worker: logs of its node."""
    for transition in body.state_transitions:
        time = nanoseconds(transition.timestamp)
        attributes: Attributes = {}
        put(attributes, "ray.worker.id", hexadecimal(body.worker_id))
        put(attributes, "ray.job.id", hexadecimal(body.job_id))
        message, severity = f"worker {transition.state}", 9
        if transition.state == "DEAD" and transition.death_info is not None:
            put(attributes, "ray.worker.exit_type", transition.death_info.exit_type)
            message = plain(transition.death_info.exit_detail) or message
            severity = 9 if transition.death_info.exit_type.startswith("INTENDED") else 13
        identity = f"{body.worker_id}.{transition.state}.{time}{digest(attributes)}"
        yield _worker_log(raw, identity, time, raw.node_id, attributes, message, severity, transition.state.lower())


def _worker_log(
    raw: RayEvent, identity: str, time: int, node: str, attributes: Attributes, message: str, severity: int, what: str
) -> Log:
    node = hexadecimal(node or raw.node_id)
    run = node_run(raw.session_name, node) if node else no_run(raw.session_name)
    name = f"ray.worker.{what}"
    return Log(
        id=identity, time=time, run=run, attributes=attributes, message=message, severity=severity, event_name=name
    )


def other(raw: RayEvent) -> Iterator[AnyEvent]:
    """The log of an event whose type is not in the tables, or which lacks its body."""
    yield Log(
        id=raw.event_id,
        time=nanoseconds(raw.timestamp),
        run=no_run(raw.session_name),
        message=raw.message[:LONGEST] or raw.event_type,
        event_name=f"ray.{raw.event_type.lower()}",
    )
