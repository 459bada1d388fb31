"""A function and its options -> a function of the same kind, each call of which is a run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from otel_events.inprocess.attempts import Definition
from otel_events.inprocess.context import enter, leave
from otel_events.model.event import Kind, Scalar
from otel_events.tasks.options import Options, check_function
from otel_events.tasks.runs import Site, begin, failed, succeeded


def wrap(kind: Kind, function: Any, chosen: Options) -> Any:
    """Decorate a function.

    Args:
        kind: Of the runs.
        function: A function of any kind, a callable object, or a class method or static method.
        chosen: The options.

    Returns:
        A function of the same kind, whose calls are runs.

    Raises:
        TypeError: It cannot be called, or an option does not fit it.
    """
    if isinstance(function, classmethod | staticmethod):  # written above either of them
        return type(function)(wrap(kind, function.__func__, chosen))
    if not callable(function):
        raise TypeError(f"@{kind} is given a {type(function).__name__}: it takes a function, or options by name")
    check_function(function, chosen)
    qualified = _qualified(function)
    attributes = _code(function, qualified) | chosen.span_attributes()
    site = Site(function, Definition(kind, chosen.name or qualified, attributes, chosen.timeline), chosen)
    if chosen.cache:
        from otel_events.tasks import cached  # diskcache, which only the cache needs

        return cached.wrap(site)
    if chosen.managed:
        from otel_events.tasks import managed  # tenacity, which only retries and timeouts need

        return managed.wrap(site)
    return next(make for fits, make in _WRAPPERS if fits(function))(site)


def _wrap_call(site: Site) -> Callable[..., Any]:
    function, definition = site.function, site.definition

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        context = begin(definition)
        tokens = enter(context)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            leave(tokens)
            failed(context, site, args, kwargs, error)
            raise
        leave(tokens)
        succeeded(context, site, args, kwargs, result)
        return result

    return call


def _wrap_coroutine(site: Site) -> Callable[..., Any]:
    function, definition = site.function, site.definition

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        context = begin(definition)
        tokens = enter(context)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            leave(tokens)
            failed(context, site, args, kwargs, error)
            raise
        leave(tokens)
        succeeded(context, site, args, kwargs, result)
        return result

    return call


class _Steps:
    """The run of a generator. It lasts from the first step until the generator is exhausted or closed, and is the
    current run within its steps only: between them runs the code that iterates."""

    def __init__(self, site: Site, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._site, self._args, self._kwargs = site, args, kwargs
        self._context = begin(site.definition)

    def __enter__(self) -> None:
        """Within a step."""
        self._tokens = enter(self._context)

    def __exit__(self, *ended: object) -> None:
        leave(self._tokens)

    def over(self, result: Any = None) -> None:
        succeeded(self._context, self._site, self._args, self._kwargs, result)

    def broken(self, error: BaseException) -> None:
        failed(self._context, self._site, self._args, self._kwargs, error)


def _wrap_generator(site: Site) -> Callable[..., Any]:
    function = site.function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        steps = _Steps(site, args, kwargs)
        try:
            inner = function(*args, **kwargs)
            step, given = inner.send, None
            while True:
                try:
                    with steps:
                        item = step(given)
                except StopIteration as end:
                    result = end.value
                    break
                try:
                    step, given = inner.send, (yield item)
                except BaseException as thrown:  # noqa: BLE001  # thrown into the inner generator, GeneratorExit too
                    step, given = inner.throw, thrown
        except BaseException as error:
            steps.broken(error)
            raise
        steps.over(result)
        return result

    return call


def _wrap_async_generator(site: Site) -> Callable[..., Any]:
    function = site.function

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        steps = _Steps(site, args, kwargs)
        try:
            inner = function(*args, **kwargs)
            step, given = inner.asend, None
            while True:
                try:
                    with steps:
                        item = await step(given)
                except StopAsyncIteration:
                    break
                try:
                    step, given = inner.asend, (yield item)
                except BaseException as thrown:  # noqa: BLE001  # thrown into the inner generator, GeneratorExit too
                    step, given = inner.athrow, thrown
        except BaseException as error:
            steps.broken(error)
            raise
        steps.over()

    return call


_WRAPPERS: tuple[tuple[Callable[[Any], bool], Callable[[Site], Callable[..., Any]]], ...] = (
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


def _code(function: Any, qualified: str) -> dict[str, Scalar]:
    attributes: dict[str, Scalar] = {"code.function.name": qualified}
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is not None:
        attributes |= {"code.file.path": code.co_filename, "code.line.number": code.co_firstlineno}
    return attributes
