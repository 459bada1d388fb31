"""Options in groups: a command takes a Struct, and the command line has an option for each of its fields."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_type_hints

import msgspec


def grouped(
    command: Callable[..., None], more: Mapping[str, type[msgspec.Struct]] | None = None
) -> Callable[..., None]:
    """``command`` for Typer: parameters whose type is a Struct are given as their fields, in that place.

    The fields are annotated as parameters are, and have defaults. ``more``: Structs that ``command`` takes as well, as
    a list in its parameter ``more``.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if _is_group(kind)}
    others = [*(more or {}).values()]

    @functools.wraps(command)
    def called(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = _taken(given, kind)
        if more is not None:
            given["more"] = [_taken(given, kind) for kind in others]
        command(**given)

    del called.__wrapped__  # functools sets it; its signature is not this one
    called.__annotations__ = {}
    called.__signature__ = inspect.Signature([*_parameters(command, hints, others)])  # type: ignore[attr-defined]  # inspect's
    return called


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _taken(given: dict[str, Any], kind: type[msgspec.Struct]) -> msgspec.Struct:
    """The Struct of the values that were given for its fields, which are taken out."""
    return kind(**{field: given.pop(field) for field in kind.__struct_fields__})


def _parameters(
    command: Callable[..., None], hints: dict[str, Any], others: list[type[msgspec.Struct]]
) -> Iterator[inspect.Parameter]:
    for name, parameter in inspect.signature(command).parameters.items():
        if name == "more" and others:
            for kind in others:
                yield from _fields(kind)
        elif _is_group(hints[name]):
            yield from _fields(hints[name])
        elif name != "more":
            yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])


def _fields(kind: type[msgspec.Struct]) -> Iterator[inspect.Parameter]:
    annotations = get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        yield inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotations[field.name]
        )
