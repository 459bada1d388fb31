"""Calls of more than one plain attempt: tried again (tenacity), ended in time, taken from the cache (diskcache).

    [pending, while the cache and its turn are asked] -> running -> outcome     each further attempt: running -> outcome

What a timeout can end, and what it cannot: deadline.py.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import tenacity

from otel_events.inprocess.attempts import NOTHING
from otel_events.inprocess.context import TaskContext, enter, leave
from otel_events.inprocess.queue import fault
from otel_events.model.event import Link, Scalar
from otel_events.tasks.deadline import Deadline
from otel_events.tasks.options import Options
from otel_events.tasks.runs import Site, another, begin, change, failed, succeeded

STATUS = "otel_events.cache.status"
LEFT_RUNNING: dict[str, Scalar] = {"otel_events.task.left_running": True}
TURN = 0.02
"""Seconds between two looks of a coroutine at whether it is its turn."""


def wrap(site: Site) -> Callable[..., Any]:
    """As wrap.wrap, of a site whose options are ``managed``."""
    function = site.function
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await _Call(site, args, kwargs).run_async()

    else:

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return _Call(site, args, kwargs).run()

    return call


class _Call:
    """One call: its run, attempt by attempt."""

    def __init__(self, site: Site, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._site, self._args, self._kwargs = site, args, kwargs
        self._number = 0
        self._function = functools.partial(site.function, *args, **kwargs)
        self._cached = site.options.cache
        self._key = _key(site, args, kwargs) if self._cached else ""
        self._context = begin(site.definition, "pending" if self._cached else "running")

    def run(self) -> Any:
        if not self._key:
            return self._try()
        from otel_events.tasks import cache  # loaded by who caches

        turn = cache.Turn(self._key)
        try:
            if self._site.options.cache_serialize:
                turn.take(wait=True)
            kept = cache.look_up(self._key)
            return self._reuse(kept.result, kept.link) if kept else self._try()
        except BaseException as error:
            self._left(error)
            raise
        finally:
            turn.give()

    async def run_async(self) -> Any:
        if not self._key:
            return await self._try_async()
        import asyncio  # loaded by who has coroutines

        from otel_events.tasks import cache  # as above

        turn = cache.Turn(self._key)
        try:
            while self._site.options.cache_serialize and not turn.take(wait=False):  # noqa: ASYNC110  # of other processes
                await asyncio.sleep(TURN)
            kept = cache.look_up(self._key)
            return self._reuse(kept.result, kept.link) if kept else await self._try_async()
        except BaseException as error:
            self._left(error)
            raise
        finally:
            turn.give()

    def _left(self, error: BaseException) -> None:
        """Interrupted before the first attempt ran."""
        if not self._number:
            failed(self._context, self._site, self._args, self._kwargs, error)

    def _reuse(self, result: Any, link: Link) -> Any:
        self._number += 1
        self._context.links = (link,)
        told: dict[str, Scalar] = {STATUS: "hit", "otel_events.reused": True}
        succeeded(self._context, self._site, self._args, self._kwargs, result, told)
        return result

    # --- attempts --------------------------------------------------------------------------------------------------

    def _try(self) -> Any:
        if not self._site.options.retries:
            return self._attempt()
        return tenacity.Retrying(**_retrying(self._site.options))(self._attempt)

    async def _try_async(self) -> Any:
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
            self._failed(context, error)
            raise
        leave(tokens)
        self._succeeded(context, result)
        return result

    def _next(self) -> TaskContext:
        self._number += 1
        if self._number > 1:
            self._context = another(self._site.definition, self._context)
        elif self._cached:
            change(self._context, "running")
        return self._context

    def _deadline(self) -> Deadline | None:
        seconds = self._site.options.timeout
        return Deadline(self._site.definition.name, seconds) if seconds else None

    def _failed(self, context: TaskContext, error: BaseException, more: dict[str, Scalar] = NOTHING) -> None:
        told: dict[str, Scalar] = {STATUS: "miss" if self._key else "lookup_failure"} if self._cached else NOTHING
        failed(context, self._site, self._args, self._kwargs, error, {**told, **more})

    def _succeeded(self, context: TaskContext, result: Any) -> None:
        told: dict[str, Scalar] = {STATUS: self._kept(context, result)} if self._cached else NOTHING
        succeeded(context, self._site, self._args, self._kwargs, result, told)

    def _kept(self, context: TaskContext, result: Any) -> str:
        """Keep the result; the cache status in Flyte's words."""
        run = context.run
        if not self._key or run is None:
            return "lookup_failure"
        from otel_events.tasks import cache  # as above

        link = Link("cached_from", run.id, run.kind, run.root, run.attempt, run.source, run.namespace)
        return "populated" if cache.keep(self._key, result, link) else "put_failure"


# --- inputs ----------------------------------------------------------------------------------------------------------

_signature = functools.lru_cache(maxsize=1024)(inspect.signature)


def _key(site: Site, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The key of the call's result; "" where its inputs give none, and where they do not fit the function, which will
    say so itself."""
    from otel_events.tasks import cache, fingerprint  # loaded by who caches

    try:
        bound = _signature(site.function).bind(*args, **kwargs)
    except TypeError:
        return ""
    except ValueError as error:  # of a function in C that tells none
        fault(cache.FAULT, error)
        return ""
    try:
        bound.apply_defaults()
        ignored = site.options.cache_ignore_input_vars
        inputs = {name: value for name, value in bound.arguments.items() if name not in ignored}
        return fingerprint.key(site.definition.name, site.options.cache_version, inputs)
    except Exception as error:  # noqa: BLE001  # an input that cannot be pickled, or has no end
        fault(cache.FAULT, error)
        return ""


# --- again -----------------------------------------------------------------------------------------------------------


def _retrying(chosen: Options) -> dict[str, Any]:
    """Arguments of tenacity's Retrying: at once, the last error as it was."""
    on = chosen.retry_on
    fits: Any = (
        tenacity.retry_if_exception_type(on) if isinstance(on, type | tuple) else tenacity.retry_if_exception(on)
    )
    return {"stop": tenacity.stop_after_attempt(chosen.retries + 1), "retry": fits, "reraise": True}
