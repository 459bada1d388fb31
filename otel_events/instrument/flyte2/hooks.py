"""The calls of ``RunRecorder`` during a local run, as changes of phase. Nothing here raises (law 5).

A recorder belongs to one run; what is under way in the run is stored beside it, as long as it lives. The recorder does
not know the project of its run: the SDK's context does, from the start of the first action on.
"""

from __future__ import annotations

import sys
import threading
import time
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

from otel_events.inprocess.context import caller_span
from otel_events.inprocess.exceptions import error_of
from otel_events.inprocess.faults import fault
from otel_events.inprocess.queue import emit
from otel_events.instrument.flyte2 import runs
from otel_events.instrument.flyte2.runs import Action
from otel_events.model.event import Error, PhaseChange, Scalar

CACHE = "otel_events.cache.status"
PARENT = "otel_events.parent.traceparent"


class Recorded:
    """A run and its actions."""

    __slots__ = ("actions", "began", "lock", "name", "outer", "root")

    def __init__(self, name: str) -> None:
        self.name, self.began, self.outer = name, time.time_ns(), _outer()
        self.root: Action | None = None
        self.actions: dict[str, Action] = {}
        self.lock = threading.Lock()


BEFORE_RUN: list[Callable[[], None]] = []
"""Called when a run starts."""
_recorded: WeakKeyDictionary[Any, Recorded] = WeakKeyDictionary()
_under_way: dict[str, Action] = {}
"""Id of a run -> its action, for the observer."""


def observed(original: Callable[..., Any], observe: Callable[..., None]) -> Callable[..., Any]:
    """A method of ``RunRecorder``; ``observe`` is called first, with the same arguments."""

    @wraps(original)
    def call(self: Any, **kwargs: Any) -> Any:
        try:
            observe(self, **kwargs)
        except Exception as error:  # noqa: BLE001  # objects of flyte's, in the middle of the host's run
            fault("the instrumentation of flyte", error)
        return original(self, **kwargs)

    return call


def _outer() -> str:
    """W3C context of the span that the run is started in, "" where there is none."""
    return caller_span()[0]


def emit_phase(action: Action, phase: str, error: Error | None = None, when: int = 0) -> None:
    """A change of phase, now; an attempt goes into each phase once, so the id is unique."""
    run = action.run
    attributes: dict[str, Scalar] = dict(action.attributes)
    emit(
        PhaseChange(
            id=f"{run.id}:{run.attempt}:{phase}", time=when or time.time_ns(), run=run,
            attributes=attributes, phase=phase, native=phase.upper(), error=error,
        )
    )  # fmt: skip


# --- the run itself ---------------------------------------------------------------------------------------------------


_current_recorder: ContextVar[Any] = ContextVar("otel_events_flyte_recorder", default=None)
"""The recorder of the local run that this task of asyncio carries out."""


