"""An observer of the SDK's (``flyte._observe``): around the user's code of each attempt of a task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from opentelemetry import trace

from otel_events.inprocess.context import TaskContext, enter, leave
from otel_events.instrument.flyte2 import runs
from otel_events.instrument.flyte2.hooks import tell, under_way
from otel_events.instrument.flyte2.runs import Action
from otel_events.model.identity import traceparent

PLUGIN = "flyteplugins-otel"
"""Scope of the spans of Flyte's own plug-in."""


class Observer:
    """Makes the run the one at hand, and keeps what was raised: the recorder is told of texts alone."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def put(self) -> None:
        """Register as the last: within the span of Flyte's plug-in, whoever came first."""
        self.take_back()
        self._module.register_observer(self)

    def take_back(self) -> None:
        self._module.unregister_observer(self)

    def task_span(self, info: Any, recorder: Any) -> AbstractContextManager[None]:
        """Of an action that a local run has told of; of no other: a pod's run is Flyte's to tell."""
        action = under_way(f"{runs.root(info.action, '').id}/{info.action.name}")
        return self._around(action, recorder) if action is not None else nullcontext()

    def step_span(self, info: Any, recorder: Any) -> AbstractContextManager[None]:  # flyte's shape
        return nullcontext()

    @contextmanager
    def _around(self, action: Action, recorder: Any) -> Iterator[None]:
        context = TaskContext(action.run, action.trace)
        if theirs := _theirs():
            action.attributes["traceparent"] = theirs
            context = _Theirs(action.run, theirs)
        tell(action, "running")
        tokens = enter(context)
        try:
            yield
        finally:
            leave(tokens)
            action.error = recorder.error


def _theirs() -> str:
    """W3C context of the span that Flyte's plug-in has made for this task, "" where it is not active."""
    span = trace.get_current_span()
    scope = getattr(span, "instrumentation_scope", None)
    if scope is None or scope.name != PLUGIN:
        return ""
    where = span.get_span_context()
    ids = where.trace_id.to_bytes(16, "big"), where.span_id.to_bytes(8, "big")
    return traceparent(*ids, sampled=where.trace_flags.sampled)


class _Theirs(TaskContext):
    """The run at hand, on the span of Flyte's plug-in."""

    __slots__ = ("_span",)

    def __init__(self, run: Any, told: str) -> None:
        super().__init__(run, bytes.fromhex(told.split("-")[1]))
        self._span = bytes.fromhex(told.split("-")[2])

    @property
    def span_id(self) -> bytes:
        return self._span
