"""``@task`` and ``@workflow``: each call is a run, told by the same events as any other source's.

    otel_events.configure()

    @otel_events.task
    def train(rows: int) -> float: ...

    @otel_events.workflow
    def nightly() -> float:
        return train(1000)

The decorated function keeps its signature, name and types; exceptions pass through untouched, and nothing of ours is
ever raised into it (law 5). A call inside another becomes its child; outside of any it is the root of a trace.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


def _decorate(
    kind: Kind, function: Callable[..., Any] | None, name: str, attributes: dict[str, Scalar] | None
) -> Callable[..., Any]:
    if function is None:
        return lambda target: _wrap(kind, target, name, attributes or {})
    return _wrap(kind, function, name, attributes or {})


def _wrap(kind: Kind, function: Callable[..., Any], name: str, attributes: dict[str, Scalar]) -> Callable[..., Any]:
    title = name or f"{function.__module__}.{function.__qualname__}"
    code = _code(function) | attributes
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            with _told(kind, title, code):
                return await function(*args, **kwargs)

        return call_async

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with _told(kind, title, code):
            return function(*args, **kwargs)

    return call


def _code(function: Callable[..., Any]) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {"code.function.name": f"{function.__module__}.{function.__qualname__}"}
    code = getattr(function, "__code__", None)
    if code is not None:
        found |= {"code.file.path": code.co_filename, "code.line.number": code.co_firstlineno}
    return found


@contextmanager
def _told(kind: Kind, name: str, attributes: dict[str, Scalar]) -> Iterator[None]:
    run = _run(kind, name)
    _emit(run, "running", attributes=attributes)
    try:
        with entered(run):
            yield
    except BaseException as error:
        _emit(run, next(outcome for of, outcome in ENDINGS if isinstance(error, of)), error=_error(error))
        raise
    _emit(run, "succeeded")


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
        message = str(error)
    except Exception:  # noqa: BLE001  # the message of a foreign exception may itself fail; ours must not
        message = "(its message could not be read)"
    return Error(name, message, "user", "".join(traceback.format_exception(error, limit=50)))
