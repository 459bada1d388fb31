"""What is called in place of flytekit's own functions: the same call, seen as a run. (flytekit 1.16; where each is
called from is in docs/instrument.md.)"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any

from otel_events.inprocess.context import caller_span
from otel_events.inprocess.faults import fault
from otel_events.instrument.flytekit import runs
from otel_events.instrument.flytekit.calls import Call, current_frame
from otel_events.instrument.flytekit.runs import Frame
from otel_events.model.event import Kind, Scalar
from otel_events.tasks.context import current_context
from otel_events.tasks.runs import TRACEPARENT as PARENT

Function = Callable[..., Any]
MOMENTS_LIMIT = 128

_launch_plan: ContextVar[str] = ContextVar("otel_events_launch_plan", default="")


def _observed(
    original: Function, begin: Callable[[Any], Call | None], end: Callable[[Any, Call, BaseException | None], None]
) -> Function:
    """``original`` as a run: ``begin`` makes it (None: it is no run), ``end`` is called with its error."""

    @wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            run = begin(self)
        except Exception as error:  # noqa: BLE001  # an error of ours: the host's call goes on
            fault(f"the run of {original.__qualname__}", error)
            run = None
        if run is None:
            return original(self, *args, **kwargs)
        try:
            result = original(self, *args, **kwargs)
        except BaseException as error:
            _end(original, end, self, run, error)
            raise
        _end(original, end, self, run, None)
        return result

    return call


def _end(original: Function, end: Any, entity: Any, run: Call, error: BaseException | None) -> None:
    try:
        end(entity, run, error)
    except Exception as failure:  # noqa: BLE001  # an error of ours: the host's call goes on
        fault(f"the end of {original.__qualname__}", failure)


# --- workflows, launch plans, gates: a run without a task ------------------------------------------------------------


def workflow(original: Function) -> Function:
    """``WorkflowBase.local_execute``: the outermost is a workflow run, one within another a node."""
    return _observed(original, _begin_workflow, _end_plain)


def _begin_workflow(entity: Any) -> Call:
    attributes: dict[str, Scalar] = {"flyte.workflow": entity.name}
    if plan := _launch_plan.get():
        attributes["flyte.launch_plan"] = plan
        _launch_plan.set("")  # of this workflow, not of those within
    return _within(entity.name, attributes) or _outermost("workflow", entity.name, attributes)


def _within(name: str, attributes: dict[str, Scalar]) -> Call | None:
    """A node of the current run; None where that is not flytekit's."""
    context = current_context()
    above = context.run
    if above is None or above.source != runs.SOURCE:
        return None
    return Call(Frame(runs.node(above, current_frame(), name)), attributes, context.trace)


def _outermost(kind: Kind, name: str, attributes: dict[str, Scalar]) -> Call:
    """The root of a trace; or in the trace of the current run of another source, or of the user's own span."""
    outer, trace = caller_span()
    if outer:
        attributes[PARENT] = outer
    return Call(Frame(runs.outermost(kind, name), moments=kind == "task"), attributes, trace)


def _end_plain(entity: Any, call: Call, error: BaseException | None) -> None:
    call.end(error, {})


def launch_plan(original: Function) -> Function:
    """``LaunchPlan.__call__``, which only calls its workflow: the name of the plan becomes an attribute of that."""

    @wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        token = _launch_plan.set(self.name)
        try:
            return original(self, *args, **kwargs)
        finally:
            _launch_plan.reset(token)

    return call


def node(original: Function) -> Function:
    """``Gate``, ``ArrayNode`` and ``ReferenceEntity.local_execute``: a node that runs no task of its own."""
    return _observed(original, _begin_node, _end_plain)


def _begin_node(entity: Any) -> Call | None:
    return _within(entity.name, {})


# --- tasks ------------------------------------------------------------------------------------------------------------


def task_node(original: Function) -> Function:
    """``Task.local_execute``: the node of a task, in which its cache is read; outside of any run the task itself."""
    return _observed(original, _begin_task_node, _end_task_node)


def _begin_task_node(entity: Any) -> Call:
    return _within(entity.name, {}) or _outermost("task", entity.name, {"flyte.task.type": entity.task_type})


def _end_task_node(entity: Any, call: Call, error: BaseException | None) -> None:
    attributes: dict[str, Scalar] = {}
    if entity.metadata.cache:
        attributes = _cache(call.frame.called, error)
    call.end(error, attributes, stack=call.frame.run.kind == "task")


def _cache(called: bool, error: BaseException | None) -> dict[str, Scalar]:
    """A hit where the task was not called, else populated where it succeeded. A call counts as populated also where
    flytekit's local cache is off or overwritten: flytekit does not say so here, and reading its configuration is
    slow."""
    if called:
        return {"otel_events.cache.status": "miss" if error else "populated"}
    return {} if error else {"otel_events.cache.status": "hit", "otel_events.reused": True}


def task(original: Function) -> Function:
    """``Task.sandbox_execute``: the task of a node, called when the cache has no result."""
    return _observed(original, _begin_task, _end_task)


def _begin_task(entity: Any) -> Call | None:
    frame = current_frame()
    if frame is None:
        return None
    frame.called = True
    if frame.run.kind != "node":  # outside of any run: it is the task already
        return None
    frame_of_task = Frame(runs.task(frame.run, entity.name), moments=True)
    return Call(frame_of_task, {"flyte.task.type": entity.task_type}, current_context().trace)


def _end_task(entity: Any, call: Call, error: BaseException | None) -> None:
    call.end(error, {}, stack=True)


def timed(original: Function) -> Function:
    """``TimeLineDeck.append_time_info``: a phase of the task under way, as ``timeit`` measured it. (flytekit gathers
    these whether or not the task has a deck.)"""

    @wraps(original)
    def append(self: Any, info: Any) -> Any:
        frame = current_frame()
        if frame is not None and frame.moments is not None and len(frame.moments) < MOMENTS_LIMIT:
            frame.moments.append(info)
        return original(self, info)

    return append


# --- map tasks --------------------------------------------------------------------------------------------------------


def mapped(original: Function) -> Function:
    """``ArrayNodeMapTask._raw_execute``, with a view of the task whose ``_run_task`` makes each element a run: also
    those whose failure ``min_success_ratio`` swallows. The map task itself, which threads share, is not touched."""

    @wraps(original)
    def call(self: Any, **kwargs: Any) -> Any:
        frame = current_frame()
        return original(_Mapped(self, frame), **kwargs) if frame is not None else original(self, **kwargs)

    return call


class _Mapped:
    def __init__(self, task: Any, frame: Frame) -> None:
        self._map_task = task
        self._run_task = _Elements(task._run_task, frame)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._map_task, name)


class _Elements:
    """Stands in for the task that is mapped: each ``execute`` is the next element."""

    def __init__(self, task: Any, frame: Frame) -> None:
        self._task, self._frame, self._next = task, frame, itertools.count()
        self.execute = _observed(type(task).execute, self._begin, _end_task).__get__(task)

    def _begin(self, task: Any) -> Call:
        run = runs.element(self._frame.run, next(self._next))
        return Call(Frame(run, moments=True), {}, current_context().trace)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)
