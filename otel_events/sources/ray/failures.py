"""The outcome of an attempt that is FAILED: by its error type, and for an application error by its text too."""

from __future__ import annotations

import re

from otel_events.model.event import Error
from otel_events.sources.ray.fields import Attributes, plain, raised
from otel_events.sources.ray.shapes import RayError
from otel_events.sources.ray.tables import ERROR_TYPES, UNKNOWN_ERROR, End

APPLICATION = "TASK_EXECUTION_EXCEPTION"
_CANCELLED = re.compile(r"TaskID\(([0-9a-f]+)\) was cancelled\.\s*\Z")


def failure(error: RayError, task: str) -> tuple[End, Error]:
    """The outcome and the error of an attempt that is FAILED.

    Args:
        error: What Ray says of it.
        task: Id of its task, in hex. Ray reports a cancelled task as an application error whose text names the task;
            when another task is named, the application itself failed by waiting for that one.
    """
    outcome, blame = ERROR_TYPES.get(error.error_type, UNKNOWN_ERROR)
    text = plain(error.error_message)
    if error.error_type == APPLICATION:
        cancelled = _CANCELLED.search(text)
        if cancelled and cancelled[1] == task:
            outcome, blame = "cancelled", ""
        message, stack = raised(text)[1], text
    else:
        message, stack = text, ""
    return (outcome, blame), Error(error.error_type or "UNKNOWN", message, blame, stack)


def exception(error: RayError) -> Attributes:
    """The attribute with the Python class behind an application error; none for any other error."""
    name = raised(plain(error.error_message))[0] if error.error_type == APPLICATION else ""
    return {"ray.exception.type": name} if name else {}
