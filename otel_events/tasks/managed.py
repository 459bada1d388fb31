"""Calls of more than one plain attempt: tried again (tenacity), and ended in time (deadline.py).

Calls that take their result from the cache are in cached.py.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import tenacity

from otel_events.inprocess.attempts import NOTHING
from otel_events.inprocess.context import enter, leave
from otel_events.model.event import Scalar
from otel_events.tasks.context import TaskContext
from otel_events.tasks.deadline import Deadline
from otel_events.tasks.options import Options
from otel_events.tasks.runs import Site, another, begin, failed, succeeded

LEFT_RUNNING: dict[str, Scalar] = {"otel_events.task.left_running": True}


class ManagedCall:
    """One call of a function: its run, attempt by attempt."""

    def __init__(self, site: Site, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._site, self._args, self._kwargs = site, args, kwargs
        self._function = functools.partial(site.function, *args, **kwargs)
        self._number = 0
        self._context = self._begin()

    def _begin(self) -> TaskContext:
        return begin(self._site.definition)

    def run(self) -> Any:
        """The result of the function, or what its last attempt raises."""
        if not self._site.options.retries:
            return self._attempt()
        return tenacity.Retrying(**_retrying(self._site.options))(self._attempt)

    async def run_async(self) -> Any:
        """The same of a coroutine."""
        if not self._site.options.retries:
            return await self._attempt_async()
        return await tenacity.AsyncRetrying(**_retrying(self._site.options))(self._attempt_async)

    def _attempt(self) -> Any:
        context = self._next()
        tokens = enter(context)
        deadline = self._deadline()
        try:
            result = deadline.call(self._function) if deadline else self._function()
        except BaseException as error:
            leave(tokens)
            self._failed(context, error, LEFT_RUNNING if deadline and deadline.left_running else NOTHING)
            raise
        leave(tokens)
        self._succeeded(context, result)
        return result

    async def _attempt_async(self) -> Any:
        context = self._next()
        tokens = enter(context)
        deadline = self._deadline()
        try:
            result = await (deadline.wait(self._function) if deadline else self._function())
        except BaseException as error:
            leave(tokens)
            self._failed(context, error, NOTHING)
            raise
        leave(tokens)
        self._succeeded(context, result)
        return result

    def _next(self) -> TaskContext:
        self._number += 1
        if self._number > 1:
            self._context = another(self._site.definition, self._context)
        return self._context

    def _deadline(self) -> Deadline | None:
        seconds = self._site.options.timeout
        return Deadline(self._site.definition.name, seconds) if seconds else None

    def _failed(self, context: TaskContext, error: BaseException, attributes: dict[str, Scalar]) -> None:
        failed(context, self._site, self._args, self._kwargs, error, attributes)

    def _succeeded(self, context: TaskContext, result: Any, attributes: dict[str, Scalar] = NOTHING) -> None:
        succeeded(context, self._site, self._args, self._kwargs, result, attributes)


def wrap(site: Site, make: type[ManagedCall] = ManagedCall) -> Callable[..., Any]:
    """Decorate the function of a site whose options are ``managed``.

    Args:
        site: The function and its options.
        make: What carries out a call.

    Returns:
        A function of the same kind, function or coroutine.
    """
    function = site.function
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await make(site, args, kwargs).run_async()

    else:

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return make(site, args, kwargs).run()

    return call


def _retrying(chosen: Options) -> dict[str, Any]:
    """Arguments of tenacity's Retrying: at once, and the last error is raised as it was."""
    on = chosen.retry_on
    fits: Any = (
        tenacity.retry_if_exception_type(on) if isinstance(on, type | tuple) else tenacity.retry_if_exception(on)
    )
    return {"stop": tenacity.stop_after_attempt(chosen.retries + 1), "retry": fits, "reraise": True}
