"""queues.*: where tasks wait. Nothing here runs them; ClearML's agents may, which ask by ``queues.get_next_task``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_events.clearml_server.api import documents as docs
from otel_events.clearml_server.api.base import ApiError, Call, Endpoint, Field, Service
from otel_events.clearml_server.api.filters import Document

QUEUE = "queue"
"""Kind of document."""
DEFAULT = "default"
SHORTEST_NAME = 3


def no_queue(queue: str) -> ApiError:
    """The error for a queue that does not exist."""
    return ApiError(400, 701, f"Invalid queue id: id={queue}")


def create(service: Service, call: Call) -> Mapping[str, Any]:
    """Create a queue; ApiError 400/800 for a short name, 400/801 where it exists."""
    name = call.data["name"].strip()
    if len(name) < SHORTEST_NAME:
        raise ApiError(400, 800, f"Data validation error (name is too short): name={name}, minimum={SHORTEST_NAME}")
    if service.documents.find(QUEUE, where={"name": name}):
        raise ApiError(400, 801, f"Value combination already exists (queue): name={name}")
    return {"id": _new(service, call, name)["id"]}


def _new(service: Service, call: Call, name: str) -> Document:
    queue = docs.fresh(call, name) | docs.sent_fields(call, ("tags", "system_tags")) | {"entries": []}
    service.documents.put(QUEUE, queue["id"], queue)
    return queue


def get_all(service: Service, call: Call) -> Mapping[str, Any]:
    """Queues by filters; the default one is always among them."""
    default(service, call)
    page, more = docs.page(service, call, docs.matching(service, call, QUEUE))
    return {"queues": [docs.shown(call, queue) for queue in page], **more}


def get_by_id(service: Service, call: Call) -> Mapping[str, Any]:
    """One queue."""
    return {"queue": _existing(service, call.data["queue"])}


def _existing(service: Service, queue: str) -> Document:
    document = service.documents.get(QUEUE, queue)
    if document is None:
        raise no_queue(queue)
    return document


def get_num_entries(service: Service, call: Call) -> Mapping[str, Any]:
    """How many tasks wait in a queue."""
    return {"num": len(_existing(service, call.data["queue"])["entries"])}


def get_default(service: Service, call: Call) -> Mapping[str, Any]:
    """The id and name of the default queue."""
    queue = default(service, call)
    return {"id": queue["id"], "name": queue["name"]}


def default(service: Service, call: Call) -> Document:
    """The queue that every server has from its first day; it is created when it is first needed."""
    return named_or_new(service, call, DEFAULT)


def named_or_new(service: Service, call: Call, name: str) -> Document:
    """The queue of that name, created where there is none."""
    queues = service.documents.find(QUEUE, where={"name": name})
    return queues[0] if queues else _new(service, call, name)


def delete(service: Service, call: Call) -> Mapping[str, Any]:
    """Delete a queue; ApiError 400/702 where tasks wait in it, unless the call insists."""
    queue = _existing(service, call.data["queue"])
    if queue["entries"] and not call.data.get("force"):
        raise ApiError(400, 702, f"Queue is not empty: use force=true to delete, id={queue['id']}")
    service.documents.remove(QUEUE, queue["id"])
    return {"deleted": 1}


def next_task(service: Service, call: Call) -> Mapping[str, Any]:
    """Take out the entry that waited longest; {} where none waits."""
    oldest: list[Document] = []

    def change(queue: Document) -> Document:
        oldest.extend(queue["entries"][:1])
        return {**queue, "entries": queue["entries"][1:]}

    docs.change(service, QUEUE, call.data["queue"], change, lambda: no_queue(call.data["queue"]))
    return {"entry": oldest[0]} if oldest else {}


def put_in(service: Service, call: Call, task: str, queue: str) -> None:
    """Let a task wait in that queue and in no other."""
    take_out(service, task)
    entry = {"task": task, "added": docs.iso(call.now_ms)}

    def change(document: Document) -> Document:
        return {**document, "entries": [*document["entries"], entry]}

    docs.change(service, QUEUE, queue, change, lambda: no_queue(queue))


def take_out(service: Service, task: str) -> int:
    """Take a task out of all queues; how many it waited in."""
    queues = service.documents.find(QUEUE)
    holding = [queue for queue in queues if any(entry["task"] == task for entry in queue["entries"])]
    for queue in holding:
        service.documents.change(QUEUE, queue["id"], lambda document: _without(document, task))
    return len(holding)


def _without(queue: Document, task: str) -> Document:
    return {**queue, "entries": [entry for entry in queue["entries"] if entry["task"] != task]}


_QUEUE = Field("queue", required=True)
_TEXTS = (Field("tags", list), Field("system_tags", list))

ENDPOINTS = (
    Endpoint("queues.create", "1.0", create, (Field("name", required=True), *_TEXTS)),
    Endpoint("queues.get_all", "1.0", get_all, docs.QUERY),
    Endpoint("queues.get_all_ex", "1.0", get_all, docs.QUERY),
    Endpoint("queues.get_by_id", "1.0", get_by_id, (_QUEUE,)),
    Endpoint("queues.get_num_entries", "1.0", get_num_entries, (_QUEUE,)),
    Endpoint("queues.get_default", "1.0", get_default),
    Endpoint("queues.get_next_task", "1.0", next_task, (_QUEUE,)),
    Endpoint("queues.delete", "1.0", delete, (_QUEUE, Field("force", bool, default=False))),
)
