"""What Ray's words mean, as tables: states of tasks, jobs, actors and nodes; error types; causes of death.

Enumerations as of Ray 2.60 (src/ray/protobuf/common.proto, gcs.proto, events_*.proto); earlier versions have a part.
"""

from __future__ import annotations

from otel_events.model.event import ErrorKind
from otel_events.sources.markdown import code, table

End = tuple[str, ErrorKind]
"""(outcome, who is to blame)."""

TASK_STATES: dict[str, str] = {
    "NIL": "",
    "PENDING_ARGS_AVAIL": "pending",
    "PENDING_NODE_ASSIGNMENT": "pending",
    "PENDING_OBJ_STORE_MEM_AVAIL": "pending",
    "PENDING_ARGS_FETCH": "pending",
    "SUBMITTED_TO_WORKER": "pending",
    "PENDING_ACTOR_TASK_ARGS_FETCH": "pending",
    "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY": "pending",
    "RUNNING": "running",
    "RUNNING_IN_RAY_GET": "running",
    "RUNNING_IN_RAY_WAIT": "running",
    "FINISHED": "succeeded",
    "FAILED": "failed",
    "GETTING_AND_PINNING_ARGS": "pending",
}
"""State of a task -> phase, in the order of Ray's numbers (2.49 sends those). FAILED is told apart by ERROR_TYPES."""

STATE_NUMBERS: dict[str, str] = {str(number): state for number, state in enumerate(TASK_STATES)}

DRIVER_STATES: dict[str, str] = {"RUNNING": "running", "FINISHED": "finalizing", "FAILED": "finalizing"}
"""State of a driver task -> phase of its job. It is FINISHED too for jobs that failed or were stopped."""

JOB_STATES: dict[str, str] = {"CREATED": "running", "FINISHED": "finalizing"}
"""State of a driver job -> phase. FINISHED tells no outcome: `GET /api/jobs/` does."""

_CRASH: End = ("crashed", "system")
_USER: End = ("failed", "user")

ERROR_TYPES: dict[str, End] = {
    "WORKER_DIED": _CRASH,
    "ACTOR_DIED": _CRASH,
    "TASK_EXECUTION_EXCEPTION": _USER,
    "OBJECT_IN_PLASMA": _CRASH,
    "TASK_CANCELLED": ("cancelled", ""),
    "ACTOR_CREATION_FAILED": _USER,
    "RUNTIME_ENV_SETUP_FAILED": _USER,
    "OBJECT_LOST": _CRASH,
    "OWNER_DIED": _CRASH,
    "OBJECT_DELETED": _CRASH,
    "DEPENDENCY_RESOLUTION_FAILED": _CRASH,
    "OBJECT_UNRECONSTRUCTABLE_MAX_ATTEMPTS_EXCEEDED": _CRASH,
    "OBJECT_UNRECONSTRUCTABLE_LINEAGE_EVICTED": _CRASH,
    "OBJECT_FETCH_TIMED_OUT": _CRASH,
    "LOCAL_RAYLET_DIED": _CRASH,
    "TASK_PLACEMENT_GROUP_REMOVED": _USER,
    "ACTOR_PLACEMENT_GROUP_REMOVED": _USER,
    "TASK_UNSCHEDULABLE_ERROR": _CRASH,
    "ACTOR_UNSCHEDULABLE_ERROR": _CRASH,
    "OUT_OF_DISK_ERROR": _CRASH,
    "OBJECT_FREED": _USER,
    "OUT_OF_MEMORY": _CRASH,
    "NODE_DIED": _CRASH,
    "END_OF_STREAMING_GENERATOR": ("succeeded", ""),
    "ACTOR_UNAVAILABLE": _CRASH,
    "GENERATOR_TASK_FAILED_FOR_OBJECT_RECONSTRUCTION": _CRASH,
    "OBJECT_UNRECONSTRUCTABLE_PUT": _CRASH,
    "OBJECT_UNRECONSTRUCTABLE_RETRIES_DISABLED": _CRASH,
    "OBJECT_UNRECONSTRUCTABLE_BORROWED": _CRASH,
    "OBJECT_UNRECONSTRUCTABLE_REF_NOT_FOUND": _CRASH,
    "OBJECT_UNRECONSTRUCTABLE_TASK_CANCELLED": _USER,
    "OBJECT_UNRECONSTRUCTABLE_LINEAGE_DISABLED": _CRASH,
    "WORKER_STARTUP_FAILED": _CRASH,
    "STREAMING_GENERATOR_REPLAY_INCONSISTENT": _USER,
}
"""RayErrorType -> how an attempt that is FAILED with it ended: what the application did is failed, the rest crashed."""
UNKNOWN_ERROR: End = ("failed", "")
"""A FAILED with a type that no table knows, or none."""

ACTOR_STATES: dict[str, str] = {
    "DEPENDENCIES_UNREADY": "pending",
    "PENDING_CREATION": "pending",
    "ALIVE": "running",
    "RESTARTING": "pending",
    "DEAD": "crashed",
}
"""State of an actor -> phase. RESTARTING ends one life, as crashed, and begins the next; DEAD by the tables below."""

