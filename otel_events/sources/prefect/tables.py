"""The tables of the Prefect source: states -> phases, event families, labels, roles, and what is withheld and why.

Facts are of prefect 3.9.1 (events/schemas, server/events/schemas). The code in prefect*.py only loops over these rows;
``families_table`` prints them for the documentation.
"""

from __future__ import annotations

import msgspec

from otel_events.model.event import ErrorKind, Scalar
from otel_events.sources.markdown import table


class State(msgspec.Struct, frozen=True):
    """The meaning of a state. With ``phase`` "" the event becomes a log."""

    phase: str
    error: ErrorKind = ""
    """Kind of the error in the state message; "" where the state is no error."""
    attributes: dict[str, Scalar] = {}


STATES: dict[str, State] = {
    "SCHEDULED": State("pending"),
    "PENDING": State("pending"),
    "RUNNING": State("running"),
    "PAUSED": State("paused"),
    "CANCELLING": State("finalizing"),
    "COMPLETED": State("succeeded"),
    "FAILED": State("failed", "user"),
    "CRASHED": State("crashed", "system"),
    "CANCELLED": State("cancelled"),
}
"""By state type: names lie (a state named Failed may be of type COMPLETED)."""

NAMED_STATES: dict[tuple[str, str], State] = {
    ("FAILED", "TimedOut"): State("timed_out", "user"),
    ("PENDING", "NotReady"): State("skipped"),  # the last event of a task whose upstream failed; it never ran
    ("COMPLETED", "Cached"): State(
        "succeeded", attributes={"otel_events.reused": True, "otel_events.cache.status": "hit"}
    ),
    ("COMPLETED", "RolledBack"): State(""),  # comes after Completed, which stays the end
    ("SCHEDULED", "AwaitingRetry"): State("pending", "user"),
    ("RUNNING", "Retrying"): State("running", "user"),
}
"""By (type, name): finer than the type, and only where both fit. An error of AwaitingRetry or Retrying is that of the
attempt it leaves behind, and told only with a message."""

TERMINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "CRASHED"})
RESTARTS = frozenset({"SCHEDULED", "PENDING", "RUNNING"})
"""A state of these types after a terminal one was forced over the API: the run begins another attempt."""
ATTEMPT_BEGUN = frozenset({"SCHEDULED", "PENDING", "PAUSED"})
"""Retrying after these begins no attempt: AwaitingRetry has, and a pause is no end."""


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the families: events whose name is ``pattern`` (``*`` at its end stands for anything)."""

    pattern: str
    noun: str
    """What the resource is; its id and name become ``prefect.{noun}.id`` and ``.name``, kept payload keys likewise."""
    says: str
    """The log's message: {name} of the resource, {word} for what ``*`` stood for, {event}."""
    report: bool = False
    prefers: str = "flow-run"
    """Which of the two roles says whose event it is, where both are there and the resource is no run."""
    severity: int = 9
    keeps: tuple[str, ...] = ()
    """Payload keys that become attributes; any other that is not withheld goes into ``prefect.payload`` as JSON."""
    withholds: dict[str, str] = {}
    """Payload keys that are not put out, each with the reason."""
    names_launcher: bool = False
    """The role task-run is the real caller of this flow run (in state events of sub-flows it is a dummy)."""
    open_labels: bool = False
    """All labels are the user's own, whatever they are called: they go into ``prefect.labels`` as JSON."""

    @property
    def prefix(self) -> str:
        return self.pattern.removesuffix("*")


_TWIN = "told by the resource"
_PRIVATE = "private"
_NESTED = "an event of its own, decoded as such"
_OBJECT = {"name": _TWIN}
_ARTIFACT = {"data": f"{_PRIVATE}: what the user stored"}
_AUTOMATION = {
    **dict.fromkeys(("id", "name"), _TWIN),
    **dict.fromkeys(("created", "updated"), "told by the event's own time"),
    **dict.fromkeys(
        ("description", "trigger", "actions", "actions_on_trigger", "actions_on_resolve"),
        f"{_PRIVATE}: the definition may hold parameters of deployments and addresses of people",
    ),
}
_UPDATES = {"updates": f"{_PRIVATE}: values of settings (job templates hold environments); the fields are named"}
_LIMIT = ("limit", "active", "slot_decay_per_second")
_ACTION = ("action_index", "action_type", "invocation", "reason", "status_code")

