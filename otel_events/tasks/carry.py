"""Carries the current run into threads, pools and processes that are started in it.

| started by | the run is that of the code that | how |
|---|---|---|
| threading.Thread | called ``start``, unless a ``context`` was given (Python 3.14) | its context is set before ``run`` |
| ThreadPoolExecutor, ProcessPoolExecutor, multiprocessing pools | submitted the call, not that made the pool | goes with the function |
| multiprocessing.Process, forked | forked | it is a copy |
| multiprocessing.Process, spawned | called ``start`` | goes with the process object |
| asyncio tasks, ``asyncio.to_thread`` | made the task | asyncio carries it |

``install`` patches the methods of TABLE, and returns a function that undoes it. Nothing of ours is raised into the code
that starts the work: where carrying fails it is counted, and the work starts without a run.
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
from otel_events.inprocess.attempts import ProcessAttempt
from otel_events.inprocess.context import CURRENT, current_attempt, enter, leave, snapshot
from otel_events.inprocess.faults import fault
from otel_events.inprocess.settings import Settings
from otel_events.model.event import Run
from otel_events.tasks.context import TaskContext

FAULT = "carrying a run into a thread or process"
_plain: ContextVar[bool] = ContextVar("otel_events_plain_threads", default=False)
"""Whether threads that are started here are a pool's own: they carry no run, each call that is submitted does."""


class InThread:
    """A function with the run and the OpenTelemetry context that it was submitted in."""

    def __init__(self, function: Callable[..., Any], attempt: ProcessAttempt | None, outer: OtelContext) -> None:
        self._function, self._attempt, self._outer = function, attempt, outer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        token, outer = CURRENT.set(self._attempt), attach(self._outer)
        try:
            return self._function(*args, **kwargs)
        finally:
            detach(outer)
            CURRENT.reset(token)


class InProcess:
    """A function with the run that it was submitted in, to be pickled with it; ``run`` None: outside of any."""

    def __init__(self, function: Callable[..., Any], run: Run | None, trace: bytes) -> None:
        self._function, self._run, self._trace = function, run, trace

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        tokens = enter(TaskContext(self._run, self._trace, process=""))
        try:
            return self._function(*args, **kwargs)
        finally:
            leave(tokens)


class Arrival:
    """Goes with a process object to a spawned process. Unpickling it there calls ``arrive``, and gives None."""

    def __init__(self, settings: Settings | None, run: Run | None, trace: bytes) -> None:
        self._arguments = settings, run, trace

    def __reduce__(self) -> Any:
        return arrive, self._arguments


def arrive(settings: Settings | None, run: Run | None, trace: bytes) -> None:
    """In the process that was started: enter the run that started it, and hand events to the process that sends."""
    try:
        if settings is not None:
            process.join(settings)
            process.at_shutdown(install())
        if run is not None:
            enter(TaskContext(run, trace, process=""))
    except Exception as error:  # noqa: BLE001  # the process does its work, whatever becomes of its runs
        fault(FAULT, error)


def _with_run(function: Callable[..., Any]) -> Callable[..., Any]:
    return InThread(function, *snapshot())


def _with_carrier(function: Callable[..., Any]) -> Callable[..., Any]:
    attempt = current_attempt()
    return InProcess(function, attempt.run if attempt else None, attempt.trace if attempt else b"")


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
            except Exception as error:  # noqa: BLE001  # the work starts, without its run (law 5)
                fault(FAULT, error)
            token = _plain.set(True)
            try:
                return original(self, *args, **kwargs)
            finally:
                _plain.reset(token)

        return method

    return patch


_waiting: dict[int, tuple[ProcessAttempt, OtelContext]] = {}
"""What threads carry that were started and do not run yet, by the identity of the thread object."""


def _thread_start(original: Original) -> Original:
    @functools.wraps(original)
    def start(self: threading.Thread) -> Any:
        theirs = getattr(self, "_context", None) is not None  # what its maker gave it to run in (Python 3.14)
        attempt, outer = (None, None) if theirs or _plain.get() else snapshot()
        if attempt is None or outer is None or attempt.run is None:
            return original(self)
        _waiting[id(self)] = attempt, outer
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
                run(CURRENT.set, carried[0])  # for as long as the thread is there
                run(attach, carried[1])
            except Exception as error:  # noqa: BLE001  # the work starts, without its run (law 5)
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
            attempt = current_attempt()
            run, trace = (attempt.run, attempt.trace) if attempt and not _plain.get() else (None, b"")
            vars(self)[_ARRIVAL] = Arrival(process.settings_for_child(), run, trace)
        except Exception as error:  # noqa: BLE001  # the work starts, without its run (law 5)
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
"""(module, class, method, what wraps it)."""


def install() -> Callable[[], None]:
    """Patch the methods of TABLE, each once.

    Returns:
        A function that undoes it. A method that somebody else patched after us stays as it is.
    """
    done: list[tuple[type, str, Original, Original]] = []
    for module, name, method, patch in TABLE:
        try:
            owner = getattr(import_module(module), name)
            original = getattr(owner, method)
            if not hasattr(original, "__otel_events__"):
                patched = patch(original)
                patched.__otel_events__ = True  # type: ignore[attr-defined]  # a mark of ours on a function of ours
                setattr(owner, method, patched)
                done.append((owner, method, patched, original))
        except Exception as error:  # noqa: BLE001  # an interpreter without it
            fault(FAULT, error)

    def undo() -> None:
        for owner, method, patched, original in reversed(done):
            if owner.__dict__.get(method) is patched:
                setattr(owner, method, original)

    return undo
