"""What ``RunRecorder`` is told of a local run, as changes of phase. Nothing here raises (law 5).

A recorder is of one run; what is under way in it is kept beside it, as long as it lives. The recorder does not know of
which project its run is: that is the context's to say, when the first action starts.
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

from otel_events.inprocess.attempts import OwnAttempt
from otel_events.inprocess.context import caller
from otel_events.inprocess.queue import emit, fault
from otel_events.instrument.flyte2 import runs
from otel_events.instrument.flyte2.runs import Action
from otel_events.model.event import Error, PhaseChange, Scalar
from otel_events.model.identity import traceparent

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


def told(original: Callable[..., Any], tell: Callable[..., None]) -> Callable[..., Any]:
    """The method of ``RunRecorder``; ``tell`` is called first, with the same arguments."""

    @wraps(original)
    def call(self: Any, **kwargs: Any) -> Any:
        try:
            tell(self, **kwargs)
        except Exception as error:  # noqa: BLE001  # objects of flyte's, in the middle of the host's run
            fault("the instrumentation of flyte", error)
        return original(self, **kwargs)

    return call


def _outer() -> str:
    """W3C context of what the run is started in, "" where there is nothing."""
    above, outer, trace = caller()[:3]
    if above is not None and not outer:  # of otel_events' own: its span follows from the run
        own = OwnAttempt(above, trace)
        return traceparent(own.trace_id, own.span_id)
    return outer


def tell(action: Action, phase: str, error: Error | None = None, when: int = 0) -> None:
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


_at_hand: ContextVar[Any] = ContextVar("otel_events_flyte_recorder", default=None)
"""The recorder of the local run that this task of asyncio makes."""


def interruptible(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The coroutine that makes a local run: one that is interrupted (Ctrl-C, cancelled) is told to no recorder."""

    @wraps(original)
    async def call(*args: Any, **kwargs: Any) -> Any:
        before = _at_hand.set(None)
        try:
            return await original(*args, **kwargs)
        except (KeyboardInterrupt, CancelledError):
            try:
                _end(_at_hand.get(), "", "cancelled")
            except Exception as error:  # noqa: BLE001  # as in ``told``
                fault("the instrumentation of flyte", error)
            raise
        finally:
            _at_hand.reset(before)

    return call


def root_start(recorder: Any, *, task_name: str) -> None:
    _recorded[recorder] = Recorded(task_name)
    _at_hand.set(recorder)
    for call in BEFORE_RUN:
        call()


def _root(recorder: Any, recorded: Recorded) -> Action:
    """The run, told of when it is first known."""
    with recorded.lock:
        if recorded.root is None:
            context = _context()
            of = context.action if context is not None else _Unknown(recorder._run_name)
            ids = recorded.outer.split("-")
            trace = bytes.fromhex(ids[1]) if recorded.outer else b""
            recorded.root = Action(runs.root(of, recorded.name), trace)
            if recorded.outer:
                recorded.root.attributes[PARENT] = recorded.outer
            tell(recorded.root, "running", when=recorded.began)
    return recorded.root


class _Unknown:
    """The action of a run that ended before it was known."""

    org = project = domain = run_name = None

    def __init__(self, name: str) -> None:
        self.name = name


def _context() -> Any:
    module = sys.modules.get("flyte._context")
    return module.internal_ctx().data.task_context if module is not None else None


def root_complete(recorder: Any) -> None:
    _end(recorder, None)


def root_failure(recorder: Any, *, error: str) -> None:
    _end(recorder, error)


def _end(recorder: Any, error: str | None, phase: str = "failed") -> None:
    """``error``: None where all went well; else what is still under way is cancelled with the run."""
    recorded = _recorded.pop(recorder, None) if recorder is not None else None
    if recorded is None:
        return
    root, actions = _root(recorder, recorded), list(recorded.actions.values())
    if error is None:
        tell(root, "succeeded")
    else:
        for action in actions:
            if not action.ended:
                _ended(action, "cancelled", "miss")
        last = next((one.error for one in reversed(actions) if one.error is not None), None)
        tell(root, phase, _error(last, error) if phase == "failed" else None)
    for action in actions:
        _under_way.pop(action.run.id, None)


# --- its actions ------------------------------------------------------------------------------------------------------


def start(
    recorder: Any, *, action_id: str, task_name: str, cache_enabled: bool = False, cache_hit: bool = False, **more: Any
) -> None:
    """Of a task; steps of ``flyte.trace``, which have an interface of their own, are the user's spans to make."""
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
    tell(action, "pending")


def attempt_start(recorder: Any, *, action_id: str, attempt_num: int) -> None:
    """The observer tells that it runs, under the span of flyte's plug-in if there is one."""
    action = _of(recorder, action_id)
    if action is not None:
        action.begin(attempt_num)


def attempt_complete(recorder: Any, *, action_id: str, attempt_num: int, **more: Any) -> None:  # flyte's
    action = _of(recorder, action_id)
    if action is not None:
        _ended(action, "succeeded", "populated")


def attempt_failure(recorder: Any, *, action_id: str, attempt_num: int, error: str) -> None:  # as above
    action = _of(recorder, action_id)
    if action is not None:
        timed_out = type(action.error).__name__ in ("TimeoutError", "TaskTimeoutError")
        _ended(action, "timed_out" if timed_out else "failed", "miss", _error(action.error, error))


def failure(recorder: Any, *, action_id: str, error: str) -> None:
    """Of what was not attempted: a condition that nobody met in time, or that was called off."""
    action = _of(recorder, action_id)
    if action is not None and not action.ended:
        _ended(action, "failed", "miss", _error(action.error, error))


def complete(recorder: Any, *, action_id: str, **more: Any) -> None:  # as above
    """Of what was not attempted: it was in the cache."""
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
    tell(action, phase, error)


def under_way(run_id: str) -> Action | None:
    return _under_way.get(run_id)


def _error(raised: BaseException | None, said: str) -> Error:
    """What the observer saw raised, else what flyte says of it."""
    if raised is None:
        return Error("flyte.Error", said, "user")
    kind = type(raised)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        return Error(name, str(raised), "user", _stack(raised))
    except Exception:  # noqa: BLE001  # what a foreign exception says of itself may fail
        return Error(name, said, "user")


def _stack(raised: BaseException) -> str:
    import traceback  # only of what failed

    return "".join(traceback.format_exception(raised, limit=50))