FAMILIES: tuple[Family, ...] = (
    Family(pattern="prefect.flow-run.heartbeat", noun="flow_run", says="flow run {name} is alive", names_launcher=True),
    Family(
        pattern="prefect.flow-run.pull-step.*",
        noun="pull_step",
        says="pull step of flow run {name} {word}",
        keeps=("index", "id", "qualified_name", "step_name"),
        withholds={"inputs": f"{_PRIVATE}: inputs of steps hold credentials of repositories"},
    ),
    Family(pattern="prefect.flow-run.*", noun="flow_run", says="flow run {name}: {word}"),
    Family(pattern="prefect.task-run.*", noun="task_run", says="task run {name}: {word}"),
    Family(pattern="prefect.flow.*", noun="flow", says="flow {name} {word}", keeps=("tags",), withholds=_OBJECT),
    Family(
        pattern="prefect.deployment.*",
        noun="deployment",
        says="deployment {name} {word}",
        keeps=("updated_fields",),
        withholds=_UPDATES,
    ),
    Family(
        pattern="prefect.work-pool.*",
        noun="work_pool",
        says="work pool {name} {word}",
        keeps=("updated_fields",),
        withholds=_UPDATES,
    ),
    Family(
        pattern="prefect.work-queue.*",
        noun="work_queue",
        says="work queue {name} {word}",
        keeps=("updated_fields",),
        withholds=_UPDATES,
    ),
    Family(pattern="prefect.worker.*", noun="worker", says="worker {name} {word}"),
    Family(
        pattern="prefect.runner.cancelled-flow-run", noun="runner", says="runner {name} cancelled a run", severity=13
    ),
    Family(pattern="prefect.runner.*", noun="runner", says="runner {name} {word}"),
    Family(
        pattern="prefect.variable.*",
        noun="variable",
        says="variable {name} {word}",
        keeps=("tags",),
        withholds={**_OBJECT, "value": f"{_PRIVATE}: the value of a variable"},
    ),
    Family(pattern="prefect.block-type.*", noun="block_type", says="block type {name} {word}", withholds=_OBJECT),
    Family(
        pattern="prefect.block-document.*",
        noun="block_document",
        says="block {name} {word}",
        withholds={
            **_OBJECT,
            "data": f"{_PRIVATE}: what a block holds, secrets among it",
            "block_schema": "told by the roles block-type and block-schema",
        },
    ),
    Family(
        pattern="prefect.block.*", noun="block_document", says="block {name}: {word}", prefers="task-run"
    ),  # prefect.block.{slug}.loaded, and methods of blocks
    Family(
        pattern="prefect.concurrency-limit.*",
        noun="concurrency_limit",
        says="concurrency limit {name} {word}",
        prefers="task-run",
        keeps=_LIMIT,
        withholds=_OBJECT,
    ),
    Family(
        pattern="prefect.artifact-collection.*",
        noun="artifact_collection",
        says="artifact collection {name} {word}",
        prefers="task-run",
        keeps=("key", "type", "description"),
        withholds=_ARTIFACT,
    ),
    Family(
        pattern="prefect.artifact.*",
        noun="artifact",
        says="artifact {name} {word}",
        report=True,
        prefers="task-run",
        keeps=("key", "type", "description"),
        withholds=_ARTIFACT,
    ),
    Family(
        pattern="prefect.asset.materialization.succeeded",
        noun="asset",
        says="asset {name} materialized",
        report=True,
        prefers="task-run",
    ),
    Family(
        pattern="prefect.asset.materialization.failed",
        noun="asset",
        says="asset {name} not materialized",  # nothing is there, so no report
        prefers="task-run",
        severity=17,
    ),
    Family(pattern="prefect.asset.*", noun="asset", says="asset {name} {word}", prefers="task-run"),
    Family(
        pattern="prefect.automation.action.*",
        noun="automation",
        says="action of automation {name} {word}",
        keeps=_ACTION,
    ),
    Family(
        pattern="prefect.automation.triggered",
        noun="automation",
        says="automation {name} triggered",
        keeps=("triggering_labels",),
        withholds={"triggering_event": _NESTED},
    ),
    Family(
        pattern="prefect.automation.resolved",
        noun="automation",
        says="automation {name} resolved",
        keeps=("triggering_labels",),
        withholds={"triggering_event": _NESTED},
    ),
    Family(
        pattern="prefect.automation.*",
        noun="automation",
        says="automation {name} {word}",
        keeps=("enabled", "tags"),
        withholds=_AUTOMATION,
    ),
    Family(pattern="prefect.workspace.transfer.*", noun="workspace", says="workspace transfer {name} {word}"),
    Family(pattern="prefect.docker.container.*", noun="docker.container", says="container {name} {word}"),
    Family(pattern="prefect.kubernetes.pod.*", noun="kubernetes.pod", says="pod {name} {word}"),
    Family(pattern="prefect.ecs.task.*", noun="ecs.task", says="ECS task {name} {word}"),
    Family(pattern="*", noun="resource", says="{event} of {name}", prefers="task-run", open_labels=True),
)
"""First match wins; the last row takes user events, prefect-cloud.* and whatever later versions bring."""

