"""``@task`` and ``@workflow``: each call is a run, told by the same events as any other source's.

    otel_events.configure()

    @otel_events.task
    def train(rows: int) -> float: ...

    @otel_events.workflow
    def nightly() -> float:
        return train(1000)

The decorated function keeps its signature, name and types; exceptions pass through untouched, and nothing of ours is
ever raised into it (law 5). A call inside another becomes its child; outside of any it is the root of a trace. Works on
functions, coroutines, generators and asynchronous generators, above or below ``@classmethod`` and ``@staticmethod``.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import time
import traceback
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from types import ModuleType, TracebackType
from typing import Any, ParamSpec, TypeVar, overload

from otel_events.context import current_run, entered
from otel_events.event import Error, Kind, PhaseChange, Run, Scalar
from otel_events.pipeline.live import emit

P = ParamSpec("P")
R = TypeVar("R")

SOURCE = "python"

ENDINGS: tuple[tuple[type[BaseException], str], ...] = (
    (asyncio.CancelledError, "cancelled"),
    (KeyboardInterrupt, "cancelled"),
    (GeneratorExit, "cancelled"),
    (SystemExit, "crashed"),
    (MemoryError, "crashed"),
    (TimeoutError, "timed_out"),
    (BaseException, "failed"),
)
"""(exception, outcome of the attempt that it leaves); the first that fits."""


@overload
def task(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def task(
    *, name: str = "", attributes: dict[str, Scalar] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def task(
    function: Callable[P, R] | None = None, /, *, name: str = "", attributes: dict[str, Scalar] | None = None
) -> Any:
    """Make each call of a function a task run. ``name``: of the definition, else ``module.qualname``."""
    return _decorate("task", function, name, attributes)


@overload
def workflow(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def workflow(
    *, name: str = "", attributes: dict[str, Scalar] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def workflow(
    function: Callable[P, R] | None = None, /, *, name: str = "", attributes: dict[str, Scalar] | None = None
) -> Any:
    """Make each call of a function a workflow run, the root of a trace unless it is called inside another run."""
    return _decorate("workflow", function, name, attributes)


def _decorate(kind: Kind, function: Any, name: str, attributes: dict[str, Scalar] | None) -> Any:
    if function is None:
        return lambda target: _wrap(kind, target, name, attributes or {})
    return _wrap(kind, function, name, attributes or {})


def _wrap(kind: Kind, function: Any, name: str, attributes: dict[str, Scalar]) -> Any:
    if isinstance(function, classmethod | staticmethod):  # written above either of them
        return type(function)(_wrap(kind, function.__func__, name, attributes))
    told = _qualified(function)
    make = next(make for fits, make in _WRAPPERS if fits(function))
    return make(function, partial(_Call, kind, name or told, _code(function, told) | attributes))


def _wrap_call(function: Callable[..., Any], begin: Callable[[], _Call]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with begin() as run, run.entered():
            return function(*args, **kwargs)

    return call


def _wrap_coroutine(function: Callable[..., Any], begin: Callable[[], _Call]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        with begin() as run, run.entered():
            return await function(*args, **kwargs)

    return call


def _wrap_generator(function: Callable[..., Any], begin: Callable[[], _Call]) -> Callable[..., Any]:
    """The run lasts from the first step until the generator is exhausted or closed, and is the current one within its
    steps only: between them runs the code of whoever iterates."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with begin() as run:
            inner = function(*args, **kwargs)
            step, given = inner.send, None
            while True:
                try:
                    with run.entered():
                        item = step(given)
                except StopIteration as end:
                    return end.value
                try:
                    step, given = inner.send, (yield item)
                except BaseException as thrown:  # noqa: BLE001  # goes where it was meant to go, GeneratorExit too
                    step, given = inner.throw, thrown

    return call


def _wrap_async_generator(function: Callable[..., Any], begin: Callable[[], _Call]) -> Callable[..., Any]:
    """As ``_wrap_generator``."""

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        with begin() as run:
            inner = function(*args, **kwargs)
            step, given = inner.asend, None
            while True:
                try:
                    with run.entered():
                        item = await step(given)
                except StopAsyncIteration:
                    return
                try:
                    step, given = inner.asend, (yield item)
                except BaseException as thrown:  # noqa: BLE001  # as above
                    step, given = inner.athrow, thrown

    return call


_WRAPPERS: tuple[tuple[Callable[[Any], bool], Callable[..., Callable[..., Any]]], ...] = (
    (inspect.iscoroutinefunction, _wrap_coroutine),
    (inspect.isasyncgenfunction, _wrap_async_generator),
    (inspect.isgeneratorfunction, _wrap_generator),
    (callable, _wrap_call),
)
"""(what a function is, how it is wrapped); the first that fits."""


def _qualified(function: Any) -> str:
    """``module.qualname``; of a callable without a name (a partial, an instance) that of what it calls or its class."""
    named = function
    while isinstance(named, functools.partial):
        named = named.func
    if not hasattr(named, "__qualname__"):
        named = type(named)
    return f"{named.__module__}.{named.__qualname__}"


def _code(function: Any, told: str) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {"code.function.name": told}
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is not None:
        found |= {"code.file.path": code.co_filename, "code.line.number": code.co_firstlineno}
    return found


class _Call:
    """One call as a run: ``with`` tells of its beginning and end. Exceptions pass through as they are."""

    def __init__(self, kind: Kind, name: str, attributes: dict[str, Scalar]) -> None:
        self._run = _run(kind, name)
        self._attributes = attributes

    def entered(self) -> AbstractContextManager[None]:
        """The run is the current one within."""
        return entered(self._run)

    def __enter__(self) -> _Call:
        _emit(self._run, "running", attributes=self._attributes)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            _emit(self._run, "succeeded")
        else:
            _emit(self._run, next(outcome for of, outcome in ENDINGS if isinstance(error, of)), error=_error(error))


def _run(kind: Kind, name: str) -> Run:
    above, own = current_run(), uuid.uuid4().hex
    if above is None:
        return Run(SOURCE, kind, own, name, own, workflow=name if kind == "workflow" else "")
    workflow = name if kind == "workflow" else above.workflow
    return Run(SOURCE, kind, own, name, above.root, above.id, workflow=workflow, parent_kind=above.kind)


def _emit(run: Run, phase: str, error: Error | None = None, attributes: dict[str, Scalar] | None = None) -> None:
    # The id is of the run's own making and unique in it: a run goes into each of these phases once.
    event = PhaseChange(
        id=f"{run.id}:{run.attempt}:{phase}",
        time=time.time_ns(),
        run=run,
        phase=phase,
        native=phase,
        error=error,
        attributes=attributes or {},
    )
    emit(event)


def _error(error: BaseException) -> Error:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        return Error(name, str(error), "user", "".join(traceback.format_exception(error, limit=50)))
    except Exception:  # noqa: BLE001  # what a foreign exception says of itself may fail; nothing of ours may
        return Error(name, "(its message could not be read)", "user")


class _CallableModule(ModuleType):
    """``otel_events.task`` names this module as soon as anything has imported it, and the decorator before: so the
    module is the decorator too, whichever came first."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return task(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
