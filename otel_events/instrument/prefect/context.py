"""The current run of Prefect, from Prefect's own context: in its threads and coroutines, too."""

from __future__ import annotations

import sys
from typing import Any

from otel_events.inprocess.faults import fault
from otel_events.model.event import Run
from otel_events.model.identity import is_sampled, parse_traceparent
from otel_events.sources.prefect.fields import PARENTS, SOURCE, TRACEPARENT
from otel_events.sources.prefect.states import stable_name
from otel_events.tasks.context import DynamicContext


def prefect_run() -> Any:
    """Prefect's current FlowRun or TaskRun, None outside of any."""
    context = sys.modules.get("prefect.context")
    if context is None:
        return None
    flow, task = context.FlowRunContext.get(), context.TaskRunContext.get()
    flow_run = getattr(flow, "flow_run", None)
    if task is not None and (flow_run is None or task.task_run.flow_run_id == flow_run.id):
        return task.task_run
    return flow_run  # a flow that was called by a task: its context is the inner one


def current_run() -> Run | None:
    """The same, as the decoder of Prefect's events makes it. Attempts are not numbered, as in Prefect's events."""
    try:
        run = prefect_run()
        if run is None:
            return None
        return task_run(run) if hasattr(run, "task_key") else flow_run(run.id, _flow_name(run.id))
    except Exception as error:  # noqa: BLE001  # called from anywhere in the host (law 5)
        fault("the run of Prefect's that is at hand", error)
        return None


def flow_run(id_: Any, name: str) -> Run:
    """The run of a flow run: a root."""
    return Run(SOURCE, "workflow", str(id_), name, str(id_), attempt=0, workflow=name)


def task_run(task: Any) -> Run:
    """Under the task that called it, else under its flow run; without one a root of its own."""
    own, root, name = str(task.id), str(task.flow_run_id or ""), stable_name(task.task_key)
    if not root:
        return Run(SOURCE, "task", own, name, own, None, 0)
    caller = next((str(run.id) for run in (task.task_inputs or {}).get(PARENTS, ()) if hasattr(run, "id")), "")
    workflow = _flow_name(task.flow_run_id)
    return Run(SOURCE, "task", own, name, root, caller or root, 0, "", workflow, "task" if caller else "workflow")


def _flow_name(id_: Any) -> str:
    """Of the current flow run, if it has this id; "" where only the server knows it."""
    context = sys.modules["prefect.context"].FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.id != id_:
        return ""
    return str(getattr(context.flow, "name", "") or "")


class CurrentPrefectRun(DynamicContext):
    """The current run of Prefect; its span is Prefect's own where Prefect's telemetry made one."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(current_run)

    @property
    def trace_id(self) -> bytes:
        """Of Prefect's span, if there is one."""
        ids = self._prefect_span()
        return ids[0] if ids else super().trace_id

    @property
    def span_id(self) -> bytes:
        """Of Prefect's span, if there is one."""
        ids = self._prefect_span()
        return ids[1] if ids else super().span_id

    def _prefect_span(self) -> tuple[bytes, bytes] | None:
        text = getattr(prefect_run(), "labels", {}).get(TRACEPARENT)
        return parse_traceparent(text) if isinstance(text, str) and is_sampled(text) else None
