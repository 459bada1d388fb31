"""ClearML's SDK (2.1): its tasks as runs, with what they report, from within the process that runs them.

    otel_events.configure()
    ClearMLInstrumentor().instrument()
    task = Task.init("project", "name")

Three functions of the SDK are wrapped (HOOKS), in the main process and, by its fork, in the process that reports for
it. What goes through them is read as the gateway reads calls of ClearML's API: the same run, ids, names of stats.
Spans, records and ``@otel_events.task`` in the process are parts of its main task (everywhere.py).
"""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import Callable, Collection
from importlib import import_module
from typing import Any, NamedTuple

from opentelemetry.instrumentation.dependencies import get_dependency_conflicts
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # marked untyped
from wrapt import register_post_import_hook

from otel_events.inprocess.context import Asked
from otel_events.inprocess.queue import fault
from otel_events.instrument import everywhere
from otel_events.instrument.clearml import calls, reports

_logger = logging.getLogger("otel_events")

SUPPORTED = ("clearml ~= 2.1",)


class Hook(NamedTuple):
    """A method of the SDK's, by module, class and name, and what wraps it."""

    module: str
    of: str
    name: str
    wrap: Callable[[Any], Any]


HOOKS: tuple[Hook, ...] = (
    Hook("clearml.backend_interface.base", "InterfaceBase", "send", calls.sent),
    Hook("clearml.backend_interface.metrics.reporter", "Reporter", "_report", reports.reported),
    Hook("clearml.backend_interface.task.log", "TaskHandler", "emit", reports.logged),
)


class ClearMLInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # as above
    """Wraps what HOOKS names, now or when clearml is imported; ``uninstrument()`` puts everything back."""

    def instrumentation_dependencies(self) -> Collection[str]:
        return SUPPORTED

    def _instrument(self, **kwargs: Any) -> None:
        self._kept: list[tuple[Any, str, Any]] = []
        self._undo: list[Callable[[], None]] = []
        self._on = True
        if (conflict := get_dependency_conflicts(SUPPORTED)) is not None:  # opentelemetry-instrument does not look
            if conflict.found:  # another version; where there is none, there is nothing to say
                _logger.warning("clearml is not instrumented: %s", conflict)
            return
        if "clearml" in sys.modules:
            self._wrap()
        else:  # importing it takes seconds that a program may not want to spend
            register_post_import_hook(lambda _: self._wrap(), "clearml")

    def _wrap(self) -> None:
        if not self._on or self._kept:
            return
        try:
            for hook in HOOKS:
                of = getattr(import_module(hook.module), hook.of)
                original = of.__dict__[hook.name]
                setattr(of, hook.name, hook.wrap(original))
                self._kept.append((of, hook.name, original))
            self._undo.append(everywhere.put(Asked(calls.main_run)))
            atexit.register(reports.flush)
        except Exception as error:  # noqa: BLE001  # clearml is being imported by the host
            fault("the instrumentation of clearml", error)

    def _uninstrument(self, **kwargs: Any) -> None:
        self._on = False
        reports.flush()
        atexit.unregister(reports.flush)
        while self._kept:
            of, name, original = self._kept.pop()
            setattr(of, name, original)
        while self._undo:
            self._undo.pop()()
