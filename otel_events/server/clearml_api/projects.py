"""projects.*: folders of tasks and models, by name; ``a/b`` lies in ``a``, which is made with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_events.server.clearml_api import documents as docs
from otel_events.server.clearml_api.base import MODEL, TASK, ApiError, Call, Endpoint, Field, Service
from otel_events.server.clearml_api.filters import Document

PROJECT = "project"
"""Kind of document."""
EDITABLE = ("name", "description", "tags", "system_tags", "default_output_destination")
_FEATURED = 9999


def unknown(project: str) -> ApiError:
    return ApiError(400, 401, f"Invalid project id: id={project}")


def create(service: Service, call: Call) -> Mapping[str, Any]:
    name = call.data["name"].strip("/")
    if not name:
        raise ApiError(400, 402, "Invalid project name: a name has more than slashes")
    if service.store.find(PROJECT, where={"name": name}):
        raise ApiError(400, 407, f"Project with the same name already exists: name={name}")
    project = _new(service, call, name)
    service.store.put(PROJECT, project["id"], project | docs.given(call, EDITABLE[1:]))
    return {"id": project["id"]}


def named(service: Service, call: Call, name: str) -> str:
    """The id of the project of that name, made if there is none; "" for no name."""
    name = name.strip("/")
    if not name:
        return ""
    found = service.store.find(PROJECT, where={"name": name})
    if found:
        return str(found[0]["id"])
    project = _new(service, call, name)
    service.store.put(PROJECT, project["id"], project)
    return str(project["id"])


def _new(service: Service, call: Call, name: str) -> Document:
    above, _, last = name.rpartition("/")
    project = docs.made(call, name) | {"basename": last, "description": "", "featured": _FEATURED, "path": []}
    if above:
        parent = service.store.get(PROJECT, named(service, call, above)) or {}
        project |= {"parent": parent.get("id"), "path": [*parent.get("path", ()), parent.get("id")]}
    return project


def get_by_id(service: Service, call: Call) -> Mapping[str, Any]:
    found = service.store.get(PROJECT, call.data["project"])
    if found is None:
        raise unknown(call.data["project"])
    return {"project": found}


def get_all(service: Service, call: Call) -> Mapping[str, Any]:
    found = docs.found(service, call, PROJECT)
    found = docs.unhidden(call, found)
    if call.data.get("shallow_search"):
        found = [one for one in found if not one.get("parent")]
    page, more = docs.page(service, call, found)
    return {"projects": [docs.shown(call, one) for one in page], **more}


def update(service: Service, call: Call) -> Mapping[str, Any]:
    fields = docs.given(call, EDITABLE)
    if "name" in fields:
        fields["basename"] = fields["name"].rpartition("/")[2]
    key, told = call.data["project"], {**fields, "last_update": docs.iso(call.now_ms)}
    docs.change(service, PROJECT, key, lambda one: {**one, **told}, lambda: unknown(key))
    return {"updated": 1, "fields": told}


def delete(service: Service, call: Call) -> Mapping[str, Any]:
    """The project; what lies in it stays, outside of any, where ``force`` says so."""
    key = call.data["project"]
    if service.store.get(PROJECT, key) is None:
        raise unknown(key)
    inside = [(kind, one["id"]) for kind in (TASK, MODEL) for one in service.store.find(kind, where={"project": key})]
    if inside and not call.data.get("force"):
        raise ApiError(400, 403, f"Project has associated tasks: use force=true to delete, id={key}")
    for kind, member in inside:
        service.store.change(kind, member, _outside)
    service.store.remove(PROJECT, key)
    return {"deleted": 1, "disassociated_tasks": sum(kind == TASK for kind, _ in inside), "urls": None}


def _outside(document: Document) -> Document:
    return {name: value for name, value in document.items() if name != "project"}


def tags_of(kind: str) -> Any:
    """Answers with all tags of tasks, or models, of these projects."""

    def answer(service: Service, call: Call) -> Mapping[str, Any]:
        projects = call.data.get("projects")
        found = [one for one in service.store.find(kind) if not projects or one.get("project") in projects]
        told = {"tags": sorted({tag for one in found for tag in one["tags"]})}
        if call.data.get("include_system"):
            told["system_tags"] = sorted({tag for one in found for tag in one["system_tags"]})
        return told

    return answer


ID = Field("project", required=True)
_TEXTS = (Field("description"), Field("default_output_destination"), Field("tags", list), Field("system_tags", list))
_TAGS = (Field("projects", list), Field("include_system", bool, default=False))

ENDPOINTS = (
    Endpoint("projects.create", "1.0", create, (Field("name", required=True), *_TEXTS)),
    Endpoint("projects.get_by_id", "1.0", get_by_id, (ID,)),
    Endpoint("projects.get_all", "1.0", get_all, (*docs.QUERY, Field("shallow_search", bool))),
    Endpoint("projects.get_all_ex", "1.0", get_all, (*docs.QUERY, Field("shallow_search", bool))),
    Endpoint("projects.update", "1.0", update, (ID, Field("name"), *_TEXTS)),
    Endpoint("projects.delete", "1.0", delete, (ID, Field("force", bool, default=False))),
    Endpoint("projects.get_task_tags", "2.8", tags_of(TASK), _TAGS),
    Endpoint("projects.get_model_tags", "2.8", tags_of(MODEL), _TAGS),
)