SEVERITIES: dict[str, int] = {
    "failed": 17,
    "creation-failed": 17,
    "crashed": 17,
    "dead": 17,
    "oom": 17,
    "evicted": 13,
    "not-ready": 13,
}
"""By the last part of the event's name, where the row's own severity is INFO (9)."""

MEDIA_TYPES: dict[str, str] = {
    "markdown": "text/markdown",
    "table": "application/json",
    "link": "text/markdown",
    "image": "image/*",
}
"""By type of artifact."""

LABELS: dict[str, str] = {
    "prefect.version": "prefect.version",
    "prefect.orchestration": "prefect.orchestration",
    "prefect.worker-type": "prefect.worker.type",
    "prefect.work-pool.type": "prefect.work_pool.type",
    "prefect.posture": "prefect.automation.posture",
    "prefect.trigger-type": "prefect.automation.trigger_type",
    "prefect.infrastructure.identifier": "prefect.infrastructure.id",
    "prefect.infrastructure.status-code": "prefect.infrastructure.status_code",
    "prefect.run-count": "prefect.run_count",
    "prefect.state-name": "prefect.state.name",
    "prefect.state-type": "prefect.state.type",
    "prefect.state-message": "prefect.state.message",
    "prefect.state-timestamp": "prefect.state.timestamp",
    "limit": "prefect.concurrency_limit.limit",
    "slots-acquired": "prefect.concurrency_limit.slots_acquired",
    "task_run_id": "prefect.concurrency_limit.task_run_id",
    "prefect.asset.description": "prefect.asset.description",
    "prefect.asset.url": "prefect.asset.url",
    "prefect.asset.owners": "prefect.asset.owners",
    "kubernetes.namespace": "prefect.kubernetes.namespace",
    "kubernetes.reason": "prefect.kubernetes.reason",
    "kubernetes.diagnosis": "prefect.kubernetes.diagnosis",
    "ecs.taskArn": "prefect.ecs.task_arn",
    "ecs.clusterArn": "prefect.ecs.cluster_arn",
    "ecs.taskDefinitionArn": "prefect.ecs.task_definition_arn",
}
"""Label -> attribute. Other labels go into ``prefect.labels`` as JSON: the user's own must not become names."""

NUMERIC_LABELS = frozenset({"prefect.infrastructure.status-code", "prefect.run-count", "limit", "slots-acquired"})

ROLES: dict[str, str] = {
    "flow": "flow",
    "deployment": "deployment",
    "work-pool": "work_pool",
    "work-queue": "work_queue",
    "default-queue": "default_queue",
    "result-storage": "result_storage",
    "storage": "storage",
    "infrastructure": "infrastructure_block",
    "concurrency-limit": "concurrency_limit",
    "creator": "creator",
    "worker": "worker",
    "latest": "artifact.latest",
    "block-type": "block_type",
    "block-schema": "block_schema",
    "asset": "asset.upstream",
    "asset-materialized-by": "asset.materialized_by",
    "target": "automation.target",
    "triggering-event": "automation.triggering_event",
    "automation-triggered-event": "automation.triggered_event",
}
"""Role of a related resource -> its id and name become ``prefect.{this}.id`` and ``.name``. Roles flow-run and task-run
say whose event it is, ``tag`` goes into ``prefect.tags``, all others into ``prefect.related`` as JSON."""

