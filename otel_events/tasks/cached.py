"""Calls that take their result from the cache (cache.py), by the key of their inputs (fingerprint.py).

    pending, while the cache is read -> running -> outcome

Each further attempt is running -> outcome, as without a cache. With ``cache_serialize`` a call also waits for its turn
while it is pending.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any

from otel_events.inprocess.attempts import NOTHING
from otel_events.inprocess.faults import fault
from otel_events.model.event import Link, Scalar
from otel_events.tasks import cache, fingerprint, managed
from otel_events.tasks.context import TaskContext
from otel_events.tasks.managed import ManagedCall
from otel_events.tasks.runs import Site, begin, change, failed, succeeded

STATUS = "otel_events.cache.status"
TURN = 0.02
"""Seconds between two tries of a coroutine to take its turn, which a process of any kind may hold."""

_signature = functools.lru_cache(maxsize=1024)(inspect.signature)


class CachedCall(ManagedCall):
    """One call of a function with ``cache=True``."""

    def __init__(self, site: Site, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._key = key_of(site, args, kwargs)
        super().__init__(site, args, kwargs)

    def _begin(self) -> TaskContext:
        return begin(self._site.definition, "pending")

    def run(self) -> Any:
        if not self._key:
            return super().run()
        turn = cache.Turn(self._key)
        try:
            if self._site.options.cache_serialize:
                turn.take(wait=True)
            entry = cache.look_up(self._key)
            return self._reuse(entry) if entry else super().run()
        except BaseException as error:
            self._interrupted(error)
            raise
        finally:
            turn.give()

    async def run_async(self) -> Any:
        if not self._key:
            return await super().run_async()
        turn = cache.Turn(self._key)
        try:
            while self._site.options.cache_serialize and not turn.take(wait=False):  # noqa: ASYNC110  # of other processes
                await asyncio.sleep(TURN)
            entry = cache.look_up(self._key)
            return self._reuse(entry) if entry else await super().run_async()
        except BaseException as error:
            self._interrupted(error)
            raise
        finally:
            turn.give()

    def _interrupted(self, error: BaseException) -> None:
        """End the run where it was interrupted before its first attempt ran."""
        if not self._number:
            failed(self._context, self._site, self._args, self._kwargs, error)

    def _reuse(self, entry: cache.Entry) -> Any:
        self._number += 1
        self._context.links = (entry.link,)
        hit: dict[str, Scalar] = {STATUS: "hit", "otel_events.reused": True}
        succeeded(self._context, self._site, self._args, self._kwargs, entry.result, hit)
        return entry.result

    def _next(self) -> TaskContext:
        context = super()._next()
        if self._number == 1:
            change(context, "running")
        return context

    def _failed(self, context: TaskContext, error: BaseException, attributes: dict[str, Scalar]) -> None:
        status: dict[str, Scalar] = {STATUS: "miss" if self._key else "lookup_failure"}
        super()._failed(context, error, {**status, **attributes})

    def _succeeded(self, context: TaskContext, result: Any, attributes: dict[str, Scalar] = NOTHING) -> None:
        super()._succeeded(context, result, {STATUS: self._store(context, result), **attributes})

    def _store(self, context: TaskContext, result: Any) -> str:
        """Store the result; the cache status in Flyte's words."""
        run = context.run
        if not self._key or run is None:
            return "lookup_failure"
        link = Link("cached_from", run.id, run.kind, run.root, run.attempt, run.source, run.namespace)
        return "populated" if cache.store(self._key, result, link) else "put_failure"


def wrap(site: Site) -> Callable[..., Any]:
    """Decorate the function of a site with ``cache=True``: a function of the same kind, function or coroutine."""
    return managed.wrap(site, CachedCall)


def key_of(site: Site, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The key of a call's result.

    Returns:
        The key; "" where the inputs give none, and where they do not fit the function, which will raise that itself.
    """
    try:
        bound = _signature(site.function).bind(*args, **kwargs)
    except TypeError:
        return ""
    except ValueError as error:  # a function in C that has no signature
        fault(cache.FAULT, error)
        return ""
    try:
        bound.apply_defaults()
        ignored = site.options.cache_ignore_input_vars
        inputs = {name: value for name, value in bound.arguments.items() if name not in ignored}
        return fingerprint.key(site.definition.name, site.options.cache_version, inputs)
    except Exception as error:  # noqa: BLE001  # an input that cannot be pickled, or that holds itself
        fault(cache.FAULT, error)
        return ""
