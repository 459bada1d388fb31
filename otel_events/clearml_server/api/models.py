"""models.*: what tasks put out and take in. The events of a model are stored under its id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from otel_events.clearml_server.api import documents as docs
from otel_events.clearml_server.api.base import MODEL, TASK, ApiError, Call, Endpoint, Field, Service
from otel_events.clearml_server.api.filters import Document
from otel_events.clearml_server.api.transitions import FORCE, PUBLISH, carry_out, many
from otel_events.clearml_server.store import Owner

EDITABLE = (
    *("name", "uri", "comment", "tags", "system_tags", "framework", "design", "labels", "project", "parent", "task"),
    *("iteration", "metadata"),
)
SUMMARY = ("last_iteration", "last_metrics")
SHORTEST_NAME = 3


def unknown(model: str) -> ApiError:
    """The error for a model that does not exist."""
    return ApiError(400, 201, f"Invalid model id: id={model}")


def create(service: Service, call: Call) -> Mapping[str, Any]:
    """Create a model."""
    model = _new(call, call.data["name"]) | docs.sent_fields(call, EDITABLE) | {"ready": call.data["ready"]}
    model["metadata"] = _metadata(call.data.get("metadata"))
    service.documents.put(MODEL, model["id"], model)
    return {"id": model["id"], "created": True}


def _new(call: Call, name: str) -> Document:
    if len(name) < SHORTEST_NAME:
        raise ApiError(400, 800, f"Data validation error (name is too short): name={name}, minimum={SHORTEST_NAME}")
    return docs.fresh(call, name) | {"uri": "", "design": {}, "labels": {}, "ready": False, "metadata": {}}


def get_by_id(service: Service, call: Call) -> Mapping[str, Any]:
    """One model with its last metrics."""
    return {"model": docs.shown(call, _with_summary(service, _existing(service, call.data["model"])))}


def _existing(service: Service, model: str) -> Document:
    document = service.documents.get(MODEL, model)
    if document is None:
        raise unknown(model)
    return document


def _with_summary(service: Service, model: Document) -> Document:
    return docs.with_summary(model, service.events.summary(Owner(model["id"], True)))


def get_by_task_id(service: Service, call: Call) -> Mapping[str, Any]:
    """The newest model of a task."""
    models = service.documents.find(MODEL, where={"task": call.data["task"]})
    if not models:
        raise ApiError(400, 201, f"Invalid model id: no model of task {call.data['task']}")
    return {"model": _with_summary(service, models[-1])}


def get_all(service: Service, call: Call) -> Mapping[str, Any]:
    """Models by filters; summaries are read for the page only, or for all where the order needs them."""
    models = docs.matching(service, call, MODEL)
    if (ready := call.data.get("ready")) is not None:
        models = [model for model in models if model["ready"] is ready]
    if docs.orders_by(call, SUMMARY):
        models = [_with_summary(service, model) for model in models]
    page, more = docs.page(service, call, models)
    if docs.wants(call, *SUMMARY):
        page = [_with_summary(service, model) for model in page]
    return {"models": [docs.shown(call, model) for model in page], **more}


def edit(service: Service, call: Call) -> Mapping[str, Any]:
    """Change fields of a model."""
    fields = docs.sent_fields(call, EDITABLE)
    if "metadata" in fields:
        fields["metadata"] = _metadata(fields["metadata"])
    if (ready := call.data.get("ready")) is not None:
        fields["ready"] = ready
    changes = {**fields, "ui_cache": {}, **docs.touched(call)}
    key = call.data["model"]
    docs.change(service, MODEL, key, lambda model: {**model, **changes}, lambda: unknown(key))
    return {"updated": 1, "fields": changes}


def update_for_task(service: Service, call: Call) -> Mapping[str, Any]:
    """Change the model of a task that has this address; it is created where there is none."""
    task = call.data["task"]
    if service.documents.get(TASK, task) is None:
        raise ApiError(400, 101, f"Invalid task id: id={task}, company={service.company}")
    override = call.data.get("override_model_id")
    where = {"task": task, **({"uri": call.data["uri"]} if call.data.get("uri") else {})}
    models = [_existing(service, override)] if override else service.documents.find(MODEL, where=where)
    fields = docs.sent_fields(call, ("name", "comment", "tags", "iteration", "uri")) | {"task": task}
    if models:
        changes = {**fields, **docs.touched(call)}
        service.documents.change(MODEL, models[-1]["id"], lambda document: {**document, **changes})
        return {"id": models[-1]["id"], "created": False, "updated": 1, "fields": changes}
    model = _new(call, call.data.get("name") or f"model of {task}") | fields
    service.documents.put(MODEL, model["id"], model)
    return {"id": model["id"], "created": True, "updated": 1, "fields": fields}


def set_ready(service: Service, call: Call) -> Mapping[str, Any]:
    """Publish a model, once; with ``publish_task`` its task is published first."""
    key = call.data["model"]
    model = _existing(service, key)
    if model["ready"]:
        raise ApiError(400, 203, f"Model is ready: company={call.company}, model={key}")
    published = None
    task = service.documents.get(TASK, model.get("task") or "") if call.data.get("publish_task") else None
    if task and task.get("status") != "published":
        insisting = {**call.data, "force": bool(call.data.get("force_publish_task"))}
        answer = carry_out(service, msgspec.structs.replace(call, data=insisting), task["id"], PUBLISH)
        published = {"id": task["id"], "data": answer}
    ready = {"ready": True, **docs.touched(call)}
    docs.change(service, MODEL, key, lambda document: {**document, **ready}, lambda: unknown(key))
    return {"updated": 1, "published_task": published}


def delete(service: Service, call: Call) -> Mapping[str, Any]:
    """Delete a model. ApiError 400/205 where tasks take it in, 400/206 where its task is published, unless the call
    insists."""
    model = _existing(service, call.data["model"])
    force = call.data.get("force")
    using = [user for user in service.documents.find(TASK) if model["id"] in _taken_in(user)]
    if using and not force:
        raise ApiError(400, 205, f"Model is used by tasks (as execution model, use force=True to delete): {len(using)}")
    task = service.documents.get(TASK, model.get("task") or "")
    if task and task.get("status") == "published" and not force:
        raise ApiError(400, 206, f"Task that created this model exists and published, use force=True: {task['id']}")
    if task:
        service.documents.change(TASK, task["id"], lambda document: _without_output(document, model["id"]))
    service.events.delete(Owner(model["id"], True))
    service.documents.remove(MODEL, model["id"])
    return {"deleted": True, "url": model.get("uri")}


def _taken_in(task: Document) -> list[Any]:
    return [entry.get("model") for entry in task.get("models", {}).get("input") or ()]


def _without_output(task: Document, model: str) -> Document:
    models = task.get("models", {})
    return {**task, "models": {**models, "output": [o for o in models.get("output") or () if o.get("model") != model]}}


def add_or_update_metadata(service: Service, call: Call) -> Mapping[str, Any]:
    """Add entries to the metadata of a model; with ``replace_metadata`` only these stay."""
    sent = _metadata(call.data["metadata"])
    replace = call.data.get("replace_metadata")
    key = call.data["model"]

    def change(model: Document) -> Document:
        before = {} if replace else model.get("metadata") or {}
        return {**model, "metadata": {**before, **sent}, **docs.touched(call)}

    docs.change(service, MODEL, key, change, lambda: unknown(key))
    return {"updated": 1}


def delete_metadata(service: Service, call: Call) -> Mapping[str, Any]:
    """Delete entries of the metadata of a model by key."""
    key, gone = call.data["model"], call.data["keys"]

    def change(model: Document) -> Document:
        left = {name: entry for name, entry in (model.get("metadata") or {}).items() if name not in gone}
        return {**model, "metadata": left, **docs.touched(call)}

    docs.change(service, MODEL, key, change, lambda: unknown(key))
    return {"updated": 1}


def _metadata(sent: Any) -> Document:
    """{key: {key, type, value}} of a list of those, or of itself."""
    entries = sent.values() if isinstance(sent, dict) else sent if isinstance(sent, list) else ()
    return {entry["key"]: entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("key"), str)}


def _tagged(archived: bool) -> Any:
    def answer(service: Service, call: Call) -> Mapping[str, Any]:
        key = call.data["task"]  # `many` hands each id on under this name

        def change(model: Document) -> Document:
            tags = [tag for tag in model["system_tags"] if tag != "archived"]
            return {**model, "system_tags": [*tags, "archived"] if archived else tags, **docs.touched(call)}

        docs.change(service, MODEL, key, change, lambda: unknown(key))
        return {"archived" if archived else "unarchived": True}

    return answer


ID = Field("model", required=True)
NAME = Field("name", required=True)
_DICTS = (Field("design", dict), Field("labels", dict), Field("metadata", None))
_TEXTS = tuple(Field(name) for name in ("uri", "comment", "framework", "project", "parent", "task"))
_REST = (*_DICTS, *_TEXTS, Field("tags", list), Field("system_tags", list), Field("iteration", int))
_IDS = (Field("ids", list, required=True, low=1, high=1_000),)

ENDPOINTS = (
    Endpoint("models.create", "1.0", create, (NAME, *_REST, Field("ready", bool, default=True)), records=True),
    Endpoint("models.get_by_id", "1.0", get_by_id, (ID, docs.ONLY_FIELDS)),
    Endpoint("models.get_by_id_ex", "1.0", get_all, docs.QUERY),
    Endpoint("models.get_by_task_id", "1.0", get_by_task_id, (Field("task", required=True),)),
    Endpoint("models.get_all", "1.0", get_all, (*docs.QUERY, Field("ready", bool))),
    Endpoint("models.get_all_ex", "1.0", get_all, (*docs.QUERY, Field("ready", bool))),
    Endpoint("models.edit", "1.0", edit, (ID, Field("name"), *_REST, Field("ready", bool)), records=True),
    Endpoint("models.update", "1.0", edit, (ID, Field("name"), *_REST, Field("ready", bool)), records=True),
    Endpoint("models.update_for_task", "1.0", update_for_task, (Field("task", required=True), Field("name"), *_REST)),
    Endpoint(
        "models.set_ready",
        "1.0",
        set_ready,
        (ID, FORCE, Field("publish_task", bool, default=True), Field("force_publish_task", bool)),
    ),
    Endpoint("models.delete", "1.0", delete, (ID, FORCE)),
    Endpoint(
        "models.add_or_update_metadata", "2.13", add_or_update_metadata, (ID, Field("metadata", list, required=True))
    ),
    Endpoint("models.delete_metadata", "2.13", delete_metadata, (ID, Field("keys", list, required=True))),
    Endpoint("models.archive_many", "2.13", many(_tagged(True), "archived"), _IDS),
    Endpoint("models.unarchive_many", "2.13", many(_tagged(False), "unarchived"), _IDS),
)
