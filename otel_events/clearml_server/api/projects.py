"""projects.*: folders of tasks and models, by name; ``a/b`` lies in ``a``, which is created with it."""

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
    """The error for a project that does not exist."""
    return ApiError(400, 401, f"Invalid project id: id={project}")


def create(service: Service, call: Call) -> Mapping[str, Any]:
    """Create a project, and those above it in its name; ApiError 400/801 where it exists."""
    name = _cleaned(call.data["name"])
    if service.documents.find(PROJECT, where={"name": name}):
        raise ApiError(400, 801, f"Project with the same name already exists: name={name}, company={call.company}")
    project = _new(service, call, name)
    service.documents.put(PROJECT, project["id"], project | docs.sent_fields(call, EDITABLE[1:]))
    return {"id": project["id"]}


def _cleaned(name: str) -> str:
    """The name without empty parts. ApiError 400/407 where nothing is left, 400/409 where it is too deep."""
    parts = [part.strip() for part in name.split("/") if part]
    if not any(parts):
        raise ApiError(400, 407, f"Invalid project name: name={name[:100]}")
    if len(parts) > DEEPEST:
        raise ApiError(400, 409, f"Project path exceed the maximum allowed depth: max_depth={DEEPEST}")
    return "/".join(parts)


def named(service: Service, call: Call, name: str) -> str:
    """The id of the project of that name, which is created if there is none; "" for no name."""
    if not name.strip("/"):
        return ""
    name = _cleaned(name)
    projects = service.documents.find(PROJECT, where={"name": name})
    if projects:
        return str(projects[0]["id"])
    project = _new(service, call, name)
    service.documents.put(PROJECT, project["id"], project)
    return str(project["id"])


def _new(service: Service, call: Call, name: str) -> Document:
    above, _, last = name.rpartition("/")
    project = docs.fresh(call, name) | {"basename": last, "description": "", "featured": _FEATURED, "path": []}
    if above:
        parent = service.documents.get(PROJECT, named(service, call, above)) or {}
        project |= {"parent": parent.get("id"), "path": [*parent.get("path", ()), parent.get("id")]}
    return project


def get_by_id(service: Service, call: Call) -> Mapping[str, Any]:
    """One project."""
    return {"project": _existing(service, call.data["project"])}


def _existing(service: Service, project: str) -> Document:
    document = service.documents.get(PROJECT, project)
    if document is None:
        raise unknown(project)
    return document


def get_all(service: Service, call: Call) -> Mapping[str, Any]:
    """Projects by filters; with ``shallow_search`` only those at the top."""
    projects = docs.unhidden(call, docs.matching(service, call, PROJECT))
    if call.data.get("shallow_search"):
        projects = [project for project in projects if not project.get("parent")]
    page, more = docs.page(service, call, projects)
    return {"projects": [docs.shown(call, project) for project in page], **more}


def update(service: Service, call: Call) -> Mapping[str, Any]:
    """Change a project. A new last part of its name changes the names of the projects below as well; ApiError 400/408
    for a name in another place."""
    fields = docs.sent_fields(call, EDITABLE)
    key = call.data["project"]
    project = _existing(service, key)
    if "name" in fields:
        fields["name"] = _cleaned(fields["name"])
        place, _, fields["basename"] = fields["name"].rpartition("/")
        if place != project["name"].rpartition("/")[0]:
            raise ApiError(
                400, 408, f"Cannot update project location. Use projects.move instead: name={fields['name']}"
            )
    changes = {**fields, "last_update": docs.iso(call.now_ms)}
    docs.change(service, PROJECT, key, lambda document: {**document, **changes}, lambda: unknown(key))
    for below in _below(service, key) if "name" in fields else ():
        renamed = {"name": fields["name"] + below["name"].removeprefix(project["name"])}
        service.documents.change(PROJECT, below["id"], partial(docs.merged, fields=renamed))
    return {"updated": 1, "fields": changes}


def _below(service: Service, project: str) -> list[Document]:
    return [document for document in service.documents.find(PROJECT) if project in document.get("path", ())]


def delete(service: Service, call: Call) -> Mapping[str, Any]:
    """The project and those below; the tasks and models in them stay, outside of any, where ``force`` says so."""
    project = _existing(service, call.data["project"])
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
    """An answer with all tags of the tasks, or models, of some projects."""

    def answer(service: Service, call: Call) -> Mapping[str, Any]:
        projects = call.data.get("projects")
        documents = service.documents.find(kind)
        inside = [document for document in documents if not projects or document.get("project") in projects]
        names = ("tags", "system_tags") if call.data.get("include_system") else ("tags",)
        return {name: sorted({tag for document in inside for tag in document[name]}) for name in names}

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
