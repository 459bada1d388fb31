"""The parts of a task: artifacts, models, hyper parameters and configurations, which calls change one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from otel_events.clearml_server.api import documents as docs
from otel_events.clearml_server.api.base import TASK, Call, Endpoint, Field, Service, failed_validation
from otel_events.clearml_server.api.filters import Document
from otel_events.clearml_server.api.transitions import FORCE, ID, unknown, updatable

Change = Callable[[Document], Document]
PROPERTIES = "properties"
"""The section of hyper parameters that may be changed at any time: notes of users about a task."""


def _change(service: Service, call: Call, change: Change, settled: bool = True) -> Document:
    """Change a task. ``settled``: refuse it once the task has ended (ApiError 400/110)."""
    task = call.data["task"]

    def checked(document: Document) -> Document:
        if settled:
            updatable(document, call)
        return change(document)

    return docs.change(service, TASK, task, checked, lambda: unknown(service, task))


# --- lists within a task ---------------------------------------------------------------------------------------------


def add_or_update_artifacts(service: Service, call: Call) -> Mapping[str, Any]:
    """Add artifacts to a task; one of the same key and mode is replaced."""
    new_ones = docs.artifacts(call.data["artifacts"])
    places = {(artifact["key"], artifact["mode"]) for artifact in new_ones}

    def change(task: Document) -> Document:
        return _with_artifacts(call, task, [*_other_artifacts(task, places), *new_ones])

    _change(service, call, change)
    return {"updated": 1}


def delete_artifacts(service: Service, call: Call) -> Mapping[str, Any]:
    """Delete artifacts of a task by key and mode."""
    places = {
        (artifact.get("key"), artifact.get("mode", docs.OUTPUT))
        for artifact in call.data["artifacts"]
        if isinstance(artifact, dict)
    }
    _change(service, call, lambda task: _with_artifacts(call, task, _other_artifacts(task, places)))
    return {"deleted": 1}


def _other_artifacts(task: Document, places: set[tuple[Any, Any]]) -> list[Document]:
    have = task["execution"].get("artifacts") or []
    return [artifact for artifact in have if (artifact.get("key"), artifact.get("mode", docs.OUTPUT)) not in places]


def _with_artifacts(call: Call, task: Document, artifacts: list[Document]) -> Document:
    return {**task, "execution": {**task["execution"], "artifacts": artifacts}, **docs.touched(call)}


def add_or_update_model(service: Service, call: Call) -> Mapping[str, Any]:
    """Name a model among the inputs or outputs of a task; one of the same name is replaced."""
    side, name = call.data["type"], call.data["name"]
    entry = {"name": name, "model": call.data["model"], "updated": docs.iso(call.now_ms)}

    def change(task: Document) -> Document:
        models = task["models"]
        rest = [model for model in models.get(side) or [] if model.get("name") != name]
        return {**task, "models": {**models, side: [*rest, entry]}, **docs.touched(call)}

    _change(service, call, change, settled=False)
    return {"updated": 1}


def delete_models(service: Service, call: Call) -> Mapping[str, Any]:
    """Take models out of the inputs and outputs of a task, by name."""
    gone = {(model.get("type"), model.get("name")) for model in call.data["models"] if isinstance(model, dict)}

    def change(task: Document) -> Document:
        models = {
            side: [model for model in entries if (side, model.get("name")) not in gone]
            for side, entries in task["models"].items()
        }
        return {**task, "models": models, **docs.touched(call)}

    _change(service, call, change, settled=False)
    return {"updated": 1}


# --- hyper parameters and configurations -----------------------------------------------------------------------------


def get_hyper_params(service: Service, call: Call) -> Mapping[str, Any]:
    """The hyper parameters of several tasks, as lists."""
    tasks = service.documents.find(TASK, ids=call.data["tasks"])
    return {"params": [{"task": task["id"], "hyperparams": _items(task["hyperparams"])} for task in tasks]}


def _items(sections: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    return [item for _, section in sorted(sections.items()) for _, item in sorted(section.items())]


def edit_hyper_params(service: Service, call: Call) -> Mapping[str, Any]:
    """Set hyper parameters of a task, and drop the others as ``replace_hyperparams`` says."""
    items = [_parameter(parameter) for parameter in call.data["hyperparams"]]
    replace = call.data.get("replace_hyperparams", "none")

    def change(task: Document) -> Document:
        sections = {} if replace == "all" else {name: dict(section) for name, section in task["hyperparams"].items()}
        for name in {item["section"] for item in items} if replace == "section" else ():
            sections[name] = {}
        for item in items:
            sections.setdefault(item["section"], {})[item["name"]] = item
        return {**task, "hyperparams": sections, **docs.touched(call)}

    _change(service, call, change, not _notes(items))
    return {"updated": 1}


def _notes(items: Iterable[Document]) -> bool:
    """Whether all are properties."""
    return all(item.get("section") == PROPERTIES for item in items)


def _parameter(parameter: Any) -> Document:
    if (
        isinstance(parameter, dict)
        and isinstance(parameter.get("section"), str)
        and isinstance(parameter.get("name"), str)
    ):
        return parameter
    raise failed_validation("error for field 'hyperparams'. each needs a section and a name")


def delete_hyper_params(service: Service, call: Call) -> Mapping[str, Any]:
    """Delete hyper parameters of a task: single ones, or whole sections."""
    gone = [parameter for parameter in call.data["hyperparams"] if isinstance(parameter, dict)]
    sections = {parameter.get("section") for parameter in gone if not parameter.get("name")}
    items = {(parameter.get("section"), parameter.get("name")) for parameter in gone}

    def change(task: Document) -> Document:
        left = {
            name: {key: item for key, item in section.items() if (name, key) not in items}
            for name, section in task["hyperparams"].items()
            if name not in sections
        }
        return {
            **task,
            "hyperparams": {name: section for name, section in left.items() if section},
            **docs.touched(call),
        }

    _change(service, call, change, not _notes(gone))
    return {"deleted": 1}


def get_configurations(service: Service, call: Call) -> Mapping[str, Any]:
    """The configurations of several tasks, all or by name."""
    names = call.data.get("names")
    return {
        "configurations": [
            {
                "task": task["id"],
                "configuration": [
                    item for name, item in sorted(task["configuration"].items()) if not names or name in names
                ],
            }
            for task in service.documents.find(TASK, ids=call.data["tasks"])
        ]
    }


def get_configuration_names(service: Service, call: Call) -> Mapping[str, Any]:
    """The names of the configurations of several tasks."""
    tasks = service.documents.find(TASK, ids=call.data["tasks"])
    return {"configurations": [{"task": task["id"], "names": sorted(task["configuration"])} for task in tasks]}


def edit_configuration(service: Service, call: Call) -> Mapping[str, Any]:
    """Set configurations of a task; with ``replace_configuration`` the others are dropped."""
    named = [
        item for item in call.data["configuration"] if isinstance(item, dict) and isinstance(item.get("name"), str)
    ]
    items = {item["name"]: item for item in named}

    def change(task: Document) -> Document:
        have = {} if call.data.get("replace_configuration") else task["configuration"]
        return {**task, "configuration": {**have, **items}, **docs.touched(call)}

    _change(service, call, change)
    return {"updated": 1}


def delete_configuration(service: Service, call: Call) -> Mapping[str, Any]:
    """Delete configurations of a task by name."""
    gone = call.data["configuration"]

    def change(task: Document) -> Document:
        left = {name: item for name, item in task["configuration"].items() if name not in gone}
        return {**task, "configuration": left, **docs.touched(call)}

    _change(service, call, change)
    return {"deleted": 1}


NAME = Field("name", required=True)
TASKS = Field("tasks", list, required=True, low=1)
ARTIFACTS = Field("artifacts", list, required=True)
SIDE = Field("type", choices=("input", "output"), type_name="modeltypeenum", required=True)
REPLACE = Field(
    "replace_hyperparams", choices=("none", "section", "all"), type_name="replacehyperparams", default="none"
)

ENDPOINTS = (
    Endpoint("tasks.add_or_update_artifacts", "2.10", add_or_update_artifacts, (ID, ARTIFACTS, FORCE), records=True),
    Endpoint("tasks.delete_artifacts", "2.10", delete_artifacts, (ID, ARTIFACTS, FORCE)),
    Endpoint("tasks.add_or_update_model", "2.13", add_or_update_model, (ID, NAME, SIDE, Field("model", required=True))),
    Endpoint("tasks.delete_models", "2.13", delete_models, (ID, Field("models", list, required=True))),
    Endpoint("tasks.get_hyper_params", "2.9", get_hyper_params, (TASKS,)),
    Endpoint(
        "tasks.edit_hyper_params",
        "1.0",
        edit_hyper_params,
        (ID, Field("hyperparams", list, required=True), REPLACE, FORCE),
    ),
    Endpoint(
        "tasks.delete_hyper_params", "2.9", delete_hyper_params, (ID, Field("hyperparams", list, required=True), FORCE)
    ),
    Endpoint("tasks.get_configurations", "2.9", get_configurations, (TASKS, Field("names", list))),
    Endpoint("tasks.get_configuration_names", "2.9", get_configuration_names, (TASKS,)),
    Endpoint(
        "tasks.edit_configuration",
        "2.9",
        edit_configuration,
        (ID, Field("configuration", list, required=True), Field("replace_configuration", bool), FORCE),
    ),
    Endpoint(
        "tasks.delete_configuration",
        "2.9",
        delete_configuration,
        (ID, Field("configuration", list, required=True), FORCE),
    ),
)
