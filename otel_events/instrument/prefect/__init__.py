"""Prefect 3: its flow and task runs, from within the process that carries them out.

    PrefectInstrumentor().instrument()

or with no line of code: ``opentelemetry-instrument``, or by Prefect's own plug-in (plugin.py), also in the processes
that a worker starts. Runs are told by the same records that the gateway reads of the server, under the same ids; where
Prefect's own telemetry has a span for a run, that span is the run's and no other is sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from opentelemetry.instrumentation.dependencies import get_dependency_conflicts
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # marked untyped
from wrapt import register_post_import_hook

from otel_events.inprocess.queue import fault
from otel_events.instrument import everywhere
from otel_events.instrument.prefect import hooks
from otel_events.instrument.prefect.context import RunAtHand

_logger = logging.getLogger("otel_events")

SUPPORTED = ("prefect ~= 3.8",)


class Hook(NamedTuple):
    """A method of Prefect's, by module, class and name, and what wraps it."""

    module: str
    of: str
    name: str
    wrap: Callable[[Any], Any]


_FLOWS = tuple(("prefect.flow_engine", of) for of in ("FlowRunEngine", "AsyncFlowRunEngine"))
_TASKS = tuple(("prefect.task_engine", of) for of in ("SyncTaskRunEngine", "AsyncTaskRunEngine"))
_HANDLERS = ("handle_exception", "handle_timeout", "handle_crash")

HOOKS: tuple[Hook, ...] = (
    Hook("prefect.events.clients", "EventsClient", "emit", hooks.emitted),
    *(Hook(*of, "set_state", hooks.flow_state) for of in _FLOWS),
    *(Hook(*of, name, hooks.failed) for of in (*_FLOWS, *_TASKS) for name in _HANDLERS),
)


class PrefectInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # as above
    """Wraps what HOOKS names, now or when Prefect imports it; ``uninstrument()`` puts everything back."""

    def instrumentation_dependencies(self) -> Collection[str]:
        return SUPPORTED

    def _instrument(self, **kwargs: Any) -> None:
        self._kept: list[tuple[Any, str, Any]] = []
        self._undo: list[Callable[[], None]] = []
        self._on = object()
        if (conflict := get_dependency_conflicts(SUPPORTED)) is not None:  # opentelemetry-instrument does not look
            if conflict.found:  # another version; where there is none, there is nothing to say
                _logger.warning("prefect is not instrumented: %s", conflict)
            return
        self._undo.append(everywhere.put(RunAtHand()))
        for name in dict.fromkeys(hook.module for hook in HOOKS):  # each takes seconds to import, and some never are
            register_post_import_hook(self._imported(self._on), name)

    def _imported(self, of: object) -> Callable[[Any], None]:
        """``of``: the call of ``instrument()`` that asked; wrapt keeps what nobody has imported yet for good."""

        def wrap(module: Any) -> None:
            if self._on is not of:
                return
            try:
                for hook in HOOKS:
                    if hook.module == module.__name__:
                        self._put(getattr(module, hook.of), hook)
            except Exception as error:  # noqa: BLE001  # Prefect is being imported by the host
                fault(f"the instrumentation of {module.__name__}", error)

        return wrap

    def _put(self, of: Any, hook: Hook) -> None:
        original = of.__dict__[hook.name]
        setattr(of, hook.name, hook.wrap(original))
        self._kept.append((of, hook.name, original))

    def _uninstrument(self, **kwargs: Any) -> None:
        self._on = None
        while self._kept:
            of, name, original = self._kept.pop()
            setattr(of, name, original)
        while self._undo:
            self._undo.pop()()
