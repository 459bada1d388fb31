"""Options in groups: a command takes a Struct, and the command line has an option for each of its fields."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

import msgspec


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` for Typer: parameters whose type is a Struct are given as their fields, in that place.

    The fields are annotated as parameters are, and have defaults.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if _is_group(kind)}

    @functools.wraps(command)
    def called(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{field: given.pop(field) for field in kind.__struct_fields__})
        command(**given)

    del called.__wrapped__  # functools sets it; its signature is not this one
    called.__annotations__ = {}
    called.__signature__ = inspect.Signature([*_parameters(command, hints)])  # type: ignore[attr-defined]  # inspect's
    return called


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _parameters(command: Callable[..., None], hints: dict[str, Any]) -> Iterator[inspect.Parameter]:
    for name, one in inspect.signature(command).parameters.items():
        if not _is_group(hints[name]):
            yield one.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
            continue
        inner = get_type_hints(hints[name], include_extras=True)
        for field in msgspec.structs.fields(hints[name]):
            annotation = inner[field.name]
            yield inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation
            )
