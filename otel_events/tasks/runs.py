"""One attempt of one run, from its begin to its outcome. Nothing here raises into the function that runs (law 5)."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import msgspec

from otel_events.core import redact
from otel_events.inprocess.attempts import NOTHING, SOURCE, Definition
from otel_events.inprocess.context import TaskContext, caller, surrounding
from otel_events.inprocess.queue import emit, fault, new_id
from otel_events.model.event import Error, Run, Scalar
from otel_events.tasks.options import Options

ENDINGS: tuple[tuple[type[BaseException], str], ...] = (
    (KeyboardInterrupt, "cancelled"),
    (GeneratorExit, "cancelled"),
    (SystemExit, "crashed"),
    (MemoryError, "crashed"),
    (TimeoutError, "timed_out"),
    (BaseException, "failed"),
)
"""(exception, outcome of the attempt that it leaves), the first that fits; asyncio's CancelledError, whose module is
not loaded for this, before all: cancelled."""

MESSAGE, STACK = 32_768, 131_072
"""Characters of an exception's message and stack that are kept."""
TRACEPARENT = "otel_events.parent.traceparent"


class Site:
    """What was decorated, and how."""

    __slots__ = ("definition", "function", "options")

    def __init__(self, function: Callable[..., Any], definition: Definition, options: Options) -> None:
        self.function, self.definition, self.options = function, definition, options


class Called(msgspec.Struct):
    """A call that has ended, for what looks at more than its run: ``otel_events.deck.at_end(called)`` is called with it
    where the task has ``enable_deck`` or made decks of its own, before its outcome is told."""

    site: Site
    arguments: Sequence[Any]
    keywords: Mapping[str, Any]
    context: TaskContext
    result: Any
    error: BaseException | None


def begin(definition: Definition, phase: str = "running") -> TaskContext:
    """The first attempt of a new run, in ``phase``."""
    try:
        above, traceparent, trace, outermost = caller()
        run = _run(definition, above)
        context = TaskContext(run, trace)
        context.outermost, context.definition = outermost, definition
        told = definition.attributes
        if traceparent:
            told = {**told, TRACEPARENT: traceparent}
        context.began = now = time.time_ns()
        if definition.timeline:
            context.laps = []
        emit((context, phase, now, told))
    except Exception as error:  # noqa: BLE001  # the function runs, whatever becomes of its run
        fault("the beginning of a run", error)
        return TaskContext(None)
    return context


def _run(definition: Definition, above: Run | None) -> Run:
    own, kind, name = new_id(), definition.kind, definition.name
    if above is None:
        return Run(SOURCE, kind, own, name, own, workflow=name if kind == "workflow" else "")
    workflow = name if kind == "workflow" else redact.name(above.workflow)
    if above.source != SOURCE or above.namespace:  # in a trace of another source: its own root there
        return Run(SOURCE, kind, own, name, own, workflow=workflow)
    return Run(SOURCE, kind, own, name, above.root, above.id, workflow=workflow, parent_kind=above.kind)


def another(definition: Definition, before: TaskContext) -> TaskContext:
    """The attempt after ``before``."""
    if before.run is None:
        return before
    run = msgspec.structs.replace(before.run, attempt=before.run.attempt + 1)
    context = TaskContext(run, before.trace)
    context.outermost, context.definition = before.outermost, definition
    context.began = now = time.time_ns()
    if definition.timeline:
        context.laps = []
    emit((context, "running", now, definition.attributes))
    return context


def change(context: TaskContext, phase: str, attributes: dict[str, Scalar] = NOTHING) -> None:
    """The attempt comes into a phase that is no outcome."""
    if context.run is not None:
        emit((context, phase, time.time_ns(), attributes))


def succeeded(
    context: TaskContext,
    site: Site,
    arguments: Sequence[Any],
    keywords: Mapping[str, Any],
    result: Any,
    told: dict[str, Scalar] = NOTHING,
) -> None:
    """The attempt has a result. ``told``: further attributes."""
    try:
        if context.run is None:
            return
        if context.has_more or site.options.enable_deck:
            told = _more(Called(site, arguments, keywords, context, result, None), told)
        context.outcome = "succeeded"
        _over(context, told)
    except Exception as error:  # noqa: BLE001  # as in begin
        fault("the end of a run", error)


def failed(
    context: TaskContext,
    site: Site,
    arguments: Sequence[Any],
    keywords: Mapping[str, Any],
    error: BaseException,
    told: dict[str, Scalar] = NOTHING,
) -> None:
    """The attempt ended by an exception."""
    try:
        if context.run is None:
            return
        if context.has_more or site.options.enable_deck:
            told = _more(Called(site, arguments, keywords, context, None, error), told)
        context.error, context.outcome = _error(error), outcome(error)
        _over(context, told)
    except Exception as failure:  # noqa: BLE001  # as in begin
        fault("the end of a run", failure)


def _over(context: TaskContext, told: dict[str, Scalar]) -> None:
    """Hand over the outcome, and put the attempt on the timeline of the one that it was called in."""
    now, run, above = time.time_ns(), context.run, surrounding()
    emit((context, context.outcome, now, told))
    if above is not None and above.laps is not None and run is not None:
        name = f"{run.name} attempt {run.attempt}" if run.attempt > 1 else run.name
        above.lap(name, context.outcome, context.began, now)


def _more(called: Called, told: dict[str, Scalar]) -> dict[str, Scalar]:
    """Attributes with the output metadata; and the decks are made, as long as the attempt has no outcome."""
    context = called.context
    if context.tracker is not None:
        try:
            told = {**told, **context.tracker.attributes(context, called.result)}
        except Exception as failure:  # noqa: BLE001  # objects of the user's
            fault("output metadata of a task", failure)
    if context.has_decks or called.site.options.enable_deck:
        try:
            told = {**told, **import_module("otel_events.deck").at_end(called)}
        except Exception as failure:  # noqa: BLE001  # as above
            fault("a deck", failure)
    return told


def outcome(error: BaseException) -> str:
    """What an exception makes of its attempt."""
    asyncio = sys.modules.get("asyncio.exceptions")
    if asyncio is not None and isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return next(outcome for of, outcome in ENDINGS if isinstance(error, of))


def _error(error: BaseException) -> Error:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        return Error(name, str(error)[:MESSAGE], "user", "".join(traceback.format_exception(error, limit=50))[:STACK])
    except Exception:  # noqa: BLE001  # what a foreign exception says of itself may fail; nothing of ours may
        return Error(name, "(its message could not be read)", "user")