DEATHS: dict[str, End] = {
    "WORKER_DIED": _CRASH,
    "OWNER_DIED": _CRASH,
    "NODE_DIED": _CRASH,
    "RAY_KILL": ("cancelled", ""),
    "OUT_OF_SCOPE": ("succeeded", ""),
    "REF_DELETED": ("succeeded", ""),
}
"""actorDiedErrorContext.reason -> how an actor's last life ended; asked-for exits are told apart by EXITS."""

DEATH_TEXTS: tuple[tuple[str, End], ...] = (
    ("killed by `ray.kill`", ("cancelled", "")),
    ("INTENDED_USER_EXIT", ("succeeded", "")),
    ("INTENDED_SYSTEM_EXIT", ("succeeded", "")),
    ("went out of scope", ("succeeded", "")),
    ("all references to the actor were removed", ("succeeded", "")),
    ("owner has died", _CRASH),
)
"""What stands in errorMessage -> the same; before DEATHS, since Ray says WORKER_DIED of an actor that exited itself."""

DEATH_CONTEXTS: dict[str, tuple[str, End]] = {
    "creationTaskFailureContext": ("ACTOR_CREATION_FAILED", _USER),
    "runtimeEnvFailedContext": ("RUNTIME_ENV_SETUP_FAILED", _USER),
    "actorUnschedulableContext": ("ACTOR_UNSCHEDULABLE_ERROR", _CRASH),
    "oomContext": ("OUT_OF_MEMORY", _CRASH),
}
"""Field of deathCause -> (error type, how the actor ended); actorDiedErrorContext by the two tables above."""

NODE_STATES: dict[str, str] = {"ALIVE": "running", "DEAD": "crashed"}
NODE_DEATHS: dict[str, End] = {
    "EXPECTED_TERMINATION": ("succeeded", ""),
    "UNEXPECTED_TERMINATION": _CRASH,
    "AUTOSCALER_DRAIN_PREEMPTED": _CRASH,
    "AUTOSCALER_DRAIN_IDLE": ("succeeded", ""),
}
"""deathInfo.reason -> how a node of the cluster ended."""

INTERNAL_NAMESPACE = "SUPERVISOR_ACTOR_RAY_NAMESPACE"
"""rayNamespace of the actors that carry out submitted jobs: they, and the job of the dashboard that made them, are
Ray's own."""
INTERNAL_PREFIX = "_ray_internal_"
"""Beginning of names and namespaces of Ray's own actors."""

WITHHELD: tuple[tuple[str, str], ...] = (
    (
        "serializedRuntimeEnv, runtimeEnvInfo",
        "holds environment variables in clear; `ray.runtime_env` says that one was set",
    ),
    ("deathCause...serializedException", "a pickle; its text is told beside it"),
    ("extraData of profile events, but `type`", "values and tracebacks; a failure tells them in its error"),
    ("refIds, functionHash, labels, ownerId, callerId", "ids of objects and processes that no run has"),
    ("ends in taskLogInfo that equal the start", "the attempt printed nothing, or its file is not closed yet"),
    ("severity, sourceType", "always INFO; told by the type of the event"),
    ("zero values: empty texts, 0, first words of enumerations", "Ray prints what is not set like that"),
)
"""(what is not put out, why)."""


def tables() -> str:
    """What docs/sources.md says of Ray."""
    return "\n".join(
        (
            "How to switch the export on, and which id is whose: [ray.md](ray.md).\n",
            table(("state of a task", "phase"), [(k, code(v) or "-") for k, v in TASK_STATES.items()]),
            table(
                ("error type of a FAILED task", "outcome", "error kind"),
                [(k, code(phase), kind or "-") for k, (phase, kind) in ERROR_TYPES.items()],
            ),
            "FINISHED of a task whose profile event shows KeyboardInterrupt is `cancelled`, and so is an application\n"
            "error that says of the task itself that it was cancelled. Without profile events a plain `ray.cancel` of\n"
            "a running task cannot be told from success: `ray.cancel.knowable` is then false.\n",
            table(
                ("state of", "word", "phase"),
                [
                    *(("a job", k, code(v)) for k, v in JOB_STATES.items()),
                    *(("an actor", k, code(v)) for k, v in ACTOR_STATES.items()),
                    *(("a node", k, code(v)) for k, v in NODE_STATES.items()),
                ],
            ),
            table(
                ("DEAD because of", "outcome", "error kind"),
                [
                    *((k, code(phase), kind or "-") for k, (phase, kind) in DEATHS.items()),
                    *((f"text: {k}", code(phase), kind or "-") for k, (phase, kind) in DEATH_TEXTS),
                    *((k, code(phase), kind or "-") for k, (_, (phase, kind)) in DEATH_CONTEXTS.items()),
                    *((f"node: {k}", code(phase), kind or "-") for k, (phase, kind) in NODE_DEATHS.items()),
                ],
            ),
            table(("not put out", "why"), WITHHELD),
        )
    )
