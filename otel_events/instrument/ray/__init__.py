"""Ray (2.49 and later): code in its tasks and actors is on the span of the attempt, which the gateway sends.

    otel_events.configure()
    RayInstrumentor().instrument()
    ray.init()

``ray.init`` is the one function that is wrapped: it gets a ``worker_process_setup_hook``, which starts the same in each
worker of the job. There the task at hand is asked of Ray each time that somebody wants to know (ray_context.py), in all
threads and coroutines (everywhere.py), so tasks, methods and generators stay what they are.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection
from functools import wraps
from typing import Any

from opentelemetry.instrumentation.dependencies import get_dependency_conflicts
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # marked untyped
from wrapt import register_post_import_hook

from otel_events.inprocess.context import Asked
from otel_events.inprocess.queue import fault
from otel_events.instrument import everywhere
from otel_events.instrument.ray import records
from otel_events.instrument.ray.hook import with_hook
from otel_events.instrument.ray_context import ray_run

_logger = logging.getLogger("otel_events")

SUPPORTED = ("ray >= 2.49",)


class RayInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # as above
    """Wraps ``ray.init``, now or when Ray is imported; ``uninstrument()`` puts everything back. Workers that run keep
    what they were started with."""

    def instrumentation_dependencies(self) -> Collection[str]:
        return SUPPORTED

    def _instrument(self, **kwargs: Any) -> None:
        self._on = True
        self._kept: tuple[Any, Any] | None = None
        self._undo: list[Callable[[], None]] = []
        if (conflict := get_dependency_conflicts(SUPPORTED)) is not None:  # opentelemetry-instrument does not look
            if conflict.found:  # another version; where there is none, there is nothing to say
                _logger.warning("ray is not instrumented: %s", conflict)
            return
        self._undo = [everywhere.put(Asked(ray_run)), records.install()]
        if "ray" in sys.modules:
            self._wrap(sys.modules["ray"])
        else:  # importing it takes a second that a program may not want to spend
            register_post_import_hook(self._wrap, "ray")

    def _wrap(self, ray: Any) -> None:
        if self._on and self._kept is None:
            self._kept = ray, ray.init
            ray.init = initialising(ray.init)

    def _uninstrument(self, **kwargs: Any) -> None:
        self._on = False
        if self._kept is not None:
            ray, original = self._kept
            ray.init, self._kept = original, None
        while self._undo:
            self._undo.pop()()


def initialising(original: Any) -> Any:
    """``ray.init``, with our hook in what it is called with."""

    @wraps(original)
    def init(*args: Any, **kwargs: Any) -> Any:
        try:
            kwargs = with_hook(args, kwargs)
        except Exception as error:  # noqa: BLE001  # the cluster starts, whatever we make of it (law 5)
            fault("the setup hook of Ray's workers", error)
        return original(*args, **kwargs)

    return init
