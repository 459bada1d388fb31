"""The status of a task: where it may go, which call leads there, and what it leaves behind.

Statuses, the ways between them and the codes are those of ClearML server 2.3.0. ``force`` goes any way; a status may
always be told again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from otel_events.clearml_server.api import queues
from otel_events.clearml_server.api.base import MODEL, TASK, ApiError, Call, Endpoint, Field, Service
from otel_events.clearml_server.api.documents import iso, touched
from otel_events.clearml_server.api.filters import Document
from otel_events.clearml_server.store import Owner

ID = Field("task", required=True)
FORCE = Field("force", bool, default=False)
REASON = (Field("status_reason"), Field("status_message"))

Told = Callable[[Service, Call], Mapping[str, Any]]

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
    """``stamp``: the field of the task that gets the time. ``clears``: those that go. ``counts``: what the answer
    counts besides ``updated``."""

    call: str
    status: str
    stamp: str = ""
    clears: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()


TRANSITIONS = (
    Transition("started", "in_progress", "started", ("completed", "active_duration"), ("started",)),
    Transition("stopped", "stopped", "completed"),
    Transition("stop", "stopped"),
    Transition("failed", "failed", "completed"),
    Transition("completed", "completed", "completed", (), ("published",)),
    Transition("close", "closed"),
    Transition("publish", "published", "published"),
)
PUBLISH = TRANSITIONS[-1]
QUEUED = Transition("enqueue", "queued")
RUNS_ON = "started"
"""Of a task that is in progress already the call changes nothing but the time of its status."""


def unknown(service: Service, task: str) -> ApiError:
    return ApiError(400, 101, f"Invalid task id: id={task}, company={service.company}")


def known(service: Service, task: str) -> Document:
    """The document of a task. ApiError 400/101."""
    found = service.documents.get(TASK, task)
    if found is None:
        raise unknown(service, task)
    return found


def move(service: Service, call: Call, task: str, to: Transition) -> Document:
    """Change the status of a task; ``updated`` and ``fields``. ApiError 400/101 (unknown), 400/110 (no way there)."""
    told: Document = {}

    def update(document: Document) -> Document:
        _check_way(document, to.status, call)
        told.update(_fields(call, document, to))
        left = {name: value for name, value in document.items() if name not in to.clears}
        return {**left, **told}

    if service.documents.change(TASK, task, update) is None:
        raise unknown(service, task)
    return {"updated": 1, "fields": told}


def _check_way(document: Document, status: str, call: Call) -> None:
    now = str(document.get("status"))
    if call.data.get("force") or status == now or status in WAYS.get(now, ()):
        return
    raise ApiError(400, 110, f"Invalid task status (Invalid status change): current_status={now}, new_status={status}")


def _fields(call: Call, document: Document, to: Transition) -> Document:
    """What the task has of its new status."""
    told: Document = {"status": to.status, **{one.name: call.data.get(one.name) or "" for one in REASON}}
    told |= {"status_changed": iso(call.now_ms), **touched(call)}
    if to.call == "stop":
        told["status_message"] = f"Stopped by {call.user}"
    runs_on = to.call == RUNS_ON and document.get("status") == to.status and document.get("started")
    if to.stamp and not runs_on:
        told[to.stamp] = told["status_changed"]
    if to == PUBLISH:
        told["output"] = document.get("output") or {}
    if to == QUEUED:
        told["enqueue_status"] = document.get("enqueue_status") or document.get("status")
    return told


def updatable(document: Document, call: Call) -> None:
    """ApiError 400/110 for a task whose parts are settled: it was started and nobody insists, or it has ended."""
    status = document.get("status")
    allowed = ("created", "queued", "in_progress") if call.data.get("force") else ("created",)
    if status not in allowed:
        raise ApiError(400, 110, f"Invalid task status: expected=created, status={status}")


def _answer(to: Transition) -> Told:
    def answer(service: Service, call: Call) -> Mapping[str, Any]:
        if to.call == "stop":
            queues.take_out(service, call.data["task"])
        told = (
            publish(service, call, call.data["task"]) if to == PUBLISH else move(service, call, call.data["task"], to)
        )
        return told | {name: 1 if name == "started" else _published(service, call, told) for name in to.counts}

    return answer


def publish(service: Service, call: Call, task: str) -> Document:
    """The task, and the last of its models, which is ready then."""
    told = move(service, call, task, PUBLISH)
    outputs = known(service, task).get("models", {}).get("output") or []
    if outputs:
        service.documents.change(
            MODEL, str(outputs[-1].get("model")), lambda one: {**one, "ready": True, **touched(call)}
        )
    return told


def _published(service: Service, call: Call, told: Document) -> int:
    """Of tasks.completed, which publishes where it is told to; ``told`` gets the status."""
    if not call.data.get("publish"):
        return 0
    told["fields"]["status"] = publish(service, call, call.data["task"])["fields"]["status"]
    return 1


# --- queues ----------------------------------------------------------------------------------------------------------


def enqueue(service: Service, call: Call) -> Mapping[str, Any]:
    """Into the queue that is named or given, else the default one; a name that is new is made."""
    task = call.data["task"]
    known(service, task)
    queue = _wanted(service, call)
    told = move(service, call, task, QUEUED)
    told["fields"].pop("enqueue_status")
    queues.put_in(service, call, task, queue)
    service.documents.change(TASK, task, lambda one: {**one, "execution": {**one.get("execution", {}), "queue": queue}})
    return {"queued": 1, **told, "fields": {**told["fields"], "execution.queue": queue}}


def _wanted(service: Service, call: Call) -> str:
    given, name = call.data.get("queue"), call.data.get("queue_name")
    if given and name:
        raise ApiError(400, 12, "Validation error (Either queue id or queue name should be provided)")
    if given and service.documents.get(queues.QUEUE, given) is None:
        raise queues.no_queue(given)
    found = queues.named(service, name) or queues.made(service, call, name) if name else queues.default(service, call)
    return str(given or found["id"])


def dequeue(service: Service, call: Call) -> Mapping[str, Any]:
    """Back to what the task was before it waited; of one that does not wait nothing changes."""
    task = call.data["task"]
    document = known(service, task)
    queues.take_out(service, task)
    if document.get("status") not in ("queued", "in_progress"):
        return {"dequeued": 1, "updated": 0, "fields": {}}
    before = call.data.get("new_status") or document.get("enqueue_status") or "created"
    if before not in WAYS:
        raise ApiError(400, 12, f"Validation error (Invalid task status: {before[:100]})")
    back = Transition("dequeue", before, "", ("enqueue_status",))
    insisting = msgspec.structs.replace(call, data={**call.data, "force": True})
    return {"dequeued": 1, **move(service, insisting, task, back)}


# --- back to the beginning -------------------------------------------------------------------------------------------

_FRESH = Transition(
    "reset",
    "created",
    "",
    ("started", "completed", "published", "active_duration", "enqueue_status", "last_worker", "last_worker_report"),
)


def reset(service: Service, call: Call) -> Mapping[str, Any]:
    """Its events, unpublished models and output artifacts go; what is started then is the next attempt of the task."""
    task = call.data["task"]
    asked = {**call.data, "status_reason": "reset", "status_message": "reset"}
    told = move(service, msgspec.structs.replace(call, data=asked), task, _FRESH)
    removed = queues.take_out(service, task)
    models, _ = drop_models(service, call, task)
    service.documents.change(TASK, task, lambda one: _emptied(one, bool(call.data.get("clear_all"))))
    service.events.delete(Owner(task, False))
    dequeued = {"removed": removed} if removed else {}
    return {**told, "deleted_models": models, "dequeued": dequeued, "events": {}, "urls": {}}


def _emptied(task: Document, clear_all: bool) -> Document:
    execution = {name: value for name, value in task.get("execution", {}).items() if name != "queue"}
    inputs = [one for one in execution.get("artifacts") or [] if one.get("mode") == "input"]
    models = {**task.get("models", {}), "output": []}
    output = {name: value for name, value in task.get("output", {}).items() if name not in ("result", "error")}
    left = {**task, "execution": {**execution, "artifacts": inputs}, "models": models, "output": output, "runtime": {}}
    return left | {"execution": {"artifacts": []}, "script": {}} if clear_all else left


def drop_models(service: Service, call: Call, task: str) -> tuple[int, int]:
    """(how many of the task's models were deleted, how many lost their task): those that are published, or that
    another task takes in, stay."""
    models = service.documents.find(MODEL, where={"task": task})
    used = _taken_in_elsewhere(service, task) if models else set()
    deleted = kept = 0
    for model in models:
        if model.get("ready") or model["id"] in used or call.data.get("delete_output_models") is False:
            service.documents.change(MODEL, model["id"], lambda one: {**one, "task": None, **touched(call)})
            kept += 1
        else:
            service.events.delete(Owner(model["id"], True))
            deleted += service.documents.remove(MODEL, model["id"])
    return deleted, kept


def _taken_in_elsewhere(service: Service, task: str) -> set[Any]:
    others = (one for one in service.documents.find(TASK) if one["id"] != task)
    return {one.get("model") for other in others for one in other.get("models", {}).get("input") or ()}


def many(answer: Told, *shown: str) -> Told:
    """The same for each of ``ids``: what is refused for one is done for the others."""

    def answer_many(service: Service, call: Call) -> Mapping[str, Any]:
        done: list[Document] = []
        failed: list[Document] = []
        for task in call.data["ids"]:
            one = Call(call.endpoint, call.version, {**call.data, "task": task}, now_ms=call.now_ms)
            one.user, one.company = call.user, call.company
            try:
                told = answer(service, one)
                done.append({"id": task, **{name: told[name] for name in shown if name in told}})
            except ApiError as error:
                codes = [error.code, error.subcode]
                failed.append({"id": task, "error": {"codes": codes, "msg": error.message, "data": {}}})
        return {"succeeded": done, "failed": failed}

    return answer_many


IDS = Field("ids", list, required=True, low=1, high=1_000)
DROPS = (Field("delete_output_models", bool), Field("clear_all", bool))
_MANY = (IDS, FORCE, *REASON, Field("publish", bool))
_WAIT = (FORCE, Field("queue"), Field("queue_name"), *REASON)
_BACK = (FORCE, Field("new_status"), *REASON)

ENDPOINTS = (
    *(
        Endpoint(f"tasks.{one.call}", "1.0", _answer(one), (ID, FORCE, *REASON, Field("publish", bool)), records=True)
        for one in TRANSITIONS
    ),
    *(
        Endpoint(f"tasks.{one.call}_many", "1.0", many(_answer(one), "updated", "fields"), _MANY, records=True)
        for one in TRANSITIONS
        if one.call in ("stop", "publish", "completed")
    ),
    Endpoint("tasks.reset", "1.0", reset, (ID, FORCE, *DROPS), records=True),
    Endpoint("tasks.reset_many", "1.0", many(reset, "updated", "fields"), (*_MANY, *DROPS), records=True),
    Endpoint("tasks.enqueue", "1.0", enqueue, (ID, *_WAIT), records=True),
    Endpoint("tasks.enqueue_many", "1.0", many(enqueue, "updated", "fields"), (IDS, *_WAIT), records=True),
    Endpoint("tasks.dequeue", "1.0", dequeue, (ID, *_BACK), records=True),
    Endpoint("tasks.dequeue_many", "1.0", many(dequeue, "updated", "fields"), (IDS, *_BACK), records=True),
)
