"""A process-wide fallback context: a run that is the current one in every thread and coroutine where no other is.

Some processes are there for one task (ClearML), or carry out tasks in threads and coroutines that others start (a
worker of Ray). ``install`` makes that run the current one for us (context.set_fallbacks) and for OpenTelemetry, whose
context is read by way of ``FallbackRuntime`` from then on: it answers as the runtime before it, and where that context
is empty, with the span of the run. Nothing is put into anybody's threads, functions or generators.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Token
from typing import Any

import opentelemetry.context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.context.context import _RuntimeContext

from otel_events.inprocess.attempts import ProcessAttempt
from otel_events.inprocess.context import AttemptSpan, current_attempt, fallbacks, set_fallbacks


class FallbackRuntime(_RuntimeContext):
    """The runtime context ``before``, whose empty context is that of the fallback."""

    def __init__(self, before: Any) -> None:
        self.before = before

    def attach(self, context: Context) -> Token[Context]:
        """As the runtime before."""
        token: Token[Context] = self.before.attach(context)
        return token

    def get_current(self) -> Context:
        """The context; where it is empty, one with the span of the fallback."""
        context: Context = self.before.get_current()
        if context:
            return context
        attempt = current_attempt()
        return context if attempt is None else trace.set_span_in_context(AttemptSpan(attempt), context)

    def detach(self, token: Token[Context]) -> None:
        """As the runtime before."""
        self.before.detach(token)


def install(attempt: ProcessAttempt) -> Callable[[], None]:
    """Add a process-wide fallback context.

    Args:
        attempt: Its run is looked up on each access.

    Returns:
        A function that undoes it.
    """
    set_fallbacks(*fallbacks(), attempt)
    # The SDK has no public way to replace the runtime context of a running process.
    if not isinstance(opentelemetry.context._RUNTIME_CONTEXT, FallbackRuntime):
        opentelemetry.context._RUNTIME_CONTEXT = FallbackRuntime(opentelemetry.context._RUNTIME_CONTEXT)

    def undo() -> None:
        set_fallbacks(*(fallback for fallback in fallbacks() if fallback is not attempt))
        runtime = opentelemetry.context._RUNTIME_CONTEXT
        if not fallbacks() and isinstance(runtime, FallbackRuntime):
            opentelemetry.context._RUNTIME_CONTEXT = runtime.before

    return undo
