"""The Flyte 2 SDK (``flyte``): local runs, their actions with each attempt, and hits of its cache.

    Flyte2Instrumentor().instrument()

or with no line of code: ``opentelemetry-instrument``. Trace ids are those of Flyte's own plug-in (flyteplugins-otel);
where that one makes the spans of tasks, no others are sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from opentelemetry.instrumentation.dependencies import get_dependency_conflicts
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # marked untyped
from wrapt import register_post_import_hook

from otel_events.inprocess.queue import fault
from otel_events.instrument.flyte2 import hooks
from otel_events.instrument.flyte2.observer import Observer

_logger = logging.getLogger("otel_events")

SUPPORTED = ("flyte ~= 2.12",)
RECORDER, OBSERVE, RUN = "flyte._persistence._recorder", "flyte._observe", "flyte._run"


class Hook(NamedTuple):
    """A method of ``RunRecorder``, which the SDK calls whether or not anything is recorded, and who is told first."""

    name: str
    tell: Callable[..., None]


HOOKS: tuple[Hook, ...] = (
    Hook("record_root_start", hooks.root_start),
    Hook("record_root_complete", hooks.root_complete),
    Hook("record_root_failure", hooks.root_failure),
    Hook("record_start", hooks.start),
    Hook("record_attempt_start", hooks.attempt_start),
    Hook("record_attempt_complete", hooks.attempt_complete),
    Hook("record_attempt_failure", hooks.attempt_failure),
    Hook("record_failure", hooks.failure),
    Hook("record_complete", hooks.complete),
)


class Flyte2Instrumentor(BaseInstrumentor):  # type: ignore[misc]  # as above
    """Wraps what HOOKS names, now or when flyte is imported; ``uninstrument()`` puts everything back."""

    def instrumentation_dependencies(self) -> Collection[str]:
        return SUPPORTED

    def _instrument(self, **kwargs: Any) -> None:
        self._kept: list[tuple[Any, str, Any]] = []
        self._undo: list[Callable[[], None]] = []
        self._on = object()
        if (conflict := get_dependency_conflicts(SUPPORTED)) is not None:  # opentelemetry-instrument does not look
            if conflict.found:  # another version; where there is none, there is nothing to say
                _logger.warning("flyte is not instrumented: %s", conflict)
            return
        for name, put in ((RECORDER, self._wrap), (OBSERVE, self._observe), (RUN, self._guard)):
            register_post_import_hook(self._imported(self._on, put), name)

    def _imported(self, of: object, put: Callable[[Any], None]) -> Callable[[Any], None]:
        """``of``: the call of ``instrument()`` that asked; wrapt keeps what nobody has imported yet for good."""

        def imported(module: Any) -> None:
            if self._on is not of:
                return
            try:
                put(module)
            except Exception as error:  # noqa: BLE001  # flyte is being imported by the host
                fault(f"the instrumentation of {module.__name__}", error)

        return imported

    def _wrap(self, module: Any) -> None:
        of = module.RunRecorder
        for hook in HOOKS:
            original = of.__dict__[hook.name]
            setattr(of, hook.name, hooks.told(original, hook.tell))
            self._kept.append((of, hook.name, original))

    def _guard(self, module: Any) -> None:
        of = module._Runner
        original = of.__dict__["_run_local"]
        of._run_local = hooks.interruptible(original)
        self._kept.append((of, "_run_local", original))

    def _observe(self, module: Any) -> None:
        observer = Observer(module)
        observer.put()
        hooks.BEFORE_RUN.append(observer.put)
        self._undo += (observer.take_back, lambda: hooks.BEFORE_RUN.remove(observer.put))

    def _uninstrument(self, **kwargs: Any) -> None:
        self._on = None
        while self._kept:
            of, name, original = self._kept.pop()
            setattr(of, name, original)
        while self._undo:
            self._undo.pop()()