def interruptible(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The coroutine that carries out a local run. Where it is interrupted (Ctrl-C, cancelled), the SDK calls no method
    of the recorder."""

    @wraps(original)
    async def call(*args: Any, **kwargs: Any) -> Any:
        before = _current_recorder.set(None)
        try:
            return await original(*args, **kwargs)
        except (KeyboardInterrupt, CancelledError):
            try:
                _end(_current_recorder.get(), "", "cancelled")
            except Exception as error:  # noqa: BLE001  # objects of flyte's, in the middle of the host's run
                fault("the instrumentation of flyte", error)
            raise
        finally:
            _current_recorder.reset(before)

    return call


def root_start(recorder: Any, *, task_name: str) -> None:
    """A local run starts."""
    _recorded[recorder] = Recorded(task_name)
    _current_recorder.set(recorder)
    for call in BEFORE_RUN:
        call()


def _root(recorder: Any, recorded: Recorded) -> Action:
    """The run, whose first event is handed over when its project is known."""
    with recorded.lock:
        if recorded.root is None:
            context = _context()
            action = context.action if context is not None else _Unknown(recorder._run_name)
            ids = recorded.outer.split("-")
            trace = bytes.fromhex(ids[1]) if recorded.outer else b""
            recorded.root = Action(runs.root(action, recorded.name), trace)
            if recorded.outer:
                recorded.root.attributes[PARENT] = recorded.outer
            emit_phase(recorded.root, "running", when=recorded.began)
    return recorded.root


class _Unknown:
    """In place of the action of a run that ended before any started."""

    org = project = domain = run_name = None

    def __init__(self, name: str) -> None:
        self.name = name


def _context() -> Any:
    module = sys.modules.get("flyte._context")
    return module.internal_ctx().data.task_context if module is not None else None


def root_complete(recorder: Any) -> None:
    """A local run succeeded."""
    _end(recorder, None)


def root_failure(recorder: Any, *, error: str) -> None:
    """A local run failed."""
    _end(recorder, error)


def _end(recorder: Any, error: str | None, phase: str = "failed") -> None:
    """``error``: None where all went well; else what is still under way is cancelled with the run."""
    recorded = _recorded.pop(recorder, None) if recorder is not None else None
    if recorded is None:
        return
    root, actions = _root(recorder, recorded), list(recorded.actions.values())
    if error is None:
        emit_phase(root, "succeeded")
    else:
        for action in actions:
            if not action.ended:
                _ended(action, "cancelled", "miss")
        last = next((action.error for action in reversed(actions) if action.error is not None), None)
        emit_phase(root, phase, _error(last, error) if phase == "failed" else None)
    for action in actions:
        _under_way.pop(action.run.id, None)


# --- its actions ------------------------------------------------------------------------------------------------------


def start(
    recorder: Any, *, action_id: str, task_name: str, cache_enabled: bool = False, cache_hit: bool = False, **more: Any
) -> None:
    """An action of a task starts. Steps of ``flyte.trace``, which have an interface of their own, are no runs."""
    recorded, context = _recorded.get(recorder), _context()
    if recorded is None or context is None or more.get("trace_interface") is not None:
        return
    root = _root(recorder, recorded)
    running = context.task_action or context.action
    above = recorded.actions.get(running.name, root)
    run = runs.task(root.run, above.run, action_id, task_name)
    looked = cache_enabled and not more.get("disable_run_cache")
    action = recorded.actions[action_id] = _under_way[run.id] = Action(run, root.trace, looked, cache_hit)
    if more.get("group"):
        action.attributes["flyte.group"] = str(more["group"])
    emit_phase(action, "pending")


def attempt_start(recorder: Any, *, action_id: str, attempt_num: int) -> None:
    """The change to "running" is the observer's, which sees the span of Flyte's plug-in, if there is one."""
    action = _of(recorder, action_id)
    if action is not None:
        action.begin(attempt_num)


def attempt_complete(recorder: Any, *, action_id: str, attempt_num: int, **more: Any) -> None:
    """An attempt succeeded."""
    action = _of(recorder, action_id)
    if action is not None:
        _ended(action, "succeeded", "populated")


def attempt_failure(recorder: Any, *, action_id: str, attempt_num: int, error: str) -> None:
    """An attempt failed, or took too long."""
    action = _of(recorder, action_id)
    if action is not None:
        timed_out = type(action.error).__name__ in ("TimeoutError", "TaskTimeoutError")
        _ended(action, "timed_out" if timed_out else "failed", "miss", _error(action.error, error))


def failure(recorder: Any, *, action_id: str, error: str) -> None:
    """An action without attempts failed: a condition that was not met in time, or was withdrawn."""
    action = _of(recorder, action_id)
    if action is not None and not action.ended:
        _ended(action, "failed", "miss", _error(action.error, error))


def complete(recorder: Any, *, action_id: str, **more: Any) -> None:
    """An action without attempts succeeded: its result was in the cache."""
    action = _of(recorder, action_id)
    if action is not None and not action.ended:
        if action.hit:
            action.attributes["otel_events.reused"] = True
        _ended(action, "succeeded", "hit")


def _of(recorder: Any, action_id: str) -> Action | None:
    recorded = _recorded.get(recorder)
    return recorded.actions.get(action_id) if recorded is not None else None


def _ended(action: Action, phase: str, cache: str, error: Error | None = None) -> None:
    if action.cached:
        action.attributes[CACHE] = cache
    action.ended = True
    emit_phase(action, phase, error)


def under_way(run_id: str) -> Action | None:
    """The action of a run's id; None where it has ended, or is of no local run."""
    return _under_way.get(run_id)


def _error(raised: BaseException | None, message: str) -> Error:
    """The exception that the observer saw, else the message that the recorder got."""
    return error_of(raised, fallback=message) if raised is not None else Error("flyte.Error", message, "user")
