"""The events of Ray's export as they stand in the payload (camelCase JSON of protobuf), as far as we read them.

Every field may be missing, and a field that is not set may be printed as its zero value: "" and 0 say nothing. Ids are
base64, int64 are strings, times RFC 3339 with nanoseconds.
"""

from __future__ import annotations

from typing import Any

import msgspec

Number = int | str


class Shape(msgspec.Struct, rename="camel", gc=False):
    """What all shapes share: unknown fields are passed over."""


class Function(Shape):
    module_name: str = ""
    class_name: str = ""
    function_name: str = ""
    package_name: str = ""
    signature: str = ""


class Descriptor(Shape):
    python_function_descriptor: Function | None = None
    java_function_descriptor: Function | None = None
    cpp_function_descriptor: Function | None = None


class Definition(Shape):
    """Of a task (taskFunc, taskName, taskType) or of a method of an actor (actorFunc, actorTaskName, actorId)."""

    task_id: str = ""
    task_attempt: int = 0
    task_name: str = ""
    actor_task_name: str = ""
    task_type: str = ""
    task_func: Descriptor | None = None
    actor_func: Descriptor | None = None
    actor_id: str = ""
    parent_task_id: str = ""
    required_resources: dict[str, float | str] = {}
    label_selector: dict[str, str] = {}
    placement_group_id: str = ""
    serialized_runtime_env: str = ""
    runtime_env_info: dict[str, Any] | None = None
    language: str = ""
    call_site: str = ""
    is_detached_actor: bool = False


class Transition(Shape):
    state: str
    timestamp: str


class RayError(Shape):
    error_type: str = ""
    error_message: str = ""


class LogFiles(Shape):
    stdout_file: str = ""
    stderr_file: str = ""
    stdout_start: Number = 0
    stdout_end: Number = 0
    stderr_start: Number = 0
    stderr_end: Number = 0


class TaskLifecycle(Shape):
    """``stateTransitions`` since 2.52; before, ``taskState`` with numbers for states (TASK_EXECUTION_EVENT)."""

    task_id: str = ""
    task_attempt: int = 0
    state_transitions: list[Transition] = []
    task_state: dict[str, str] = {}
    ray_error_info: RayError | None = None
    node_id: str = ""
    worker_id: str = ""
    worker_pid: int = 0
    actor_repr_name: str = ""
    is_debugger_paused: bool = False
    task_log_info: LogFiles | None = None


class ProfileEntry(Shape):
    event_name: str = ""
    start_time: Number = 0
    end_time: Number = 0
    extra_data: str = ""


class ProfileEvents(Shape):
    component_type: str = ""
    events: list[ProfileEntry] = []


class Profile(Shape):
    task_id: str = ""
    attempt_number: int = 0
    profile_events: ProfileEvents | None = None


class JobConfig(Shape):
    serialized_runtime_env: str = ""
    metadata: dict[str, str] = {}


class JobDefinition(Shape):
    job_id: str = ""
    driver_pid: Number = 0
    driver_node_id: str = ""
    entrypoint: str = ""
    config: JobConfig | None = None


class JobLifecycle(Shape):
    job_id: str = ""
    state_transitions: list[Transition] = []


class ActorDefinition(Shape):
    actor_id: str = ""
    job_id: str = ""
    name: str = ""
    ray_namespace: str = ""
    class_name: str = ""
    is_detached: bool = False
    serialized_runtime_env: str = ""
    required_resources: dict[str, float | str] = {}
    label_selector: dict[str, str] = {}
    placement_group_id: str = ""
    call_site: str = ""


class Context(Shape):
    """Any of the contexts of a deathCause; ``serializedException`` is not read."""

    error_message: str = ""
    formatted_exception_string: str = ""
    reason: str = ""
    name: str = ""
    ray_namespace: str = ""
    class_name: str = ""


class DeathCause(Shape):
    actor_died_error_context: Context | None = None
    creation_task_failure_context: Context | None = None
    runtime_env_failed_context: Context | None = None
    actor_unschedulable_context: Context | None = None
    oom_context: Context | None = None


class ActorTransition(Shape):
    state: str
    timestamp: str
    node_id: str = ""
    worker_id: str = ""
    pid: int = 0
    repr_name: str = ""
    death_cause: DeathCause | None = None
    restart_reason: str = ""


class ActorLifecycle(Shape):
    actor_id: str = ""
    state_transitions: list[ActorTransition] = []


class NodeDefinition(Shape):
    node_id: str = ""
    node_ip_address: str = ""
    hostname: str = ""
    node_name: str = ""
    instance_id: str = ""
    instance_type_name: str = ""
    start_timestamp: str = ""


class NodeDeath(Shape):
    reason: str = ""
    reason_message: str = ""


class NodeTransition(Shape):
    state: str
    timestamp: str
    resources: dict[str, float | str] = {}
    death_info: NodeDeath | None = None
    alive_sub_state: str = ""


class NodeLifecycle(Shape):
    node_id: str = ""
    state_transitions: list[NodeTransition] = []


class WorkerDefinition(Shape):
    worker_id: str = ""
    node_id: str = ""
    pid: int = 0
    worker_type: str = ""


class WorkerDeath(Shape):
    exit_type: str = ""
    exit_detail: str = ""


class WorkerTransition(Shape):
    state: str
    timestamp: str
    death_info: WorkerDeath | None = None


class WorkerLifecycle(Shape):
    worker_id: str = ""
    job_id: str = ""
    state_transitions: list[WorkerTransition] = []


class RayEvent(Shape):
    """The envelope, with one body: the field named after the type."""

    event_id: str
    event_type: str
    timestamp: str
    session_name: str = ""
    message: str = ""
    node_id: str = ""
    task_definition_event: Definition | None = None
    actor_task_definition_event: Definition | None = None
    task_lifecycle_event: TaskLifecycle | None = None
    task_execution_event: TaskLifecycle | None = None
    task_profile_events: Profile | None = None
    driver_job_definition_event: JobDefinition | None = None
    driver_job_lifecycle_event: JobLifecycle | None = None
    actor_definition_event: ActorDefinition | None = None
    actor_lifecycle_event: ActorLifecycle | None = None
    node_definition_event: NodeDefinition | None = None
    node_lifecycle_event: NodeLifecycle | None = None
    worker_definition_event: WorkerDefinition | None = None
    worker_lifecycle_event: WorkerLifecycle | None = None
