"""``@task`` and ``@workflow``: each call is a run, with the same events as the runs of any other source.

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
    """Make each call of a function a task run. Exceptions and results pass through untouched.

    Args:
        function: The function, where the decorator is written without options.
        name: Of the definition; else ``module.qualname``.
        attributes: Further attributes of each span.
        retries: How often a failed attempt is tried again.
        retry_on: Which errors are tried again: exceptions, or a function of the error.
        timeout: Of each attempt, a timedelta or seconds; 0: none.
        cache: Take the result of an earlier run with the same inputs and the same ``cache_version``.
        cache_version: Required with ``cache``; another version is another cache.
        cache_serialize: Runs with the same inputs wait for each other.
        cache_ignore_input_vars: Inputs that make no difference to the cache.
        interruptible: An attribute of the span; nothing is scheduled here.
        enable_deck: Write a page of decks for each attempt.
        deck_fields: The decks of that page (``DeckField``); None: the timeline, the source code and the dependencies.

    Returns:
        A function of the same kind and signature; with options, a decorator.

    Raises:
        TypeError, ValueError: When the function is decorated, and an option cannot be used; the message names it.

    >>> @task(retries=2, timeout=60)
    ... def halve(rows: int) -> float:
    ...     return rows / 2
    >>> halve(5)
    2.5
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
    """Make each call of a function a workflow run: the root of a trace, unless it is called inside another run.

    Args:
        function: The function, where the decorator is written without options.
        **given: The options of ``task``.

    Returns:
        A function of the same kind and signature; with options, a decorator.

    Raises:
        TypeError, ValueError: When the function is decorated, and an option cannot be used; the message names it.

    >>> @workflow
    ... def nightly() -> str:
    ...     return "done"
    >>> nightly()
    'done'
    """
    return _decorate("workflow", function, given)


def _decorate(kind: Kind, function: Any, given: dict[str, Any]) -> Any:
    chosen = options(given)
    return partial(wrap, kind, chosen=chosen) if function is None else wrap(kind, function, chosen)
