"""``@task`` and ``@workflow``: each call is a run, told by the same events as any other source's.

    otel_events.configure()

    @otel_events.task(retries=2, timeout=60)
    def train(rows: int) -> float: ...

    @otel_events.workflow
    def nightly() -> float:
        return train(1000)

The decorated function keeps its signature, name and types; exceptions pass through untouched, and nothing of ours is
ever raised into it (law 5). A call inside another becomes its child; outside of any it is the root of a trace. Works on
functions, coroutines, generators and asynchronous generators, above or below ``@classmethod`` and ``@staticmethod``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, ParamSpec, TypeVar, overload

from otel_events.model.event import Kind, Scalar
from otel_events.tasks.options import RecoverableError as RecoverableError
from otel_events.tasks.options import RetryOn, options
from otel_events.tasks.wrap import wrap

P = ParamSpec("P")
R = TypeVar("R")


@overload
def task(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def task(
    *,
    name: str = "",
    attributes: Mapping[str, Scalar] = ...,
    retries: int = 0,
    retry_on: RetryOn = Exception,
    timeout: float | timedelta = 0,
    cache: bool = False,
    cache_version: str = "",
    cache_serialize: bool = False,
    cache_ignore_input_vars: Sequence[str] = (),
    interruptible: bool | None = None,
    enable_deck: bool = False,
    deck_fields: Sequence[Any] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def task(function: Callable[P, R] | None = None, /, **given: Any) -> Any:
    """Make each call of a function a task run.

    ``name``: of the definition, else ``module.qualname``. ``attributes``: further ones of each span. ``retries``: how
    often more it is tried after an error of ``retry_on`` (exceptions, or a function of the error; else every
    ``Exception``). ``timeout``: of each attempt, a timedelta or seconds. ``cache``: take the result of an earlier run
    with the same inputs, less ``cache_ignore_input_vars``, and the same ``cache_version``; ``cache_serialize``: runs
    with the same inputs wait for each other. ``interruptible``: told on the span. ``enable_deck``, ``deck_fields``:
    make a deck. Raises TypeError or ValueError, naming the option that is wrong, when the function is decorated.
    """
    return _decorate("task", function, given)


@overload
def workflow(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def workflow(
    *,
    name: str = "",
    attributes: Mapping[str, Scalar] = ...,
    retries: int = 0,
    retry_on: RetryOn = Exception,
    timeout: float | timedelta = 0,
    cache: bool = False,
    cache_version: str = "",
    cache_serialize: bool = False,
    cache_ignore_input_vars: Sequence[str] = (),
    interruptible: bool | None = None,
    enable_deck: bool = False,
    deck_fields: Sequence[Any] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def workflow(function: Callable[P, R] | None = None, /, **given: Any) -> Any:
    """Make each call of a function a workflow run, the root of a trace unless it is called inside another run. Options
    as of ``task``."""
    return _decorate("workflow", function, given)


def _decorate(kind: Kind, function: Any, given: dict[str, Any]) -> Any:
    chosen = options(given)
    return partial(wrap, kind, chosen=chosen) if function is None else wrap(kind, function, chosen)
