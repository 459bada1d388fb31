"""flytekit (1.16): its workflows, nodes, tasks and map elements as runs, on a workstation and in a pod.

    FlytekitInstrumentor().instrument()

or with no line of code: ``opentelemetry-instrument``, or in pods by flytekit's own plug-in (plugin.py).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection
from importlib import import_module
from typing import Any, NamedTuple

from opentelemetry.instrumentation.dependencies import get_dependency_conflicts
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # marked untyped
from wrapt import register_post_import_hook

from otel_events.inprocess.queue import fault
from otel_events.instrument.flytekit import adopt, entrypoint, hooks

_logger = logging.getLogger("otel_events")

SUPPORTED = ("flytekit ~= 1.16",)
ENTRYPOINT = "flytekit.bin.entrypoint"


class Hook(NamedTuple):
    """A function of flytekit's, by module, class ("" for none) and name, and what wraps it."""

    module: str
    of: str
    name: str
    wrap: Callable[[Any], Any]


HOOKS: tuple[Hook, ...] = (
    Hook("flytekit.core.workflow", "WorkflowBase", "local_execute", hooks.workflow),
    Hook("flytekit.core.launch_plan", "LaunchPlan", "__call__", hooks.launch_plan),
    Hook("flytekit.core.base_task", "Task", "local_execute", hooks.task_node),
    Hook("flytekit.core.base_task", "Task", "sandbox_execute", hooks.task),
    Hook("flytekit.core.array_node_map_task", "ArrayNodeMapTask", "_raw_execute", hooks.mapped),
    Hook("flytekit.core.array_node", "ArrayNode", "local_execute", hooks.node),
    Hook("flytekit.core.gate", "Gate", "local_execute", hooks.node),
    Hook("flytekit.core.reference_entity", "ReferenceEntity", "local_execute", hooks.node),
    Hook("flytekit.deck.deck", "TimeLineDeck", "append_time_info", hooks.timed),
    Hook("flytekit.core.context_manager", "ExecutionParameters", "stats", adopt.stats),
    Hook(ENTRYPOINT, "", "_dispatch_execute", entrypoint.dispatched),
)


class FlytekitInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # as above
    """Wraps what HOOKS names, now or when flytekit is imported; ``uninstrument()`` puts everything back."""

    def instrumentation_dependencies(self) -> Collection[str]:
        return SUPPORTED

    def _instrument(self, **kwargs: Any) -> None:
        self._kept: list[tuple[Any, str, Any]] = []
        self._filter = adopt.Correlated()
        self._on = True
        if (conflict := get_dependency_conflicts(SUPPORTED)) is not None:  # opentelemetry-instrument does not look
            if conflict.found:  # another version; where there is none, there is nothing to say
                _logger.warning("flytekit is not instrumented: %s", conflict)
            return
        for name in ("flytekit", ENTRYPOINT):
            if name in sys.modules:
                self._wrap(name)
            else:  # importing it takes seconds that a program may not want to spend
                register_post_import_hook(self._imported, name)

    def _imported(self, module: Any) -> None:
        self._wrap(module.__name__)

    def _wrap(self, loaded: str) -> None:
        if not self._on:
            return
        try:
            for hook in HOOKS:
                if (hook.module == ENTRYPOINT) == (loaded == ENTRYPOINT):
                    module = import_module(hook.module)
                    self._put(getattr(module, hook.of) if hook.of else module, hook)
            if loaded != ENTRYPOINT:
                import_module("flytekit.loggers").user_space_logger.addFilter(self._filter)
        except Exception as error:  # noqa: BLE001  # flytekit is being imported by the host
            fault(f"the instrumentation of {loaded}", error)

    def _put(self, of: Any, hook: Hook) -> None:
        original = of.__dict__[hook.name]
        setattr(of, hook.name, hook.wrap(original))
        self._kept.append((of, hook.name, original))

    def _uninstrument(self, **kwargs: Any) -> None:
        self._on = False
        while self._kept:
            of, name, original = self._kept.pop()
            setattr(of, name, original)
        if "flytekit.loggers" in sys.modules:
            sys.modules["flytekit.loggers"].user_space_logger.removeFilter(self._filter)
