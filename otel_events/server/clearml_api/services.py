"""What else a client asks of a server: which one it is, who it is itself, and queues that tasks can wait in.

Nothing runs what waits in a queue here: agents of ClearML may, by ``queues.get_next_task``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_events.server.clearml_api import access
from otel_events.server.clearml_api import documents as docs
from otel_events.server.clearml_api.base import TASK, ApiError, Call, Endpoint, Field, Service
from otel_events.server.clearml_api.filters import Document
from otel_events.server.clearml_api.transitions import FORCE, ID, REASON, Transition, many, move, unknown

QUEUE = "queue"
"""Kind of document."""
DEFAULT = "default"
QUEUED = Transition("enqueue", "queued", ("created", "stopped", "failed", "completed"))
BACK = Transition("dequeue", "created", ("queued",))


def info(service: Service, call: Call) -> Mapping[str, Any]:
    return {"version": access.SERVER_VERSION, "build": "0", "uid": service.company}


def current_user(service: Service, call: Call) -> Mapping[str, Any]:
    company = {"id": service.company, "name": service.company}
    return {"user": {"id": call.user, "name": call.user, "role": "admin", "company": company}, "settings": {}}


def nothing(service: Service, call: Call) -> Mapping[str, Any]:
    return {}


def no_workers(service: Service, call: Call) -> Mapping[str, Any]:
    return {"workers": []}


# --- queues ----------------------------------------------------------------------------------------------------------


def no_queue(queue: str) -> ApiError:
    return ApiError(400, 701, f"Invalid queue id: id={queue}")


def create(service: Service, call: Call) -> Mapping[str, Any]:
    queue = docs.made(call, call.data["name"]) | docs.given(call, ("tags", "system_tags")) | {"entries": []}
    service.store.put(QUEUE, queue["id"], queue)
    return {"id": queue["id"]}


def get_all(service: Service, call: Call) -> Mapping[str, Any]:
    get_default(service, call)
    page, more = docs.page(service, call, docs.found(service, call, QUEUE))
    return {"queues": [docs.shown(call, one) for one in page], **more}


def get_by_id(service: Service, call: Call) -> Mapping[str, Any]:
    found = service.store.get(QUEUE, call.data["queue"])
    if found is None:
        raise no_queue(call.data["queue"])
    return {"queue": found}


def get_default(service: Service, call: Call) -> Mapping[str, Any]:
    """The queue of that name, made when it is first asked for."""
    found = service.store.find(QUEUE, where={"name": DEFAULT})
    queue = found[0] if found else docs.made(call, DEFAULT) | {"entries": []}
    if not found:
        service.store.put(QUEUE, queue["id"], queue)
    return {"id": queue["id"], "name": DEFAULT}


def delete(service: Service, call: Call) -> Mapping[str, Any]:
    if not service.store.remove(QUEUE, call.data["queue"]):
        raise no_queue(call.data["queue"])
    return {"deleted": 1}


def next_task(service: Service, call: Call) -> Mapping[str, Any]:
    """The entry that waited longest, taken out; {} where none waits."""
    taken: list[Document] = []

    def change(queue: Document) -> Document:
        taken.extend(queue["entries"][:1])
        return {**queue, "entries": queue["entries"][1:]}

    docs.change(service, QUEUE, call.data["queue"], change, lambda: no_queue(call.data["queue"]))
    return {"entry": taken[0]} if taken else {}


def enqueue(service: Service, call: Call) -> Mapping[str, Any]:
    task = call.data["task"]
    if service.store.get(TASK, task) is None:
        raise unknown(service, task)
    queue = call.data.get("queue") or _named(service, call) or get_default(service, call)["id"]
    if service.store.get(QUEUE, queue) is None:
        raise no_queue(queue)
    told = move(service, call, task, QUEUED)
    _take_out(service, task)
    entry = {"task": task, "added": docs.iso(call.now_ms)}
    service.store.change(QUEUE, queue, lambda one: {**one, "entries": [*one["entries"], entry]})
    service.store.change(TASK, task, lambda one: {**one, "execution": {**one["execution"], "queue": queue}})
    return {**told, "queued": 1, "fields": {**told["fields"], "execution.queue": queue}}


def _named(service: Service, call: Call) -> str:
    name = call.data.get("queue_name")
    found = service.store.find(QUEUE, where={"name": name}) if name else []
    return str(found[0]["id"]) if found else ""


def dequeue(service: Service, call: Call) -> Mapping[str, Any]:
    told = move(service, call, call.data["task"], BACK)
    return {**told, "dequeued": _take_out(service, call.data["task"])}


def _take_out(service: Service, task: str) -> int:
    """How many queues it waited in."""
    holding = [one for one in service.store.find(QUEUE) if any(entry["task"] == task for entry in one["entries"])]
    for queue in holding:
        service.store.change(QUEUE, queue["id"], lambda one: _without(one, task))
    return len(holding)


def _without(queue: Document, task: str) -> Document:
    return {**queue, "entries": [entry for entry in queue["entries"] if entry["task"] != task]}


_QUEUE = Field("queue", required=True)
_WAIT = (FORCE, Field("queue"), Field("queue_name"), *REASON)
_IDS = Field("ids", list, required=True, low=1, high=1_000)

ENDPOINTS = (
    Endpoint("server.info", "1.0", info),
    Endpoint("server.config", "1.0", nothing),
    Endpoint("server.report_stats_option", "1.0", nothing),
    Endpoint("users.get_current_user", "1.0", current_user),
    Endpoint("users.get_preferences", "1.0", lambda service, call: {"preferences": {}}),
    Endpoint("workers.get_all", "1.0", no_workers),
    Endpoint("workers.register", "1.0", nothing),
    Endpoint("workers.unregister", "1.0", nothing),
    Endpoint("workers.status_report", "1.0", nothing),
    Endpoint(
        "queues.create", "1.0", create, (Field("name", required=True), Field("tags", list), Field("system_tags", list))
    ),
    Endpoint("queues.get_all", "1.0", get_all, docs.QUERY),
    Endpoint("queues.get_all_ex", "1.0", get_all, docs.QUERY),
    Endpoint("queues.get_by_id", "1.0", get_by_id, (_QUEUE,)),
    Endpoint("queues.get_default", "1.0", get_default),
    Endpoint("queues.get_next_task", "1.0", next_task, (_QUEUE,)),
    Endpoint("queues.delete", "1.0", delete, (_QUEUE,)),
    Endpoint("tasks.enqueue", "1.0", enqueue, (ID, *_WAIT), records=True),
    Endpoint("tasks.dequeue", "1.0", dequeue, (ID, FORCE, *REASON), records=True),
    Endpoint("tasks.enqueue_many", "1.0", many(enqueue, "updated", "fields"), (_IDS, *_WAIT), records=True),
    Endpoint("tasks.dequeue_many", "1.0", many(dequeue, "updated", "fields"), (_IDS, FORCE, *REASON), records=True),
)
