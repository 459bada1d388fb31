"""The Flyte 2 SDK (``flyte``): local runs, their actions with each attempt, and hits of its cache.

    Flyte2Instrumentor().instrument()

or with no line of code: ``opentelemetry-instrument``. Trace ids are those of Flyte's own plug-in (flyteplugins-otel);
where that plug-in makes the spans of tasks, no others are sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otel_events.instrument.flyte2 import hooks
from otel_events.instrument.flyte2.observer import Observer
from otel_events.instrument.patching import Hook, SystemInstrumentor

SUPPORTED = ("flyte ~= 2.12",)
RECORDER, OBSERVE, RUN = "flyte._persistence._recorder", "flyte._observe", "flyte._run"


def _recorder(name: str, observe: Callable[..., None]) -> Hook:
    """A method of ``RunRecorder``, which the SDK calls whether or not anything is recorded; ``observe`` is called
    first."""
    return Hook(RECORDER, "RunRecorder", name, lambda original: hooks.observed(original, observe))


HOOKS: tuple[Hook, ...] = (
    _recorder("record_root_start", hooks.root_start),
    _recorder("record_root_complete", hooks.root_complete),
    _recorder("record_root_failure", hooks.root_failure),
    _recorder("record_start", hooks.start),
    _recorder("record_attempt_start", hooks.attempt_start),
    _recorder("record_attempt_complete", hooks.attempt_complete),
    _recorder("record_attempt_failure", hooks.attempt_failure),
    _recorder("record_failure", hooks.failure),
    _recorder("record_complete", hooks.complete),
)
RUNNER = Hook(RUN, "_Runner", "_run_local", hooks.interruptible)


class Flyte2Instrumentor(SystemInstrumentor):
    """Wraps what HOOKS and RUNNER name, now or when flyte is imported; ``uninstrument()`` puts everything back."""

    system = "flyte"
    supported = SUPPORTED

    def _begin(self) -> None:
        self._when_imported(RECORDER, lambda module: self._patches.put(HOOKS))
        self._when_imported(OBSERVE, self._observe)
        self._when_imported(RUN, lambda module: self._patches.put((RUNNER,)))

    def _observe(self, module: Any) -> None:
        observer = Observer(module)
        observer.put()
        hooks.BEFORE_RUN.append(observer.put)
        self._patches.on_undo(lambda: hooks.BEFORE_RUN.remove(observer.put), observer.take_back)
