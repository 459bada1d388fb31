"""projects.*: folders of tasks and models, by name; ``a/b`` lies in ``a``, which is made with it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from otel_events.clearml_server.api import documents as docs
from otel_events.clearml_server.api.base import MODEL, TASK, ApiError, Call, Endpoint, Field, Service
from otel_events.clearml_server.api.filters import Document

PROJECT = "project"
"""Kind of document."""
EDITABLE = ("name", "description", "tags", "system_tags", "default_output_destination")
_FEATURED = 9999
DEEPEST = 10
"""Names in a path, as the server allows them."""


def unknown(project: str) -> ApiError:
    return ApiError(400, 401, f"Invalid project id: id={project}")


def create(service: Service, call: Call) -> Mapping[str, Any]:
    name = _cleaned(call.data["name"])
    if service.documents.find(PROJECT, where={"name": name}):
        raise ApiError(400, 801, f"Project with the same name already exists: name={name}, company={call.company}")
    project = _new(service, call, name)
    service.documents.put(PROJECT, project["id"], project | docs.given(call, EDITABLE[1:]))
    return {"id": project["id"]}


def _cleaned(name: str) -> str:
    """Without empty parts. ApiError 400/407 where nothing is left, 400/409 where it is too deep."""
    parts = [part.strip() for part in name.split("/") if part]
    if not any(parts):
        raise ApiError(400, 407, f"Invalid project name: name={name[:100]}")
    if len(parts) > DEEPEST:
        raise ApiError(400, 409, f"Project path exceed the maximum allowed depth: max_depth={DEEPEST}")
    return "/".join(parts)


def named(service: Service, call: Call, name: str) -> str:
    """The id of the project of that name, made if there is none; "" for no name."""
    if not name.strip("/"):
        return ""
    name = _cleaned(name)
    found = service.documents.find(PROJECT, where={"name": name})
    if found:
        return str(found[0]["id"])
    project = _new(service, call, name)
    service.documents.put(PROJECT, project["id"], project)
    return str(project["id"])


def _new(service: Service, call: Call, name: str) -> Document:
    above, _, last = name.rpartition("/")
    project = docs.made(call, name) | {"basename": last, "description": "", "featured": _FEATURED, "path": []}
    if above:
        parent = service.documents.get(PROJECT, named(service, call, above)) or {}
        project |= {"parent": parent.get("id"), "path": [*parent.get("path", ()), parent.get("id")]}
    return project


def get_by_id(service: Service, call: Call) -> Mapping[str, Any]:
    return {"project": _known(service, call.data["project"])}


def _known(service: Service, project: str) -> Document:
    found = service.documents.get(PROJECT, project)
    if found is None:
        raise unknown(project)
    return found


def get_all(service: Service, call: Call) -> Mapping[str, Any]:
    found = docs.found(service, call, PROJECT)
    found = docs.unhidden(call, found)
    if call.data.get("shallow_search"):
        found = [one for one in found if not one.get("parent")]
    page, more = docs.page(service, call, found)
    return {"projects": [docs.shown(call, one) for one in page], **more}


def update(service: Service, call: Call) -> Mapping[str, Any]:
    """Also another last name, with which the names of the projects below change; ApiError 400/408 for another place."""
    fields = docs.given(call, EDITABLE)
    key = call.data["project"]
    project = _known(service, key)
    if "name" in fields:
        fields["name"] = _cleaned(fields["name"])
        place, _, fields["basename"] = fields["name"].rpartition("/")
        if place != project["name"].rpartition("/")[0]:
            raise ApiError(
                400, 408, f"Cannot update project location. Use projects.move instead: name={fields['name']}"
            )
    told = {**fields, "last_update": docs.iso(call.now_ms)}
    docs.change(service, PROJECT, key, lambda one: {**one, **told}, lambda: unknown(key))
    for below in _below(service, key) if "name" in fields else ():
        renamed = {"name": fields["name"] + below["name"].removeprefix(project["name"])}
        service.documents.change(PROJECT, below["id"], partial(docs.merged, fields=renamed))
    return {"updated": 1, "fields": told}


def _below(service: Service, project: str) -> list[Document]:
    return [one for one in service.documents.find(PROJECT) if project in one.get("path", ())]


def delete(service: Service, call: Call) -> Mapping[str, Any]:
    """The project and those below; the tasks and models in them stay, outside of any, where ``force`` says so."""
    project = _known(service, call.data["project"])
    deleted = [project["id"], *(below["id"] for below in _below(service, project["id"]))]
    inside = {kind: _inside(service, kind, deleted) for kind in (TASK, MODEL)}
    for kind, code in ((TASK, 402), (MODEL, 405)):
        if not call.data.get("force") and any("archived" not in member["system_tags"] for member in inside[kind]):
            raise ApiError(400, code, f"Project has associated {kind}s (use force=true): id={project['id']}")
    for kind, members in inside.items():
        for member in members:
            service.documents.change(kind, member["id"], _outside)
    for key in deleted:
        service.documents.remove(PROJECT, key)
    counts = {"disassociated_tasks": len(inside[TASK]), "deleted_models": 0, "deleted_tasks": 0}
    return {"deleted": len(deleted), **counts, "urls": None}


def _inside(service: Service, kind: str, projects: list[str]) -> list[Document]:
    return [document for document in service.documents.find(kind) if document.get("project") in projects]


def _outside(document: Document) -> Document:
    return {name: value for name, value in document.items() if name != "project"}


def tags_of(kind: str) -> Any:
    """Answers with all tags of tasks, or models, of these projects."""

    def answer(service: Service, call: Call) -> Mapping[str, Any]:
        projects = call.data.get("projects")
        found = [one for one in service.documents.find(kind) if not projects or one.get("project") in projects]
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