AMBIENT = frozenset({"flow", "flow-run", "task-run", "deployment", "work-pool", "work-queue"})
"""Roles of which only the first is the event's own: later ones are the context of a process that passed it on."""

STATE_DETAILS = frozenset(
    (
        *("scheduled_time", "retriable", "untrackable_result", "deferred", "transition_id", "refresh_cache"),
        *("cache_key", "cache_expiration", "pause_timeout", "pause_key", "pause_reschedule", "task_parameters_id"),
        "deployment_concurrency_lease_id",
    )
)
"""Keys of payload.validated_state.state_details that become ``prefect.state.{key}``; unknown ones go into
``prefect.state.details`` as JSON."""
STATE_DETAILS_WITHHELD = frozenset({"traceparent", "flow_run_id", "task_run_id", "child_flow_run_id"})

WITHHELD: tuple[tuple[str, str], ...] = (
    ("received", "of the way of the event, not of the run: two ways of one event would differ"),
    ("follows, of a state event", "the state before; a run's states are ordered by time"),
    ("resource: prefect.state-timestamp", "the same moment as `occurred`; put out where it differs"),
    ("related: flow-run, flow and the like after the first", "ambient context of the process that passed it on"),
    ("payload.intended, .initial_state", "the state before, told by its own event; counts attempts"),
    ("payload.validated_state.type, .name, .message", "told by the labels of the resource"),
    ("payload.validated_state.data", "private: where the result is stored"),
    ("payload.validated_state.state_details: ids of runs", "told by the resource and the roles"),
    ("payload.task_run.name, .run_count, .start_time, .end_time", "told by the labels and the phases"),
    ("payload.task_run.task_inputs without a run behind them", "names of parameters and constants"),
    ("payload.task_run.empirical_policy.max_retries, .retry_delay_seconds", "older twins of retries, retry_delay"),
    ("payload.task_run: any key later versions bring", "unknown; the record itself is kept verbatim"),
    ("page: total, next_page; frame: type", "of the way of the event"),
    ("REST: parameters, context, job_variables, state.data", "private: inputs, results, environments"),
    ("REST: state and times of the run, estimates, run counts", "of the moment of asking; told by its events"),
    ("REST: the answer for a deleted run", "says no more than 404, and not when"),
)
"""(field, reason) of everything that becomes no attribute, log, report or link, beyond what the families list."""


def family(event: str) -> Family:
    """The row of an event's name; the default row where no other fits."""
    return next(
        row for row in FAMILIES if event == row.pattern or (row.pattern[-1] == "*" and event.startswith(row.prefix))
    )


def families_table() -> str:
    """Markdown for the documentation: states, families, what is withheld; each a table."""
    states = [(f"{kind}", "any", row) for kind, row in STATES.items()]
    states += [(kind, name, row) for (kind, name), row in NAMED_STATES.items()]
    return "\n".join(
        (
            table(("state type", "state name", "phase", "error kind"), [_state_cells(*state) for state in states]),
            table(
                ("event", "becomes", "belongs to", "payload kept", "payload withheld"),
                [_family_cells(row) for row in FAMILIES],
            ),
            table(("not put out", "why"), list(WITHHELD)),
        )
    )


def _state_cells(kind: str, name: str, row: State) -> tuple[str, ...]:
    phase = f"`{row.phase}`" if row.phase else "(a log)"
    extra = "".join(f", `{key}` = {str(value).lower()}" for key, value in row.attributes.items())
    return kind, name, phase + extra, row.error


def _family_cells(row: Family) -> tuple[str, ...]:
    shown = ", ".join(f"`prefect.{row.noun}.{key}`" for key in row.keeps)
    withheld = "; ".join(f"`{key}` ({why})" for key, why in row.withholds.items())
    other = "task-run" if row.prefers == "flow-run" else "flow-run"
    own = row.pattern.startswith(("prefect.flow-run.", "prefect.task-run."))
    owner = "the run that is its resource" if own else f"first role {row.prefers}, else {other}, else no run"
    becomes = "report" if row.report else "log"
    if row.pattern in ("prefect.flow-run.*", "prefect.task-run.*"):
        becomes = "phase by its state, as the table above has it; log where it has none"
    return f"`{row.pattern}`", becomes, owner, shown, withheld
