"""The run of Prefect's that is at hand, as Prefect's own context has it: in its threads and coroutines, too."""

from __future__ import annotations

import sys
from typing import Any

from otel_events.inprocess.context import Asked
from otel_events.inprocess.queue import fault
from otel_events.model.event import Run
from otel_events.model.identity import is_sampled, parse_traceparent
from otel_events.sources.prefect.fields import PARENTS, SOURCE, TRACEPARENT
from otel_events.sources.prefect.states import stable_name


def prefect_run() -> Any:
    """Prefect's own FlowRun or TaskRun at hand, None outside of any."""
    context = sys.modules.get("prefect.context")
    if context is None:
        return None
    flow, task = context.FlowRunContext.get(), context.TaskRunContext.get()
    of = getattr(flow, "flow_run", None)
    if task is not None and (of is None or task.task_run.flow_run_id == of.id):
        return task.task_run
    return of  # a flow that was called by a task: its context is the inner one


def at_hand() -> Run | None:
    """The same, as the decoder of Prefect's events knows it. Attempts are not numbered: Prefect's events are not."""
    try:
        found = prefect_run()
        if found is None:
            return None
        return task_run(found) if hasattr(found, "task_key") else flow_run(found.id, _flow_name(found.id))
    except Exception as error:  # noqa: BLE001  # asked from anywhere in the host (law 5)
        fault("the run of Prefect's that is at hand", error)
        return None


def flow_run(id_: Any, name: str) -> Run:
    return Run(SOURCE, "workflow", str(id_), name, str(id_), attempt=0, workflow=name)


def task_run(task: Any) -> Run:
    """Under the task that called it, else under its flow run; without one a root of its own."""
    own, root, name = str(task.id), str(task.flow_run_id or ""), stable_name(task.task_key)
    if not root:
        return Run(SOURCE, "task", own, name, own, None, 0)
    caller = next((str(one.id) for one in (task.task_inputs or {}).get(PARENTS, ()) if hasattr(one, "id")), "")
    workflow = _flow_name(task.flow_run_id)
    return Run(SOURCE, "task", own, name, root, caller or root, 0, "", workflow, "task" if caller else "workflow")


def _flow_name(id_: Any) -> str:
    """Of the flow run at hand, if that is the one asked for; "" where only the server knows it."""
    context = sys.modules["prefect.context"].FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.id != id_:
        return ""
    return str(getattr(context.flow, "name", "") or "")


class RunAtHand(Asked):
    """The run at hand; its span is Prefect's own where Prefect's telemetry made one."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(at_hand)

    @property
    def trace_id(self) -> bytes:
        own = self._told()
        return own[0] if own else super().trace_id

    @property
    def span_id(self) -> bytes:
        own = self._told()
        return own[1] if own else super().span_id

    def _told(self) -> tuple[bytes, bytes] | None:
        text = getattr(prefect_run(), "labels", {}).get(TRACEPARENT)
        return parse_traceparent(text) if isinstance(text, str) and is_sampled(text) else None
