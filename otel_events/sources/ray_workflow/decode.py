"""Ray's workflows (2.47 and earlier) as events: a record is one workflow as its folder told it, made by the poller.

    {"namespace", "id", "name", "attempt", "status", "changed", "start", "end", "user_metadata", "cause", "lost",
     "tasks": [{"id", "name", "parent", "attempt", "created", "start", "end", "failed", "error_type", "error_message",
                "options", "ray_options", "user_metadata", "refs"}]}

Times are ns since the epoch, 0 for none; ``tasks`` are those that have changed since the record before. Ids of events
are of their content, so records may come in any order and any number of times. See docs/ray.md for what becomes what.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import msgspec

from otel_events.model.errors import DecodeError
from otel_events.model.event import AnyEvent, Error, Link, PhaseChange, Run, Scalar
from otel_events.sources.documents import parse

SOURCE = "ray"
LINKS = 128
"""Links of one task: what it waited for beyond that stands in the attribute only."""

PHASES: dict[str, str] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "SUCCESSFUL": "succeeded",
    "FAILED": "failed",
    "CANCELED": "cancelled",
    "RESUMABLE": "crashed",
}
"""Status of a workflow -> phase."""
OVER = frozenset({"SUCCESSFUL", "FAILED", "CANCELED", "RESUMABLE"})
ABANDONED: dict[str, str] = {"CANCELED": "cancelled", "FAILED": "skipped", "SUCCESSFUL": "skipped"}
"""Status of a workflow that is over -> outcome of its tasks that never started."""


class Options(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """``task_options`` without ``ray_options``; None for what inputs.json does not tell."""

    task_type: str | None = None
    max_retries: int | None = None
    catch_exceptions: bool | None = None
    retry_exceptions: bool | None = None
    checkpoint: bool | None = None


class TaskFacts(msgspec.Struct, gc=False, omit_defaults=True):
    """One task. ``failed``: when its exception was written, -1 where that is not told; 0: none belongs to this try."""

    id: str
    name: str = ""
    parent: str = ""
    """Task that returned this one as its continuation."""
    attempt: int = 1
    created: int = 0
    start: int = 0
    end: int = 0
    failed: int = 0
    error_type: str = ""
    error_message: str = ""
    options: Options = Options()
    ray_options: str = ""
    user_metadata: str = ""
    refs: list[str] = []


class Facts(msgspec.Struct, gc=False, omit_defaults=True):
    """One workflow. ``changed``: when its status was written; ``lost``: the task whose worker died."""

    id: str
    namespace: str = ""
    name: str = ""
    attempt: int = 1
    status: str = ""
    changed: int = 0
    start: int = 0
    end: int = 0
    user_metadata: str = ""
    cause: Error | None = None
    lost: str = ""
    tasks: list[TaskFacts] = []

    @property
    def over_at(self) -> int:
        """When it ended: the end that Ray wrote, else when the status was written; 0 while it goes on."""
        if self.status not in OVER:
            return 0
        return self.end or max(self.changed, self.start)


_decoder = msgspec.json.Decoder(Facts)


def decode(record: bytes, hint: str = "") -> list[AnyEvent]:
    """The events of one record of the poller; DecodeError names the field that does not fit. ``hint`` is not used."""
    facts = parse(_decoder, record, "a workflow of Ray", "ray.md")
    if not facts.id or facts.attempt < 1:
        raise DecodeError("not a workflow of Ray: `id` is empty or `attempt` below 1; see docs/ray.md for the shape")
    return [*_workflow(facts), *(event for task in facts.tasks for event in _task(facts, task))]


def task_run_id(workflow: str, task: str) -> str:
    """Id of a task's run: its folder in the storage, so that no two can be the same."""
    return f"{workflow}/tasks/{task}"


