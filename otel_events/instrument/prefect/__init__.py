"""Prefect 3: its flow and task runs, from within the process that carries them out.

    PrefectInstrumentor().instrument()

or with no line of code: ``opentelemetry-instrument``, or by Prefect's own plug-in (plugin.py), also in the processes
that a worker starts. The same records are decoded that the gateway reads of the server, so ids are the same; where
Prefect's own telemetry has a span for a run, that span is the run's and no other is sent.
"""

from __future__ import annotations

from typing import Any

from otel_events.instrument import fallback
from otel_events.instrument.patching import Hook, SystemInstrumentor
from otel_events.instrument.prefect import hooks
from otel_events.instrument.prefect.context import CurrentPrefectRun

SUPPORTED = ("prefect ~= 3.8",)

_FLOWS = tuple(("prefect.flow_engine", owner) for owner in ("FlowRunEngine", "AsyncFlowRunEngine"))
_TASKS = tuple(("prefect.task_engine", owner) for owner in ("SyncTaskRunEngine", "AsyncTaskRunEngine"))
_HANDLERS = ("handle_exception", "handle_timeout", "handle_crash")

HOOKS: tuple[Hook, ...] = (
    Hook("prefect.events.clients", "EventsClient", "emit", hooks.emitted),
    *(Hook(*place, "set_state", hooks.flow_state) for place in _FLOWS),
    *(Hook(*place, name, hooks.failed) for place in (*_FLOWS, *_TASKS) for name in _HANDLERS),
)


class PrefectInstrumentor(SystemInstrumentor):
    """Wraps what HOOKS names, now or when Prefect imports it; ``uninstrument()`` puts everything back."""

    system = "prefect"
    supported = SUPPORTED

    def _begin(self) -> None:
        self._patches.on_undo(fallback.install(CurrentPrefectRun()))
        for name in dict.fromkeys(hook.module for hook in HOOKS):  # each takes seconds to import, and some never are
            self._when_imported(name, self._wrap)

    def _wrap(self, module: Any) -> None:
        self._patches.put(hook for hook in HOOKS if hook.module == module.__name__)
