"""The decks that are made for a task: inputs, outputs, timeline, source code, dependencies. Inputs and outputs only
where ``deck_fields`` asks for them; what looks like a secret is redacted in all of them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from importlib import metadata
from typing import TYPE_CHECKING, Any

from otel_events.core import redact
from otel_events.deck.parts import Bar, Failure, Panel, Part, Plain, Table, Timeline, cut
from otel_events.deck.renderers import in_words, is_rich, named, render
from otel_events.inprocess.queue import fault

if TYPE_CHECKING:
    from otel_events.inprocess.context import TaskContext
    from otel_events.tasks.runs import Called

FAULT = "a deck of a task"
VALUES = 100
"""Inputs, and outputs, that are shown."""
SOURCE = 100_000
"""Characters of source code."""
DEFAULT = ("Timeline", "Source Code", "Dependencies")
"""What ``deck_fields=None`` stands for."""


def panels(called: Called, until: int) -> list[Panel]:
    """The panels that the task asks for, in its order. ``until``: the attempt's end, ns."""
    options = called.site.options
    if not options.enable_deck:
        return []
    fields = DEFAULT if options.deck_fields is None else options.deck_fields
    names = dict.fromkeys(str(field.value if isinstance(field, Enum) else field) for field in fields)
    return [Panel(name, _guarded(MADE[name], called, until)) for name in names]


def _guarded(make: Callable[[Called, int], list[Part]], called: Called, until: int) -> list[Part]:
    try:
        return make(called, until)
    except Exception as error:  # noqa: BLE001  # objects of the user's; the other panels are shown
        fault(FAULT, error)
        return [Failure(reason=f"could not be made: {type(error).__name__}")]


# --- values ----------------------------------------------------------------------------------------------------------


def _inputs(called: Called, until: int) -> list[Part]:
    bound = inspect.signature(called.site.function).bind(*called.arguments, **called.keywords)
    bound.apply_defaults()
    return _values([(name, value) for name, value in bound.arguments.items() if name not in ("self", "cls")])


def _outputs(called: Called, until: int) -> list[Part]:
    if called.error is not None:
        return [Failure(reason=f"none: it ended by {type(called.error).__name__}")]
    result = called.result
    if not isinstance(result, tuple):
        return _values([("o0", result)])
    fields = getattr(result, "_fields", ())
    return _values([(str(fields[at]) if at < len(fields) else f"o{at}", one) for at, one in enumerate(result)])


def _values(values: Sequence[tuple[str, Any]]) -> list[Part]:
    """A table of what is a line of text, then what shows as more, each under its name."""
    rows: list[tuple[str, str, str]] = []
    rich: list[Part] = []
    for name, value in values[:VALUES]:
        if is_rich(value):
            part = render(value)
            part.title = name
            rich.append(part)
        else:
            rows.append((name, type(value).__name__, _value(name, value)))
    note = f"The first {VALUES} of {len(values):,}." if len(values) > VALUES else ""
    return [*([Table(heads=("name", "type", "value"), rows=rows, note=note)] if rows else []), *rich]


def _value(name: str, value: Any) -> str:
    try:
        return named(name, value)
    except Exception as error:  # noqa: BLE001  # what an object says of itself may fail; its neighbours are shown
        fault(FAULT, error)
        return f"(could not be shown: {type(error).__name__})"


# --- the code --------------------------------------------------------------------------------------------------------


def _source_code(called: Called, until: int) -> list[Part]:
    function = inspect.unwrap(called.site.function)
    while isinstance(function, functools.partial):
        function = inspect.unwrap(function.func)
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError):  # made by exec, in a console, of C
        return [Failure(reason="there is no file that holds its source code")]
    where = f"{inspect.getsourcefile(function)}, line {first}"
    return [Plain(text=cut(redact.text("".join(lines)), SOURCE), note=where)]


@functools.cache
def _distributions() -> tuple[tuple[str, str], ...]:
    found = {one.name: one.version for one in metadata.distributions() if one.name}
    return tuple(sorted(found.items(), key=lambda item: item[0].lower()))


def _dependencies(called: Called, until: int) -> list[Part]:
    return [Table(heads=("package", "version"), rows=[list(row) for row in _distributions()])]


# --- the timeline ----------------------------------------------------------------------------------------------------


def _timeline(called: Called, until: int) -> list[Part]:
    return timeline(called.context, called.site.definition.name, until)


def timeline(context: TaskContext, name: str, until: int) -> list[Part]:
    """The attempt, the runs that it started in this process, and what ``stats.timer`` measured in it."""
    return [Timeline(bars=list(_bars(context, name, until)), seconds=(until - context.began) / 1e9)]


def _bars(context: TaskContext, name: str, until: int) -> Iterator[Bar]:
    yield Bar(name, 0.0, (until - context.began) / 1e9, tone=context.outcome)
    for what, tone, start, end in sorted(context.laps or (), key=lambda lap: (lap[2], -lap[3])):
        begin, over = max(start, context.began), min(end, until)
        seconds = max(over - begin, 0) / 1e9
        yield Bar(cut(in_words(what), 200), (begin - context.began) / 1e9, seconds, level=1, tone=tone)


MADE: dict[str, Callable[[Called, int], list[Part]]] = {
    "Input": _inputs,
    "Output": _outputs,
    "Timeline": _timeline,
    "Source Code": _source_code,
    "Dependencies": _dependencies,
}
"""Value of DeckField -> what makes its panel."""
