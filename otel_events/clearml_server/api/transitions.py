"""The status of a task: where it may go, which call leads there, and what that call does besides.

Statuses, the ways between them and the codes are those of ClearML server 2.3.0. ``force`` allows any way; the status
that a task already has may always be set again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from otel_events.clearml_server.api import queues
from otel_events.clearml_server.api.base import MODEL, TASK, ApiError, Call, Endpoint, Field, Service
from otel_events.clearml_server.api.documents import iso, merged, touched
from otel_events.clearml_server.api.filters import Document
from otel_events.clearml_server.store import Owner

ID = Field("task", required=True)
FORCE = Field("force", bool, default=False)
REASON = (Field("status_reason"), Field("status_message"))

Answer = Callable[[Service, Call], Mapping[str, Any]]
SetFields = Callable[[Call, Document], Document]
"""Fields that a task gets with its new status, of the call and the task as it was."""
Effect = Callable[[Service, Call, str, Document], None]
"""What a call does besides: (service, call, id of the task, the answer, to which it may add)."""

WAYS: dict[str, tuple[str, ...]] = {
    "created": ("queued", "in_progress"),
    "queued": ("created", "in_progress", "stopped"),
    "in_progress": ("stopped", "failed", "created", "completed"),
    "stopped": ("closed", "created", "failed", "queued", "in_progress", "published", "publishing", "completed"),
    "closed": ("created", "failed", "published", "publishing", "stopped"),
    "failed": ("created", "stopped", "published", "queued"),
    "publishing": ("published",),
    "published": (),
    "completed": ("published", "in_progress", "created"),
}
"""status -> where it may go without force."""


class Transition(msgspec.Struct, frozen=True):
    """One row of the table: a call ``tasks.{call}``, the status that it leads to, and what it does besides.

    ``clears``: fields of the task that are removed. ``sets``: give fields that it gets. ``before`` and ``after``: done
    before and after the status has changed. ``many``: whether there is a ``tasks.{call}_many`` too.
    """

    call: str
    status: str
    clears: tuple[str, ...] = ()
    sets: tuple[SetFields, ...] = ()
    before: tuple[Effect, ...] = ()
    after: tuple[Effect, ...] = ()
    many: bool = False


# --- what rows do ----------------------------------------------------------------------------------------------------


def _stamp(field: str) -> SetFields:
    return lambda call, task: {field: iso(call.now_ms)}


def _first_start(call: Call, task: Document) -> Document:
    """The time of the start, unless the task runs already: then the call changes the time of its status only."""
    runs_already = task.get("status") == "in_progress" and task.get("started")
    return {} if runs_already else {"started": iso(call.now_ms)}


def _stopped_by(call: Call, task: Document) -> Document:
    return {"status_message": f"Stopped by {call.user}"}


def _some_output(call: Call, task: Document) -> Document:
    return {"output": task.get("output") or {}}


def _status_before_queue(call: Call, task: Document) -> Document:
    return {"enqueue_status": task.get("enqueue_status") or task.get("status")}


def _leave_queues(service: Service, call: Call, task: str, answer: Document) -> None:
    queues.take_out(service, task)


def _count_start(service: Service, call: Call, task: str, answer: Document) -> None:
    answer["started"] = 1


def _publish_last_model(service: Service, call: Call, task: str, answer: Document) -> None:
    outputs = existing(service, task).get("models", {}).get("output") or []
    if outputs:
        ready = {"ready": True, **touched(call)}
        service.documents.change(MODEL, str(outputs[-1].get("model")), lambda model: {**model, **ready})


def _publish_where_wanted(service: Service, call: Call, task: str, answer: Document) -> None:
    """tasks.completed publishes the task too where its field ``publish`` says so; the answer has the last status."""
    answer["published"] = int(bool(call.data.get("publish")))
    if answer["published"]:
        answer["fields"]["status"] = carry_out(service, call, task, PUBLISH)["fields"]["status"]


PUBLISH = Transition(
    "publish", "published", sets=(_stamp("published"), _some_output), after=(_publish_last_model,), many=True
)
TRANSITIONS = (
    Transition("started", "in_progress", ("completed", "active_duration"), sets=(_first_start,), after=(_count_start,)),
    Transition("stopped", "stopped", sets=(_stamp("completed"),)),
    Transition("stop", "stopped", sets=(_stopped_by,), before=(_leave_queues,), many=True),
    Transition("failed", "failed", sets=(_stamp("completed"),)),
    Transition("completed", "completed", sets=(_stamp("completed"),), after=(_publish_where_wanted,), many=True),
    Transition("close", "closed"),
    PUBLISH,
)
_ENQUEUE = Transition("enqueue", "queued", sets=(_status_before_queue,))
_RESET = Transition(
    "reset",
    "created",
    ("started", "completed", "published", "active_duration", "enqueue_status", "last_worker", "last_worker_report"),
)


# --- carrying a row out ----------------------------------------------------------------------------------------------


def unknown(service: Service, task: str) -> ApiError:
    """The error for a task that does not exist."""
    return ApiError(400, 101, f"Invalid task id: id={task}, company={service.company}")


def existing(service: Service, task: str) -> Document:
    """The document of a task.

    Raises:
        ApiError: 400/101, there is none.
    """
    document = service.documents.get(TASK, task)
    if document is None:
        raise unknown(service, task)
    return document


def carry_out(service: Service, call: Call, task: str, row: Transition) -> Document:
    """Change the status of a task, with everything that the row does.

    Args:
        service: The service.
        call: The call; ``force`` in it allows any way.
        task: The id of the task.
        row: The transition.

    Returns:
        The answer: ``updated``, ``fields``, and what the row's effects add.

    Raises:
        ApiError: 400/101 for an unknown task, 400/110 where no way leads from its status to the new one.
    """
    answer: Document = {"updated": 1, "fields": {}}
    # No transaction spans these steps. Each may be repeated: a call that failed half way is sent again by the client.
    for effect in row.before:
        effect(service, call, task, answer)

    def update(document: Document) -> Document:
        _check_way(document, row.status, call)
        fields = answer["fields"] = _new_fields(call, document, row)
        return {**{name: value for name, value in document.items() if name not in row.clears}, **fields}

    if service.documents.change(TASK, task, update) is None:
        raise unknown(service, task)
    for effect in row.after:
        effect(service, call, task, answer)
    return answer


def _check_way(document: Document, status: str, call: Call) -> None:
    now = str(document.get("status"))
    if call.data.get("force") or status == now or status in WAYS.get(now, ()):
        return
    raise ApiError(400, 110, f"Invalid task status (Invalid status change): current_status={now}, new_status={status}")


def _new_fields(call: Call, document: Document, row: Transition) -> Document:
    fields: Document = {"status": row.status, **{field.name: call.data.get(field.name) or "" for field in REASON}}
    fields |= {"status_changed": iso(call.now_ms), **touched(call)}
    for set_fields in row.sets:
        fields |= set_fields(call, document)
    return fields


def updatable(document: Document, call: Call) -> None:
    """Check that the parts of a task (its artifacts, parameters) may still be changed.

    Raises:
        ApiError: 400/110, the task was started and the call does not insist, or it has ended.
    """
    status = document.get("status")
    allowed = ("created", "queued", "in_progress") if call.data.get("force") else ("created",)
    if status not in allowed:
        raise ApiError(400, 110, f"Invalid task status: expected=created, status={status}")


def _answer(row: Transition) -> Answer:
    return lambda service, call: carry_out(service, call, call.data["task"], row)


# --- queues ----------------------------------------------------------------------------------------------------------


def enqueue(service: Service, call: Call) -> Mapping[str, Any]:
    """Put a task into the queue that is given by id or name, else into the default one; a new name creates a queue."""
    task = call.data["task"]
    existing(service, task)
    queue = _queue_for(service, call)
    answer = carry_out(service, call, task, _ENQUEUE)
    answer["fields"].pop("enqueue_status")
    queues.put_in(service, call, task, queue)
    service.documents.change(TASK, task, lambda document: _waiting_in(document, queue))
    return {"queued": 1, **answer, "fields": {**answer["fields"], "execution.queue": queue}}


def _waiting_in(task: Document, queue: str) -> Document:
    return {**task, "execution": {**task.get("execution", {}), "queue": queue}}


def _queue_for(service: Service, call: Call) -> str:
    queue, name = call.data.get("queue"), call.data.get("queue_name")
    if queue and name:
        raise ApiError(400, 12, "Validation error (Either queue id or queue name should be provided)")
    if not queue:
        document = queues.named_or_new(service, call, name) if name else queues.default(service, call)
        return str(document["id"])
    if service.documents.get(queues.QUEUE, queue) is None:
        raise queues.no_queue(queue)
    return str(queue)


def dequeue(service: Service, call: Call) -> Mapping[str, Any]:
    """Set a task back to the status that it had before it waited; nothing changes where it does not wait."""
    task = call.data["task"]
    document = existing(service, task)
    queues.take_out(service, task)
    if document.get("status") not in ("queued", "in_progress"):
        return {"dequeued": 1, "updated": 0, "fields": {}}
    before = call.data.get("new_status") or document.get("enqueue_status") or "created"
    if before not in WAYS:
        raise ApiError(400, 12, f"Validation error (Invalid task status: {before[:100]})")
    back = Transition("dequeue", before, clears=("enqueue_status",))
    insisting = msgspec.structs.replace(call, data={**call.data, "force": True})
    return {"dequeued": 1, **carry_out(service, insisting, task, back)}


# --- back to the beginning -------------------------------------------------------------------------------------------


def reset(service: Service, call: Call) -> Mapping[str, Any]:
    """Remove the events, unpublished models and output artifacts of a task; its next start is its next attempt."""
    task = call.data["task"]
    reasoned = {**call.data, "status_reason": "reset", "status_message": "reset"}
    answer = carry_out(service, msgspec.structs.replace(call, data=reasoned), task, _RESET)
    left_queues = queues.take_out(service, task)
    models, _ = drop_models(service, call, task)
    service.documents.change(TASK, task, lambda document: _emptied(document, bool(call.data.get("clear_all"))))
    service.events.delete(Owner(task, False))
    dequeued = {"removed": left_queues} if left_queues else {}
    return {**answer, "deleted_models": models, "dequeued": dequeued, "events": {}, "urls": {}}


def _emptied(task: Document, clear_all: bool) -> Document:
    execution = {name: value for name, value in task.get("execution", {}).items() if name != "queue"}
    inputs = [artifact for artifact in execution.get("artifacts") or [] if artifact.get("mode") == "input"]
    models = {**task.get("models", {}), "output": []}
    output = {name: value for name, value in task.get("output", {}).items() if name not in ("result", "error")}
    left = {**task, "execution": {**execution, "artifacts": inputs}, "models": models, "output": output, "runtime": {}}
    return left | {"execution": {"artifacts": []}, "script": {}} if clear_all else left


def drop_models(service: Service, call: Call, task: str) -> tuple[int, int]:
    """Delete the models of a task. Those that are published, or that another task takes in, stay without a task.

    Returns:
        How many were deleted, and how many stay.
    """
    models = service.documents.find(MODEL, where={"task": task})
    used = _taken_in_elsewhere(service, task) if models else set()
    deleted = staying = 0
    for model in models:
        if model.get("ready") or model["id"] in used or call.data.get("delete_output_models") is False:
            service.documents.change(MODEL, model["id"], partial(merged, fields={"task": None, **touched(call)}))
            staying += 1
        else:
            service.events.delete(Owner(model["id"], True))
            deleted += service.documents.remove(MODEL, model["id"])
    return deleted, staying


def _taken_in_elsewhere(service: Service, task: str) -> set[Any]:
    others = (document for document in service.documents.find(TASK) if document["id"] != task)
    return {entry.get("model") for other in others for entry in other.get("models", {}).get("input") or ()}


# --- many at once ----------------------------------------------------------------------------------------------------


def many(answer: Answer, *shown: str) -> Answer:
    """An answer for a call that names several tasks in ``ids``. Each task succeeds or fails alone.

    Args:
        answer: Answers the same call for one task.
        shown: Members of its answers that are passed on.

    Returns:
        Answers with ``succeeded`` and ``failed``.
    """

    def answer_many(service: Service, call: Call) -> Mapping[str, Any]:
        succeeded: list[Document] = []
        failed: list[Document] = []
        for task in call.data["ids"]:
            single = msgspec.structs.replace(call, data={**call.data, "task": task})
            try:
                parts = answer(service, single)
                succeeded.append({"id": task, **{name: parts[name] for name in shown if name in parts}})
            except ApiError as error:
                codes = [error.code, error.subcode]
                failed.append({"id": task, "error": {"codes": codes, "msg": error.message, "data": {}}})
        return {"succeeded": succeeded, "failed": failed}

    return answer_many


IDS = Field("ids", list, required=True, low=1, high=1_000)
DROPS = (Field("delete_output_models", bool), Field("clear_all", bool))
_MANY = (IDS, FORCE, *REASON, Field("publish", bool))
_WAIT = (FORCE, Field("queue"), Field("queue_name"), *REASON)
_BACK = (FORCE, Field("new_status"), *REASON)

ENDPOINTS = (
    *(
        Endpoint(f"tasks.{row.call}", "1.0", _answer(row), (ID, FORCE, *REASON, Field("publish", bool)), records=True)
        for row in TRANSITIONS
    ),
    *(
        Endpoint(f"tasks.{row.call}_many", "1.0", many(_answer(row), "updated", "fields"), _MANY, records=True)
        for row in TRANSITIONS
        if row.many
    ),
    Endpoint("tasks.reset", "1.0", reset, (ID, FORCE, *DROPS), records=True),
    Endpoint("tasks.reset_many", "1.0", many(reset, "updated", "fields"), (*_MANY, *DROPS), records=True),
    Endpoint("tasks.enqueue", "1.0", enqueue, (ID, *_WAIT), records=True),
    Endpoint("tasks.enqueue_many", "1.0", many(enqueue, "updated", "fields"), (IDS, *_WAIT), records=True),
    Endpoint("tasks.dequeue", "1.0", dequeue, (ID, *_BACK), records=True),
    Endpoint("tasks.dequeue_many", "1.0", many(dequeue, "updated", "fields"), (IDS, *_BACK), records=True),
)
