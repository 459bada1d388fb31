"""ClearML's SDK (2.1): its tasks as runs, with what they report, from within the process that runs them.

    otel_events.configure()
    ClearMLInstrumentor().instrument()
    task = Task.init("project", "name")

Three functions of the SDK are wrapped (HOOKS), in the main process and, by its fork, in the process that reports for
it. What goes through them is decoded as the gateway decodes calls of ClearML's API, so run, ids and names of stats are
the same. Spans, records and ``@otel_events.task`` in the process are parts of its main task (fallback.py).
"""

from __future__ import annotations

import atexit
from typing import Any

from otel_events.instrument import fallback
from otel_events.instrument.clearml import calls, reports
from otel_events.instrument.patching import Hook, SystemInstrumentor
from otel_events.tasks.context import DynamicContext

SUPPORTED = ("clearml ~= 2.1",)

HOOKS: tuple[Hook, ...] = (
    Hook("clearml.backend_interface.base", "InterfaceBase", "send", calls.sent),
    Hook("clearml.backend_interface.metrics.reporter", "Reporter", "_report", reports.reported),
    Hook("clearml.backend_interface.task.log", "TaskHandler", "emit", reports.logged),
)


class ClearMLInstrumentor(SystemInstrumentor):
    """Wraps what HOOKS names, now or when clearml is imported; ``uninstrument()`` puts everything back."""

    system = "clearml"
    supported = SUPPORTED

    def _begin(self) -> None:
        self._when_imported("clearml", self._wrap)

    def _wrap(self, clearml: Any) -> None:
        self._patches.put(HOOKS)
        self._patches.on_undo(fallback.install(DynamicContext(calls.main_run)))
        atexit.register(reports.flush)
        self._patches.on_undo(lambda: atexit.unregister(reports.flush), reports.flush)
