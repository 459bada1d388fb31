"""What ``ray.workflow`` answers (Ray 2.47 and earlier), from its storage without Ray: the same keys, values, errors.

Rules: Ray 2.47.1, ``workflow_storage.py`` (load_workflow_metadata, load_task_metadata, list_workflow). ValueError is
the built-in one, with Ray's own words, as ``ray.workflow.get_metadata`` raises it. Other trouble is a ConfigError.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NoReturn

from otel_events.model.errors import RunNotFound
from otel_events.sources.ray_workflow.files import Files, key, read_json

STATUSES = ("RUNNING", "CANCELED", "SUCCESSFUL", "FAILED", "RESUMABLE", "PENDING")
INDEX = "__status__"
DIRTY = "dirty"

META, USER = "workflow_meta.json", "user_run_metadata.json"
BEGUN, ENDED = "pre_run_metadata.json", "post_run_metadata.json"
TASKS, INPUTS, OUTPUTS = "tasks", "inputs.json", "outputs.json"
TASK_BEGUN, TASK_ENDED = "pre_task_metadata.json", "post_task_metadata.json"
EXCEPTION = "exception.pkl"


def no_workflow(workflow_id: str) -> NoReturn:
    raise ValueError(f"No such workflow_id '{workflow_id}'")


def no_task(task_id: str, workflow_id: str) -> NoReturn:
    raise ValueError(f"No such task_id '{task_id}' in workflow '{workflow_id}'")


def get_metadata(files: Files, workflow_id: str, task_id: str | None = None) -> dict[str, Any]:
    """Ray's answer. A workflow: status (where known), user_metadata, stats. A task: task_id, task_options,
    user_metadata, workflow_refs (where its inputs can be read), stats. ValueError for an unknown id."""
    folder = key(workflow_id)
    if folder is None:
        no_workflow(workflow_id)
    return _workflow(files, folder, workflow_id) if task_id is None else _task(files, folder, workflow_id, task_id)


def _workflow(files: Files, folder: str, workflow_id: str) -> dict[str, Any]:
    if not files.names(folder):
        no_workflow(workflow_id)
    metadata = read_json(files, f"{folder}/{META}")
    metadata["user_metadata"] = read_json(files, f"{folder}/{USER}")
    metadata["stats"] = {**read_json(files, f"{folder}/{BEGUN}"), **read_json(files, f"{folder}/{ENDED}")}
    return metadata


def _task(files: Files, folder: str, workflow_id: str, task_id: str) -> dict[str, Any]:
    place = key(folder, TASKS, task_id)
    if place is None or not files.names(place):
        if not files.names(folder):
            no_workflow(workflow_id)
        no_task(task_id, workflow_id)
    metadata = read_json(files, f"{place}/{INPUTS}")
    metadata["stats"] = {**read_json(files, f"{place}/{TASK_BEGUN}"), **read_json(files, f"{place}/{TASK_ENDED}")}
    return metadata


def get_status(files: Files, workflow_id: str) -> str:
    """The status in the storage. Ray's own says RESUMABLE of one that is RUNNING or PENDING here while no driver works
    on it, which only Ray knows. RunNotFound for an unknown id, or one without a status."""
    folder = key(workflow_id)
    status = status_of(files, folder) if folder else ""
    if not status:
        raise RunNotFound(f"Workflow[id={workflow_id}] was referenced but doesn't exist.")
    return status


def status_of(files: Files, folder: str) -> str:
    """The status in a workflow's folder; "" for none that is known."""
    status = read_json(files, f"{folder}/{META}").get("status")
    return status if status in STATUSES else ""


def list_all(files: Files, status_filter: Collection[str] | str | None = None) -> list[tuple[str, str]]:
    """(workflow id, status) of the index, in the order of STATUSES and ids; those whose update was cut off by what
    their folder says. Unlike Ray's, it holds ids with ``/`` too. ValueError for a word that is no status."""
    wanted = statuses(status_filter)
    index = {workflow_id: status for workflow_id, (status, _) in indexed(files).items()}
    return sorted(
        ((workflow_id, status) for workflow_id, status in index.items() if status in wanted),
        key=lambda pair: (STATUSES.index(pair[1]), pair[0]),
    )


def statuses(status_filter: Collection[str] | str | None) -> Collection[str]:
    """The words of a filter, all where it is None. ValueError for one that is no status."""
    wanted = [status_filter] if isinstance(status_filter, str) else STATUSES if status_filter is None else status_filter
    for word in wanted:
        if word not in STATUSES:
            raise ValueError(f"'{word}' is not a valid WorkflowStatus: one of {', '.join(STATUSES)}")
    return wanted


def indexed(files: Files) -> dict[str, tuple[str, int]]:
    """Workflow id -> (status, when the index was told, ns), of ``__status__`` and what is marked as dirty there."""
    statuses_by_id: dict[str, tuple[str, int]] = {}
    dirty: list[tuple[str, int]] = []
    for path, written in files.walk(INDEX):
        status, _, workflow_id = path.partition("/")
        if status == DIRTY:
            dirty.append((workflow_id, written))
        elif status in STATUSES and (workflow_id not in statuses_by_id or written > statuses_by_id[workflow_id][1]):
            statuses_by_id[workflow_id] = status, written
    for workflow_id, written in dirty:
        statuses_by_id.pop(workflow_id, None)
        if (place := key(workflow_id)) and (status := status_of(files, place)):
            statuses_by_id[workflow_id] = status, written
    return statuses_by_id
