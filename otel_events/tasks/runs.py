"""One attempt of one run, from its begin to its outcome. Nothing here raises into the function that runs (law 5)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from otel_events.core import redact
from otel_events.inprocess.attempts import NOTHING, SOURCE, Definition
from otel_events.inprocess.context import caller, current_attempt
from otel_events.inprocess.ended import EndedCall
from otel_events.inprocess.exceptions import error_of
from otel_events.inprocess.faults import fault
from otel_events.inprocess.ids import new_id
from otel_events.inprocess.queue import emit
from otel_events.model.event import Error, Run, Scalar
from otel_events.tasks.context import TaskContext
from otel_events.tasks.options import Options

ENDINGS: tuple[tuple[type[BaseException], str], ...] = (
    (KeyboardInterrupt, "cancelled"),
    (GeneratorExit, "cancelled"),
    (SystemExit, "crashed"),
    (MemoryError, "crashed"),
    (TimeoutError, "timed_out"),
    (BaseException, "failed"),
)
"""(exception, outcome of the attempt that it ends); the first that fits. Before all of them comes the CancelledError of
asyncio, which is "cancelled": that module is not imported only to compare with it."""

MESSAGE, STACK = 32_768, 131_072
"""Characters of an exception's message and stack; what is longer is cut."""
TRACEPARENT = "otel_events.parent.traceparent"


class Site:
    """A decorated function, and its options."""

    __slots__ = ("definition", "function", "options")

    def __init__(self, function: Callable[..., Any], definition: Definition, options: Options) -> None:
        self.function, self.definition, self.options = function, definition, options


def begin(definition: Definition, phase: str = "running") -> TaskContext:
    """Begin the first attempt of a new run.

    Args:
        definition: Of the function that is called.
        phase: The phase that the attempt begins in.

    Returns:
        Its context; one without a run where it could not be begun.
    """
    try:
        above, traceparent, trace, outermost = caller()
        context = TaskContext(_run(definition, above), trace)
        context.outermost = outermost
        attributes = definition.attributes
        if traceparent:
            attributes = {**attributes, TRACEPARENT: traceparent}
        _start(context, definition, phase, attributes)
    except Exception as error:  # noqa: BLE001  # the function runs, whatever becomes of its run
        fault("the beginning of a run", error)
        return TaskContext(None)
    return context


def _start(context: TaskContext, definition: Definition, phase: str, attributes: dict[str, Scalar]) -> None:
    context.definition = definition
    context.began = time.time_ns()
    if definition.timeline:
        context.laps = []
    emit((context, phase, context.began, attributes))


def _run(definition: Definition, above: Run | None) -> Run:
    id_, kind, name = new_id(), definition.kind, definition.name
    if above is None:
        return Run(SOURCE, kind, id_, name, id_, workflow=name if kind == "workflow" else "")
    workflow = name if kind == "workflow" else redact.name(above.workflow)
    if above.source != SOURCE or above.namespace:  # in a trace of another source it is a root of our own
        return Run(SOURCE, kind, id_, name, id_, workflow=workflow)
    return Run(SOURCE, kind, id_, name, above.root, above.id, workflow=workflow, parent_kind=above.kind)


def another(definition: Definition, before: TaskContext) -> TaskContext:
    """Begin the attempt after ``before``."""
    if before.run is None:
        return before
    run = msgspec.structs.replace(before.run, attempt=before.run.attempt + 1)
    context = TaskContext(run, before.trace)
    context.outermost = before.outermost
    _start(context, definition, "running", definition.attributes)
    return context


def change(context: TaskContext, phase: str, attributes: dict[str, Scalar] = NOTHING) -> None:
    """The attempt goes into a phase that is no outcome."""
    if context.run is not None:
        emit((context, phase, time.time_ns(), attributes))


def succeeded(
    context: TaskContext,
    site: Site,
    arguments: Sequence[Any],
    keywords: Mapping[str, Any],
    result: Any,
    attributes: dict[str, Scalar] = NOTHING,
) -> None:
    """The attempt ended with a result. ``attributes``: further ones of its span."""
    try:
        if context.run is None:
            return
        context.outcome = "succeeded"
        if context.has_more or site.options.enable_deck:
            attributes = _with_more(context, _ended(context, site, arguments, keywords, result, None), attributes)
        _hand_over(context, attributes)
    except Exception as error:  # noqa: BLE001  # the result is the caller's, whatever becomes of the run
        fault("the end of a run", error)


def failed(
    context: TaskContext,
    site: Site,
    arguments: Sequence[Any],
    keywords: Mapping[str, Any],
    error: BaseException,
    attributes: dict[str, Scalar] = NOTHING,
) -> None:
    """The attempt ended with an exception. ``attributes``: further ones of its span."""
    try:
        if context.run is None:
            return
        context.outcome = outcome(error)
        if context.has_more or site.options.enable_deck:
            attributes = _with_more(context, _ended(context, site, arguments, keywords, None, error), attributes)
        context.error = _error(error)
        _hand_over(context, attributes)
    except Exception as failure:  # noqa: BLE001  # the exception is the caller's, whatever becomes of the run
        fault("the end of a run", failure)


def _hand_over(context: TaskContext, attributes: dict[str, Scalar]) -> None:
    """Hand over the outcome, and put the attempt on the timeline of the one that it was called in."""
    now, run, above = time.time_ns(), context.run, current_attempt()
    emit((context, context.outcome, now, attributes))
    if above is not None and above.laps is not None and run is not None:
        name = f"{run.name} attempt {run.attempt}" if run.attempt > 1 else run.name
        above.lap(name, context.outcome, context.began, now)


def _ended(
    context: TaskContext,
    site: Site,
    arguments: Sequence[Any],
    keywords: Mapping[str, Any],
    result: Any,
    error: BaseException | None,
) -> EndedCall:
    options = site.options
    return EndedCall(
        name=site.definition.name,
        function=site.function,
        arguments=arguments,
        keywords=keywords,
        attempt=context,
        result=result,
        error=error,
        enable_deck=options.enable_deck,
        deck_fields=options.deck_fields,
    )


def _with_more(context: TaskContext, call: EndedCall, attributes: dict[str, Scalar]) -> dict[str, Scalar]:
    """The attributes, with those of output metadata and of the page of decks, which is written here."""
    if context.tracker is not None:
        try:
            attributes = {**attributes, **context.tracker.attributes(context, call.result)}
        except Exception as failure:  # noqa: BLE001  # objects of the user's
            fault("output metadata of a task", failure)
    if context.has_decks or call.enable_deck:
        try:
            from otel_events.deck import finish  # Jinja2, which only pages need

            attributes = {**attributes, **finish.at_end(call)}
        except Exception as failure:  # noqa: BLE001  # objects of the user's
            fault("a deck", failure)
    return attributes


def outcome(error: BaseException) -> str:
    """The outcome of an attempt that ended with ``error``."""
    asyncio = sys.modules.get("asyncio.exceptions")
    if asyncio is not None and isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return next(outcome for kind, outcome in ENDINGS if isinstance(error, kind))


def _error(error: BaseException) -> Error:
    described = error_of(error)
    if len(described.message) <= MESSAGE and len(described.stack) <= STACK:
        return described
    return msgspec.structs.replace(described, message=described.message[:MESSAGE], stack=described.stack[:STACK])
