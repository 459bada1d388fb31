"""Ray (2.49 and later): code in its tasks and actors is on the span of the attempt, which the gateway sends.

    otel_events.configure()
    RayInstrumentor().instrument()
    ray.init()

``ray.init`` is the one function that is wrapped: it gets a ``worker_process_setup_hook``, which starts the same in each
worker of the job. There the current task is looked up in Ray on each access (ray_context.py), in all threads and
coroutines (fallback.py), so tasks, methods and generators stay what they are.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

from otel_events.inprocess.faults import fault
from otel_events.instrument import fallback
from otel_events.instrument.patching import Hook, SystemInstrumentor
from otel_events.instrument.ray import records
from otel_events.instrument.ray.hook import with_hook
from otel_events.instrument.ray_context import ray_run
from otel_events.tasks.context import DynamicContext

SUPPORTED = ("ray >= 2.49",)


def initialising(original: Any) -> Any:
    """``ray.init``, with our hook in what it is called with."""

    @wraps(original)
    def init(*args: Any, **kwargs: Any) -> Any:
        try:
            kwargs = with_hook(args, kwargs)
        except Exception as error:  # noqa: BLE001  # the cluster starts, without our hook (law 5)
            fault("the setup hook of Ray's workers", error)
        return original(*args, **kwargs)

    return init


HOOKS: tuple[Hook, ...] = (Hook("ray", "", "init", initialising),)


class RayInstrumentor(SystemInstrumentor):
    """Wraps ``ray.init``, now or when Ray is imported; ``uninstrument()`` puts everything back. Workers that run
    already stay instrumented."""

    system = "ray"
    supported = SUPPORTED

    def _begin(self) -> None:
        self._patches.on_undo(fallback.install(DynamicContext(ray_run)), records.install())
        self._when_imported("ray", lambda ray: self._patches.put(HOOKS))
