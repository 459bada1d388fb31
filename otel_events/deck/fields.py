"""The decks that are made for a task: inputs, outputs, timeline, source code, dependencies. Inputs and outputs only
where ``deck_fields`` asks for them; what looks like a secret is redacted in all of them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from importlib import metadata
from typing import Any

from otel_events.core import redact
from otel_events.deck.parts import Bar, Failure, Panel, Part, Plain, Table, Timeline, cut
from otel_events.deck.renderers import in_words, is_rich, named, render
from otel_events.inprocess.attempts import ProcessAttempt
from otel_events.inprocess.ended import EndedCall
from otel_events.inprocess.faults import fault

FAULT = "a deck of a task"
VALUES = 100
"""Inputs, and outputs, that are shown."""
SOURCE = 100_000
"""Characters of source code."""
DEFAULT = ("Timeline", "Source Code", "Dependencies")
"""What ``deck_fields=None`` stands for."""


def panels(call: EndedCall, until: int) -> list[Panel]:
    """The panels that the task asks for, in its order. ``until``: the attempt's end, ns."""
    if not call.enable_deck:
        return []
    fields = DEFAULT if call.deck_fields is None else call.deck_fields
    names = dict.fromkeys(str(field.value if isinstance(field, Enum) else field) for field in fields)
    return [Panel(name, _guarded(MAKERS[name], call, until)) for name in names]


def _guarded(make: Callable[[EndedCall, int], list[Part]], call: EndedCall, until: int) -> list[Part]:
    try:
        return make(call, until)
    except Exception as error:  # noqa: BLE001  # objects of the user's; the other panels are shown
        fault(FAULT, error)
        return [Failure(reason=f"could not be made: {type(error).__name__}")]


# --- values ----------------------------------------------------------------------------------------------------------


def _inputs(call: EndedCall, until: int) -> list[Part]:
    bound = inspect.signature(call.function).bind(*call.arguments, **call.keywords)
    bound.apply_defaults()
    return _values([(name, value) for name, value in bound.arguments.items() if name not in ("self", "cls")])


def _outputs(call: EndedCall, until: int) -> list[Part]:
    if call.error is not None:
        return [Failure(reason=f"none: it ended by {type(call.error).__name__}")]
    result = call.result
    if not isinstance(result, tuple):
        return _values([("o0", result)])
    fields = getattr(result, "_fields", ())
    return _values([(str(fields[at]) if at < len(fields) else f"o{at}", output) for at, output in enumerate(result)])


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
    except Exception as error:  # noqa: BLE001  # the __repr__ of a foreign object may raise; its neighbours are shown
        fault(FAULT, error)
        return f"(could not be shown: {type(error).__name__})"


# --- the code --------------------------------------------------------------------------------------------------------


def _source_code(call: EndedCall, until: int) -> list[Part]:
    function = inspect.unwrap(call.function)
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
    versions = {package.name: package.version for package in metadata.distributions() if package.name}
    return tuple(sorted(versions.items(), key=lambda item: item[0].lower()))


def _dependencies(call: EndedCall, until: int) -> list[Part]:
    return [Table(heads=("package", "version"), rows=[list(row) for row in _distributions()])]


# --- the timeline ----------------------------------------------------------------------------------------------------


def _timeline(call: EndedCall, until: int) -> list[Part]:
    return timeline(call.attempt, call.name, until)


def timeline(attempt: ProcessAttempt, name: str, until: int) -> list[Part]:
    """The attempt, the runs that it started in this process, and what ``stats.timer`` measured in it."""
    return [Timeline(bars=list(_bars(attempt, name, until)), seconds=(until - attempt.began) / 1e9)]


def _bars(attempt: ProcessAttempt, name: str, until: int) -> Iterator[Bar]:
    yield Bar(name, 0.0, (until - attempt.began) / 1e9, tone=attempt.outcome)
    for what, tone, start, end in sorted(attempt.laps or (), key=lambda lap: (lap[2], -lap[3])):
        begin, over = max(start, attempt.began), min(end, until)
        seconds = max(over - begin, 0) / 1e9
        yield Bar(cut(in_words(what), 200), (begin - attempt.began) / 1e9, seconds, level=1, tone=tone)


MAKERS: dict[str, Callable[[EndedCall, int], list[Part]]] = {
    "Input": _inputs,
    "Output": _outputs,
    "Timeline": _timeline,
    "Source Code": _source_code,
    "Dependencies": _dependencies,
}
"""Value of DeckField -> what makes its panel."""
