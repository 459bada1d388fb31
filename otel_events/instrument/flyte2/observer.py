"""An observer of the SDK's (``flyte._observe``): around the user's code of each attempt of a task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from opentelemetry import trace

from otel_events.inprocess.context import enter, leave, traceparent_of
from otel_events.instrument.flyte2 import runs
from otel_events.instrument.flyte2.hooks import emit_phase, under_way
from otel_events.instrument.flyte2.runs import Action
from otel_events.tasks.context import TaskContext

PLUGIN = "flyteplugins-otel"
"""Scope of the spans of Flyte's own plug-in."""


class Observer:
    """Makes the run the current one, and remembers the exception: the recorder gets its text alone."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def put(self) -> None:
        """Register as the last observer, so that the code of a task runs within the span of Flyte's plug-in."""
        self.take_back()
        self._module.register_observer(self)

    def take_back(self) -> None:
        """Unregister the observer."""
        self._module.unregister_observer(self)

    def task_span(self, info: Any, recorder: Any) -> AbstractContextManager[None]:
        """Around an action of a local run, and of no other: the runs of pods are in Flyte's own events."""
        action = under_way(f"{runs.root(info.action, '').id}/{info.action.name}")
        return self._around(action, recorder) if action is not None else nullcontext()

    def step_span(self, info: Any, recorder: Any) -> AbstractContextManager[None]:
        """Steps are no runs."""
        return nullcontext()

    @contextmanager
    def _around(self, action: Action, recorder: Any) -> Iterator[None]:
        context = TaskContext(action.run, action.trace)
        if traceparent := _plugin_span():
            action.attributes["traceparent"] = traceparent
            context = _OnPluginSpan(action.run, traceparent)
        emit_phase(action, "running")
        tokens = enter(context)
        try:
            yield
        finally:
            leave(tokens)
            action.error = recorder.error


def _plugin_span() -> str:
    """W3C context of the span that Flyte's plug-in has made for this task, "" where it is not active."""
    span = trace.get_current_span()
    scope = getattr(span, "instrumentation_scope", None)
    if scope is None or scope.name != PLUGIN:
        return ""
    return traceparent_of(span.get_span_context())


class _OnPluginSpan(TaskContext):
    """The current run, on the span of Flyte's plug-in."""

    __slots__ = ("_span",)

    def __init__(self, run: Any, traceparent: str) -> None:
        _, trace_id, span_id, _ = traceparent.split("-")
        super().__init__(run, bytes.fromhex(trace_id))
        self._span = bytes.fromhex(span_id)

    @property
    def span_id(self) -> bytes:
        """Of the span of Flyte's plug-in."""
        return self._span
