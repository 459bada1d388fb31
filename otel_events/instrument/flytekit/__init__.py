"""flytekit (1.16): its workflows, nodes, tasks and map elements as runs, on a workstation and in a pod.

    FlytekitInstrumentor().instrument()

or with no line of code: ``opentelemetry-instrument``, or in pods by flytekit's own plug-in (plugin.py).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from otel_events.instrument.flytekit import adopt, entrypoint, hooks
from otel_events.instrument.patching import Hook, SystemInstrumentor

SUPPORTED = ("flytekit ~= 1.16",)
ENTRYPOINT = "flytekit.bin.entrypoint"

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


class FlytekitInstrumentor(SystemInstrumentor):
    """Wraps what HOOKS names, now or when flytekit is imported; ``uninstrument()`` puts everything back."""

    system = "flytekit"
    supported = SUPPORTED

    def _begin(self) -> None:
        self._when_imported("flytekit", self._wrap)
        # A pod's entry point is a module of its own, which imports flytekit and which nothing else imports.
        self._when_imported(ENTRYPOINT, self._wrap_entrypoint)

    def _wrap(self, flytekit: Any) -> None:
        self._patches.put(hook for hook in HOOKS if hook.module != ENTRYPOINT)
        logger, correlated = import_module("flytekit.loggers").user_space_logger, adopt.Correlated()
        logger.addFilter(correlated)
        self._patches.on_undo(lambda: logger.removeFilter(correlated))

    def _wrap_entrypoint(self, module: Any) -> None:
        self._patches.put(hook for hook in HOOKS if hook.module == ENTRYPOINT)
