"""The run at hand goes with the work: into threads, pools and processes that are started in it.

| started by | the run is that of | how |
|---|---|---|
| threading.Thread | who called ``start``, unless a ``context`` was given (Python 3.14) | its context is set before ``run`` |
| ThreadPoolExecutor, ProcessPoolExecutor, multiprocessing pools | who submitted the call, not who made the pool | goes with the function |
| multiprocessing.Process, forked | who forked | it is a copy |
| multiprocessing.Process, spawned | who called ``start`` | goes with the process object |
| asyncio tasks, ``asyncio.to_thread`` | who made the task | they do so by themselves |

``install`` patches what is in TABLE; its answer undoes that. Nothing of ours is raised into who starts the work: where
carrying fails it is counted, and the work starts without.
"""  # noqa: E501  # a table row is one line

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextvars import ContextVar
from importlib import import_module
from typing import Any

from opentelemetry.context import Context as OtelContext
from opentelemetry.context import attach, detach

from otel_events.inprocess import process
from otel_events.inprocess.context import TaskContext, _current, enter, handing_over, leave, surrounding
from otel_events.inprocess.faults import fault
from otel_events.inprocess.sending import Settings
from otel_events.model.event import Run

FAULT = "carrying a run into a thread or process"
_plain: ContextVar[bool] = ContextVar("otel_events_plain_threads", default=False)
"""Whether threads that are started here are a pool's own: they carry nothing, each of their calls does."""


class InThread:
    """A function with the run, and the OpenTelemetry context, that it was handed over in."""

    def __init__(self, function: Callable[..., Any], context: TaskContext | None, outer: OtelContext) -> None:
        self._function, self._context, self._outer = function, context, outer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        token, outer = _current.set(self._context), attach(self._outer)
        try:
            return self._function(*args, **kwargs)
        finally:
            detach(outer)
            _current.reset(token)


class InProcess:
    """A function with the run that it was handed over in, to be pickled with it. No run: outside of any."""

    def __init__(self, function: Callable[..., Any], run: Run | None, trace: bytes) -> None:
        self._function, self._run, self._trace = function, run, trace

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        tokens = enter(TaskContext(self._run, self._trace, process=""))
        try:
            return self._function(*args, **kwargs)
        finally:
            leave(tokens)


class Arrival:
    """Goes with a process object to a process that starts afresh; what it is unpickled to is nothing."""

    def __init__(self, settings: Settings | None, run: Run | None, trace: bytes) -> None:
        self._told = settings, run, trace

    def __reduce__(self) -> Any:
        return arrive, self._told


def arrive(settings: Settings | None, run: Run | None, trace: bytes) -> None:
    """In the process that was started: what the one that started it is in, and where events go."""
    try:
        if settings is not None:
            process.arrived(settings)
            process.at_shutdown(install())
        if run is not None:
            enter(TaskContext(run, trace, process=""))
    except Exception as error:  # noqa: BLE001  # the process does its work, whatever becomes of its runs
        fault(FAULT, error)


def _with_run(function: Callable[..., Any]) -> Callable[..., Any]:
    return InThread(function, *handing_over())


def _with_carrier(function: Callable[..., Any]) -> Callable[..., Any]:
    context = surrounding()
    return InProcess(function, context.run if context else None, context.trace if context else b"")


# --- what is patched -------------------------------------------------------------------------------------------------

Original = Callable[..., Any]
Patch = Callable[[Original], Original]


def _submits(carried: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Patch:
    """A method whose first argument is a function that something else will call."""

    def patch(original: Original) -> Original:
        @functools.wraps(original)
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                if args and callable(args[0]):
                    args = (carried(args[0]), *args[1:])
                elif callable(kwargs.get("func")):
                    kwargs["func"] = carried(kwargs["func"])
            except Exception as error:  # noqa: BLE001  # law 5
                fault(FAULT, error)
            token = _plain.set(True)
            try:
                return original(self, *args, **kwargs)
            finally:
                _plain.reset(token)

        return method

    return patch


_waiting: dict[int, tuple[TaskContext, OtelContext]] = {}
"""Threads that were started and do not run yet, by identity."""


def _thread_start(original: Original) -> Original:
    @functools.wraps(original)
    def start(self: threading.Thread) -> Any:
        theirs = getattr(self, "_context", None) is not None  # what its maker gave it to run in (Python 3.14)
        context, outer = (None, None) if theirs or _plain.get() else handing_over()
        if context is None or outer is None or context.run is None:
            return original(self)
        _waiting[id(self)] = context, outer
        try:
            return original(self)
        except BaseException:
            _waiting.pop(id(self), None)
            raise

    return start


def _thread_runs(original: Original) -> Original:
    @functools.wraps(original)
    def bootstrap(self: threading.Thread) -> Any:
        carried = _waiting.pop(id(self), None)
        if carried is not None:
            try:
                own = getattr(self, "_context", None)  # since Python 3.14 a thread runs in a context of its own
                run = own.run if own is not None else _here
                run(_current.set, carried[0])  # for as long as the thread is there
                run(attach, carried[1])
            except Exception as error:  # noqa: BLE001  # law 5
                fault(FAULT, error)
        return original(self)

    return bootstrap


def _here(function: Callable[[Any], Any], value: Any) -> Any:
    return function(value)


def _process_start(original: Original) -> Original:
    """An attribute of the process object for as long as ``start`` lasts: pickled with it, where that is spawned."""

    @functools.wraps(original)
    def start(self: Any) -> Any:
        try:
            context = surrounding()
            run, trace = (context.run, context.trace) if context and not _plain.get() else (None, b"")
            vars(self)[_ARRIVAL] = Arrival(process.handed(), run, trace)
        except Exception as error:  # noqa: BLE001  # law 5
            fault(FAULT, error)
        try:
            return original(self)
        finally:
            vars(self).pop(_ARRIVAL, None)

    return start


_ARRIVAL = "_otel_events_arrival"
_POOL = "apply_async map map_async starmap starmap_async imap imap_unordered".split()
TABLE: tuple[tuple[str, str, str, Patch], ...] = (
    ("threading", "Thread", "start", _thread_start),
    ("threading", "Thread", "_bootstrap_inner", _thread_runs),
    ("concurrent.futures.thread", "ThreadPoolExecutor", "submit", _submits(_with_run)),
    ("concurrent.futures.process", "ProcessPoolExecutor", "submit", _submits(_with_carrier)),
    ("multiprocessing.process", "BaseProcess", "start", _process_start),
    *(("multiprocessing.pool", "Pool", name, _submits(_with_carrier)) for name in _POOL),
)
"""(module, class, method, what it becomes)."""


def install() -> Callable[[], None]:
    """Patch what is in TABLE and can be; returns what undoes it. A method that others patched after us stays theirs."""
    done: list[tuple[type, str, Original, Original]] = []
    for module, name, method, patch in TABLE:
        try:
            owner = getattr(import_module(module), name)
            original = getattr(owner, method)
            if not hasattr(original, "__otel_events__"):
                made = patch(original)
                made.__otel_events__ = True  # type: ignore[attr-defined]  # a mark of ours on a function of ours
                setattr(owner, method, made)
                done.append((owner, method, made, original))
        except Exception as error:  # noqa: BLE001  # an interpreter without it
            fault(FAULT, error)

    def undo() -> None:
        for owner, method, made, original in reversed(done):
            if owner.__dict__.get(method) is made:
                setattr(owner, method, original)

    return undo
