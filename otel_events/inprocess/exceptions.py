"""Exceptions of a user's code as ``Error`` of the model."""

from __future__ import annotations

import sys
import traceback
from typing import Literal

from otel_events.model.event import Error

FRAMES = 50
"""Frames of a stack; the others are left out."""
UNREADABLE = "(its message could not be read)"


def type_name(kind: type) -> str:
    """The name of an exception's class, with its module unless that is ``builtins``."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def stack_of(error: BaseException) -> str:
    """Where an exception was raised, as Python prints it. Raises what the exception's ``__str__`` raises."""
    return "".join(traceback.format_exception(error, limit=FRAMES))


def error_of(
    error: BaseException,
    kind: Literal["user", "system"] = "user",
    *,
    with_stack: bool = True,
    fallback: str = UNREADABLE,
) -> Error:
    """An exception as it is in an event. Raises nothing.

    Args:
        error: The exception.
        kind: Whose fault it is.
        with_stack: Whether to add where it was raised.
        fallback: The message, where the exception's own cannot be read.

    Returns:
        Its class, message and stack.
    """
    name = type_name(type(error))
    try:
        return Error(name, str(error), kind, stack_of(error) if with_stack else "")
    except Exception:  # noqa: BLE001  # the __str__ of a foreign exception may raise, and nothing of ours may
        return Error(name, fallback, kind)


def exception_in(exc_info: object) -> BaseException | None:
    """The exception that a log call was given as ``exc_info``.

    Args:
        exc_info: An exception, the triple of ``sys.exc_info()``, or True for the exception that is being handled.

    Returns:
        The exception; None where there is none.
    """
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return next((part for part in exc_info if isinstance(part, BaseException)), None)
    return sys.exc_info()[1] if exc_info else None
