"""How an attempt that is FAILED ended, by its error type and, of an application error, by its text."""

from __future__ import annotations

import re

from otel_events.model.event import Error
from otel_events.sources.ray.fields import Attributes, plain, raised
from otel_events.sources.ray.shapes import RayError
from otel_events.sources.ray.tables import ERROR_TYPES, UNKNOWN_ERROR, End

APPLICATION = "TASK_EXECUTION_EXCEPTION"
_CANCELLED = re.compile(r"TaskID\(([0-9a-f]+)\) was cancelled\.\s*\Z")


def failure(told: RayError, task: str) -> tuple[End, Error]:
    """How an attempt that is FAILED ended. That its own task was cancelled is no failure of the application."""
    outcome, blame = ERROR_TYPES.get(told.error_type, UNKNOWN_ERROR)
    text = plain(told.error_message)
    if told.error_type == APPLICATION:
        cancelled = _CANCELLED.search(text)
        if cancelled and cancelled[1] == task:
            outcome, blame = "cancelled", ""
        message, stack = raised(text)[1], text
    else:
        message, stack = text, ""
    return (outcome, blame), Error(told.error_type or "UNKNOWN", message, blame, stack)


def exception(told: RayError) -> Attributes:
    """The Python class behind an application error."""
    name = raised(plain(told.error_message))[0] if told.error_type == APPLICATION else ""
    return {"ray.exception.type": name} if name else {}
