"""A run that is at hand in every thread and coroutine of a process, where nothing else is: of a process that is all
there for one task (ClearML), or carries out tasks in threads and coroutines that others start (a worker of Ray).

``put`` makes it so for us (``context.everywhere``) and for OpenTelemetry, whose context is asked by way of ``Runtime``
from then on: it answers as the one before, and where that is empty, with the span of the run. Nothing is put into
anybody's threads, functions or generators.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Token
from typing import Any

import opentelemetry.context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.context.context import _RuntimeContext

from otel_events.inprocess.context import Asked, OwnSpan, around, everywhere, surrounding


class Runtime(_RuntimeContext):
    """``before``, whose empty context is the one of the run that is at hand everywhere."""

    def __init__(self, before: Any) -> None:
        self.before = before

    def attach(self, context: Context) -> Token[Context]:
        token: Token[Context] = self.before.attach(context)
        return token

    def get_current(self) -> Context:
        found: Context = self.before.get_current()
        if found:
            return found
        context = surrounding()
        return found if context is None else trace.set_span_in_context(OwnSpan(context), found)

    def detach(self, token: Token[Context]) -> None:
        self.before.detach(token)


def put(context: Asked) -> Callable[[], None]:
    """Make the run that it asks for the one at hand; returns what undoes that."""
    everywhere(*around(), context)
    if not isinstance(opentelemetry.context._RUNTIME_CONTEXT, Runtime):
        opentelemetry.context._RUNTIME_CONTEXT = Runtime(opentelemetry.context._RUNTIME_CONTEXT)

    def undo() -> None:
        everywhere(*(one for one in around() if one is not context))
        runtime = opentelemetry.context._RUNTIME_CONTEXT
        if not around() and isinstance(runtime, Runtime):
            opentelemetry.context._RUNTIME_CONTEXT = runtime.before

    return undo
