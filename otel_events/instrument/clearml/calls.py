"""The SDK's calls of the API: phases and artifacts of tasks, decoded as the gateway decodes the same calls.

Every call goes through the wrapped ``send``, also in offline mode, where it does nothing. Nothing here raises.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import msgspec

from otel_events.inprocess.faults import fault
from otel_events.inprocess.queue import emit
from otel_events.instrument.clearml import reports
from otel_events.model.event import Run
from otel_events.sources.clearml import tasks as clearml_tasks
from otel_events.sources.clearml.fields import Call, string, task_run

SERVICE = "tasks"
ENDPOINTS = frozenset({*clearml_tasks.STATUS, "tasks.add_or_update_artifacts"} - {"tasks.create", "tasks.clone"})
"""Calls that make events. Not those that create a task: it has no run before it begins."""
ACCEPTED = (200, 202)
_FACTS = ("type", "project", "tags", "parent")
"""Members of a task that go with its beginning."""


def sent(original: Callable[..., Any]) -> Callable[..., Any]:
    """``InterfaceBase.send``: an event is emitted when the server has accepted the call."""

    @wraps(original)
    def send(self: Any, req: Any, *args: Any, **kwargs: Any) -> Any:
        answer = original(self, req, *args, **kwargs)
        try:
            endpoint = f"{getattr(req, '_service', '')}.{getattr(req, '_action', '')}"
            if endpoint in ENDPOINTS and _accepted(answer):
                _emit(self, endpoint, req, answer)
        except Exception as error:  # noqa: BLE001  # the task goes on, without this event (law 5)
            fault("a call of ClearML's SDK", error)
        return answer

    return send


def _accepted(answer: Any) -> bool:
    """Whether the server accepted the call; offline there is no answer, and everything counts."""
    return answer is None or answer.meta.result_code in ACCEPTED


def _emit(task: Any, endpoint: str, req: Any, answer: Any) -> None:
    body = {name: value for name, value in req.to_dict().items() if value is not None}
    id_ = string(body.get("task")) or string(task.id)
    name = name_of(task) if task.id == id_ else ""
    if endpoint == "tasks.started":
        body = _facts(task) | body
    response = getattr(answer, "response", None)
    data = {part: value for part in ("fields", "updated") if (value := getattr(response, part, None)) is not None}
    call = Call(endpoint, time.time_ns(), {**body, "task": id_}, data)
    reports.flush()
    for event in clearml_tasks.decode(call):
        emit(msgspec.structs.replace(event, run=task_run(id_, name)))


def _facts(task: Any) -> dict[str, Any]:
    """As they are in this process: the server is not asked."""
    data = getattr(task, "_data", None)
    return {name: value for name in _FACTS if (value := getattr(data, name, None))}


def name_of(task: Any) -> str:
    """The task's name as it is in this process, "" where it is not there."""
    return string(getattr(getattr(task, "_data", None), "name", ""))


# --- the main task ---------------------------------------------------------------------------------------------------

_main: tuple[str, Run | None] = ("", None)


def main_run() -> Run | None:
    """The run of this process's main task, the one of ``Task.init``; None before and after it. Raises nothing."""
    global _main
    try:
        module: Any = sys.modules.get("clearml.task")
        main = getattr(module.Task, "_Task__main_task", None) if module is not None else None
        id_ = string(vars(main).get("_id")) if main is not None else ""
        if not id_:
            return None
        if _main[0] != id_:
            _main = id_, task_run(id_, name_of(main))
        return _main[1]
    except Exception as error:  # noqa: BLE001  # another version may hold it elsewhere
        fault("the main task of ClearML's SDK", error)
        return None
