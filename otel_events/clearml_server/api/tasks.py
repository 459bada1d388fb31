"""tasks.*: tasks are created, searched, changed, copied and deleted. (Their parts are in ``task_parts``.)

The last iteration and the last metrics of a task are read from its events whenever they are wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_events.clearml_server.api import documents as docs
from otel_events.clearml_server.api import queues
from otel_events.clearml_server.api.base import TASK, ApiError, Call, Endpoint, Field, Service
from otel_events.clearml_server.api.filters import Document
from otel_events.clearml_server.api.projects import named
from otel_events.clearml_server.api.transitions import DROPS, FORCE, ID, IDS, drop_models, existing, many, unknown
from otel_events.clearml_server.store import Owner

TYPES = (
    *("training", "testing", "inference", "data_processing", "application", "monitor", "controller", "optimizer"),
    *("service", "qc", "custom", "dataset_import", "annotation", "annotation_manual"),
)
EDITABLE = (
    *("name", "type", "comment", "parent", "project", "output_dest", "tags", "system_tags", "input", "execution"),
    *("script", "hyperparams", "configuration", "models", "container", "runtime"),
)
NESTED = ("execution", "script", "container", "input")
"""Fields of which an edit replaces the members that it has."""
UPDATABLE = ("name", "comment", "project", "tags", "system_tags", "status_message")
"""Fields that may be changed at any time."""
SUMMARY = ("last_iteration", "last_metrics", "metric_stats")


def create(service: Service, call: Call) -> Mapping[str, Any]:
    """Create a task."""
    task = new(call, call.data["name"], call.data["type"])
    service.documents.put(TASK, task["id"], docs.merged(task, _sent_fields(call), NESTED))
    return {"id": task["id"]}


def _sent_fields(call: Call) -> Document:
    fields = docs.sent_fields(call, EDITABLE)
    if "artifacts" in fields.get("execution", {}):
        fields["execution"] = {**fields["execution"], "artifacts": docs.artifacts(fields["execution"]["artifacts"])}
    return fields


def new(call: Call, name: str, kind: str) -> Document:
    """A task that was just created."""
    execution = {"test_split": 0, "parameters": {}, "model_desc": {}, "model_labels": {}, "artifacts": []}
    script = {"binary": "python", "repository": "", "entry_point": "", "requirements": {}}
    return {
        **docs.fresh(call, name),
        "type": kind,
        "status": "created",
        "comment": "",
        "report_assets": [],
        "output": {},
        "execution": execution,
        "script": script,
        "hyperparams": {},
        "configuration": {},
        "runtime": {},
        "models": {"input": [], "output": []},
        "container": {},
    }


def get_by_id(service: Service, call: Call) -> Mapping[str, Any]:
    """One task with its last metrics."""
    task = existing(service, call.data["task"])
    if docs.wants(call, *SUMMARY):
        task = _with_summary(service, task)
    return {"task": docs.shown(call, task)}


def get_all(service: Service, call: Call) -> Mapping[str, Any]:
    """Summaries are read for the page only, or for all where their fields order it."""
    tasks = docs.unhidden(call, docs.matching(service, call, TASK))
    if docs.orders_by(call, SUMMARY):
        tasks = [_with_summary(service, task) for task in tasks]
    page, more = docs.page(service, call, tasks)
    if docs.wants(call, *SUMMARY):
        page = [_with_summary(service, task) for task in page]
    return {"tasks": [docs.shown(call, task) for task in page], **more}


def _with_summary(service: Service, task: Document) -> Document:
    return docs.with_summary(task, service.events.summary(Owner(task["id"], False)))


def edit(service: Service, call: Call) -> Mapping[str, Any]:
    """Change what ``create`` has set. ApiError 400/110 once the task was started or queued, unless the call insists."""
    fields = _sent_fields(call)

    def change(task: Document) -> Document:
        if task.get("status") != "created" and not call.data.get("force"):
            raise ApiError(400, 110, f"Invalid task status: expected=created, status={task.get('status')}")
        return docs.merged(task, changes, NESTED)

    changes = _timed(call, fields)
    changed = _change(service, call, change)
    return {"updated": int(bool(changes)), "fields": {name: changed[name] for name in changes}}


def update(service: Service, call: Call) -> Mapping[str, Any]:
    """Change fields that may be changed at any time."""
    changes = _timed(call, docs.sent_fields(call, UPDATABLE))
    _change(service, call, lambda task: {**task, **changes})
    return {"updated": int(bool(changes)), "fields": changes}


def _timed(call: Call, fields: Document) -> Document:
    """The fields with the time of their change. UPDATABLE ones alone (names, comments, tags, projects) do not change
    ``last_update``: they are no sign that the task is alive."""
    if not fields:
        return {}
    touched = docs.touched(call)
    if fields.keys() <= set(UPDATABLE):
        del touched["last_update"]
    return fields | touched


def _change(service: Service, call: Call, change: Any) -> Document:
    task = call.data["task"]
    return docs.change(service, TASK, task, change, lambda: unknown(service, task))


def set_requirements(service: Service, call: Call) -> Mapping[str, Any]:
    """Set the Python packages that a task needs."""

    def change(task: Document) -> Document:
        script = {**task["script"], "requirements": call.data["requirements"]}
        return {**task, "script": script, **docs.touched(call)}

    _change(service, call, change)
    return {"updated": 1, "fields": {}}


def ping(service: Service, call: Call) -> Mapping[str, Any]:
    """Note that a task is alive."""
    _change(service, call, lambda task: {**task, "last_update": docs.iso(call.now_ms)})
    return {}


def clone(service: Service, call: Call) -> Mapping[str, Any]:
    """Copy the definition of a task, without its results."""
    source = existing(service, call.data["task"])
    fresh = new(call, call.data.get("new_task_name") or source["name"], source["type"])
    copied = {
        name: source[name] for name in EDITABLE if name in source and name not in ("name", "system_tags", "models")
    }
    copied["execution"] = {**source["execution"], "artifacts": []}
    fresh |= copied | {"parent": call.data.get("new_task_parent") or source["id"]}
    for name in ("comment", "tags", "system_tags", "project"):
        if (value := call.data.get(f"new_task_{name}")) is not None:
            fresh[name] = value
    service.documents.put(TASK, fresh["id"], fresh)
    return {"id": fresh["id"]}


def delete(service: Service, call: Call) -> Mapping[str, Any]:
    """Delete a task, its events and its unpublished models; its children lose their parent. ApiError 400/123 for a task
    that was started and is not archived, unless the call insists."""
    task = existing(service, call.data["task"])
    if not (call.data.get("force") or task["status"] == "created" or "archived" in (task.get("system_tags") or ())):
        statuses = f"task={task['id']}, expected=created, current={task['status']}"
        raise ApiError(400, 123, f"Task cannot be deleted (due to status, use force=True): {statuses}")
    children = service.documents.find(TASK, where={"parent": task["id"]})
    for child in children:
        service.documents.change(TASK, child["id"], _orphan)
    deleted, staying = drop_models(service, call, task["id"])
    queues.take_out(service, task["id"])
    service.events.delete(Owner(task["id"], False))
    service.documents.remove(TASK, task["id"])
    counts = {"updated_children": len(children), "updated_models": staying, "deleted_models": deleted}
    return {"deleted": True, **counts, "urls": None}


def _orphan(task: Document) -> Document:
    return {name: value for name, value in task.items() if name != "parent"}


# --- several at once -------------------------------------------------------------------------------------------------


def move_to(service: Service, call: Call) -> Mapping[str, Any]:
    """Move tasks to another project, given by id or by name; a new name creates a project."""
    project = call.data.get("project") or named(service, call, call.data.get("project_name") or "")
    fields = {"project": project, **docs.touched(call)}
    moved = [service.documents.change(TASK, task, lambda document: {**document, **fields}) for task in call.data["ids"]]
    return {"updated": sum(document is not None for document in moved), "project_id": project}


def archive(service: Service, call: Call) -> Mapping[str, Any]:
    """Tag tasks as archived; how many there were."""
    tasks = call.data.get("tasks") or call.data.get("ids") or []
    return {"archived": sum(_archived(service, call, task, True) for task in tasks)}


def _archive_one(service: Service, call: Call) -> Mapping[str, Any]:
    if not _archived(service, call, call.data["task"], True):
        raise unknown(service, call.data["task"])
    return {"archived": True}


def _unarchive_one(service: Service, call: Call) -> Mapping[str, Any]:
    if not _archived(service, call, call.data["task"], False):
        raise unknown(service, call.data["task"])
    return {"unarchived": True}


def _archived(service: Service, call: Call, task: str, archived: bool) -> bool:
    def change(document: Document) -> Document:
        tags = [tag for tag in document["system_tags"] if tag != "archived"]
        return {**document, "system_tags": [*tags, "archived"] if archived else tags, **docs.touched(call)}

    return service.documents.change(TASK, task, change) is not None


def get_types(service: Service, call: Call) -> Mapping[str, Any]:
    """The types that the tasks of some projects have."""
    projects = call.data.get("projects")
    tasks = service.documents.find(TASK)
    return {"types": sorted({task["type"] for task in tasks if not projects or task.get("project") in projects})}


NAME = Field("name", required=True)
KIND = Field("type", choices=TYPES, type_name="tasktypeenum")
OBJECTS = tuple(Field(name, dict) for name in (*NESTED, "hyperparams", "configuration", "models", "runtime"))
LISTS = (Field("tags", list), Field("system_tags", list))
TEXTS = tuple(Field(name) for name in ("comment", "parent", "project", "output_dest"))


ENDPOINTS = (
    Endpoint(
        "tasks.create",
        "1.0",
        create,
        (NAME, Field("type", choices=TYPES, type_name="tasktypeenum", required=True), *OBJECTS, *LISTS, *TEXTS),
        records=True,
    ),
    Endpoint("tasks.get_by_id", "1.0", get_by_id, (ID, docs.ONLY_FIELDS)),
    Endpoint("tasks.get_all", "1.0", get_all, docs.QUERY),
    Endpoint("tasks.get_all_ex", "1.0", get_all, docs.QUERY),
    Endpoint("tasks.get_by_id_ex", "1.0", get_all, docs.QUERY),
    Endpoint("tasks.edit", "1.0", edit, (ID, FORCE, Field("name"), KIND, *OBJECTS, *LISTS, *TEXTS), records=True),
    Endpoint("tasks.update", "1.0", update, (ID, Field("name"), *LISTS, *TEXTS), records=True),
    Endpoint("tasks.set_requirements", "1.0", set_requirements, (ID, Field("requirements", dict, required=True))),
    Endpoint("tasks.ping", "1.0", ping, (ID,), records=True),
    Endpoint(
        "tasks.clone", "1.0", clone, (ID, *(Field(f"new_task_{name}") for name in ("name", "parent"))), records=True
    ),
    Endpoint("tasks.delete", "1.0", delete, (ID, FORCE, *DROPS), records=True),
    Endpoint("tasks.delete_many", "1.0", many(delete, "deleted"), (IDS, FORCE, *DROPS), records=True),
    Endpoint("tasks.move", "1.0", move_to, (IDS, Field("project"), Field("project_name"))),
    Endpoint("tasks.archive", "2.12", archive, (Field("tasks", list), Field("ids", list))),
    Endpoint("tasks.archive_many", "2.13", many(_archive_one, "archived"), (IDS,)),
    Endpoint("tasks.unarchive_many", "2.13", many(_unarchive_one, "unarchived"), (IDS,)),
    Endpoint("tasks.get_types", "2.8", get_types, (Field("projects", list),)),
)
