"""queues.*: where tasks wait. Nothing here runs what waits: agents of ClearML may, by ``queues.get_next_task``."""

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
    return ApiError(400, 701, f"Invalid queue id: id={queue}")


def create(service: Service, call: Call) -> Mapping[str, Any]:
    name = call.data["name"].strip()
    if len(name) < SHORTEST_NAME:
        raise ApiError(400, 800, f"Data validation error (name is too short): name={name}, minimum={SHORTEST_NAME}")
    if service.documents.find(QUEUE, where={"name": name}):
        raise ApiError(400, 801, f"Value combination already exists (queue): name={name}")
    return {"id": made(service, call, name)["id"]}


def made(service: Service, call: Call, name: str) -> Document:
    queue = docs.made(call, name) | docs.given(call, ("tags", "system_tags")) | {"entries": []}
    service.documents.put(QUEUE, queue["id"], queue)
    return queue


def get_all(service: Service, call: Call) -> Mapping[str, Any]:
    default(service, call)
    page, more = docs.page(service, call, docs.found(service, call, QUEUE))
    return {"queues": [docs.shown(call, one) for one in page], **more}


def get_by_id(service: Service, call: Call) -> Mapping[str, Any]:
    return {"queue": _known(service, call.data["queue"])}


def _known(service: Service, queue: str) -> Document:
    found = service.documents.get(QUEUE, queue)
    if found is None:
        raise no_queue(queue)
    return found


def get_num_entries(service: Service, call: Call) -> Mapping[str, Any]:
    return {"num": len(_known(service, call.data["queue"])["entries"])}


def get_default(service: Service, call: Call) -> Mapping[str, Any]:
    queue = default(service, call)
    return {"id": queue["id"], "name": queue["name"]}


def default(service: Service, call: Call) -> Document:
    """The queue that every server has from its first day: made when it is first asked for."""
    return named(service, DEFAULT) or made(service, call, DEFAULT)


def named(service: Service, name: str) -> Document | None:
    found = service.documents.find(QUEUE, where={"name": name})
    return found[0] if found else None


def delete(service: Service, call: Call) -> Mapping[str, Any]:
    queue = _known(service, call.data["queue"])
    if queue["entries"] and not call.data.get("force"):
        raise ApiError(400, 702, f"Queue is not empty: use force=true to delete, id={queue['id']}")
    service.documents.remove(QUEUE, queue["id"])
    return {"deleted": 1}


def next_task(service: Service, call: Call) -> Mapping[str, Any]:
    """The entry that waited longest, taken out; {} where none waits."""
    taken: list[Document] = []

    def change(queue: Document) -> Document:
        taken.extend(queue["entries"][:1])
        return {**queue, "entries": queue["entries"][1:]}

    docs.change(service, QUEUE, call.data["queue"], change, lambda: no_queue(call.data["queue"]))
    return {"entry": taken[0]} if taken else {}


def put_in(service: Service, call: Call, task: str, queue: str) -> None:
    """The task waits in that queue and in no other."""
    take_out(service, task)
    entry = {"task": task, "added": docs.iso(call.now_ms)}
    docs.change(
        service, QUEUE, queue, lambda one: {**one, "entries": [*one["entries"], entry]}, lambda: no_queue(queue)
    )


def take_out(service: Service, task: str) -> int:
    """How many queues it waited in."""
    holding = [one for one in service.documents.find(QUEUE) if any(entry["task"] == task for entry in one["entries"])]
    for queue in holding:
        service.documents.change(QUEUE, queue["id"], lambda one: _without(one, task))
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