def _workflow(facts: Facts) -> Iterator[PhaseChange]:
    run = Run(
        SOURCE,
        "workflow",
        facts.id,
        facts.name,
        facts.id,
        attempt=facts.attempt,
        namespace=facts.namespace,
        workflow=facts.name,
    )
    attributes: dict[str, Scalar] = {}
    if facts.user_metadata not in ("", "{}"):
        attributes["ray.workflow.user_metadata"] = facts.user_metadata
    if facts.status == "PENDING" and facts.changed and not facts.start:
        yield _event(run, facts.changed, "pending", "PENDING", attributes)
    if facts.start:
        yield _event(run, facts.start, "running", "RUNNING", attributes)
    if at := facts.over_at:
        error = facts.cause if facts.status == "FAILED" else None
        if facts.status == "RESUMABLE":
            error = Error("", "the driver was gone before the workflow had ended", "system")
        yield _event(run, at, PHASES[facts.status], facts.status, attributes, error)


def _task(facts: Facts, task: TaskFacts) -> Iterator[PhaseChange]:
    run = Run(
        SOURCE,
        "task",
        task_run_id(facts.id, task.id),
        task.name or task.id,
        facts.id,
        task_run_id(facts.id, task.parent) if task.parent else None,
        task.attempt,
        facts.namespace,
        facts.name,
        "task" if task.parent else "",
    )
    attributes = _attributes(task)
    links = tuple(Link("depends_on", task_run_id(facts.id, ref), "task", facts.id) for ref in task.refs[:LINKS])
    over = facts.over_at
    if task.attempt == 1 and task.created and task.created <= (task.start or over or task.created):
        yield _event(run, task.created, "pending", "PENDING", attributes, links=links)
    if task.start:
        yield _event(run, task.start, "running", "RUNNING", attributes, links=links)
        yield from _ended(run, facts, task, attributes, links)
    elif over and facts.status in ABANDONED:
        yield _event(run, over, ABANDONED[facts.status], facts.status, attributes, links=links)


def _ended(
    run: Run, facts: Facts, task: TaskFacts, attributes: dict[str, Scalar], links: tuple[Link, ...]
) -> Iterator[PhaseChange]:
    """How a task that started has ended, if the files show it: a killed worker writes nothing, and a task that was
    running when its workflow failed is no longer followed by Ray."""
    over = facts.over_at
    if task.end >= task.start:
        yield _event(run, task.end, "succeeded", "SUCCESSFUL", attributes, links=links)
    elif task.failed:
        within = task.start <= task.failed and (not over or task.failed <= over)
        at = task.failed if within else over
        if at:
            error = Error(task.error_type, task.error_message, "user")
            yield _event(run, max(at, task.start), "failed", "FAILED", attributes, error, links)
    elif facts.status == "CANCELED":
        yield _event(run, max(over, task.start), "cancelled", "CANCELED", attributes, links=links)
    elif over and task.id == facts.lost:
        error = Error("", "nothing was written after its start: the worker died", "system")
        yield _event(run, max(over, task.start), "crashed", "FAILED", attributes, error, links)


def _attributes(task: TaskFacts) -> dict[str, Scalar]:
    attributes: dict[str, Scalar] = {"ray.workflow.task_id": task.id}
    for field in Options.__struct_fields__:
        value = getattr(task.options, field)
        if value is not None:
            attributes[f"ray.workflow.{field}"] = value
    for name, text in (("ray_options", task.ray_options), ("user_metadata", task.user_metadata)):
        if text not in ("", "{}"):
            attributes[f"ray.workflow.{name}"] = text
    if task.refs:
        attributes["ray.workflow.refs"] = msgspec.json.encode(task.refs).decode()
    return attributes


def _event(
    run: Run,
    time: int,
    phase: str,
    native: str,
    attributes: dict[str, Scalar],
    error: Error | None = None,
    links: tuple[Link, ...] = (),
) -> PhaseChange:
    """A change of phase whose id is a digest of its content: when a later poll reads other facts of the same attempt,
    these are another event."""
    change = PhaseChange(
        id="", time=time, run=run, phase=phase, native=native, attributes=attributes, error=error, links=links
    )
    digest = blake2b(msgspec.json.encode(change), digest_size=12).hexdigest()
    return msgspec.structs.replace(change, id=f"{run.id}:{phase}:{digest}")
