"""A call of flytekit as a run: its events, and the run being the current one within. Nothing here raises (law 5)."""

from __future__ import annotations

import time
import traceback
from contextvars import ContextVar

import msgspec

from otel_events.context import current_run, entered
from otel_events.event import MOMENTS, Error, PhaseChange, Run, Scalar
from otel_events.instrument.flytekit.runs import Frame
from otel_events.pipeline.live import emit
from otel_events.task import ENDINGS

STACK_FRAMES = 50
MOMENT = "flyte.timeit"

_frame: ContextVar[Frame | None] = ContextVar("otel_events_flytekit", default=None)


def current_frame() -> Frame | None:
    """The frame of the run under way here, unless that is a run which flytekit knows nothing of."""
    frame = _frame.get()
    return frame if frame is not None and frame.run is current_run() else None


class Call:
    """From its making to ``end``, which is told once."""

    __slots__ = ("_entered", "_token", "frame")

    def __init__(self, frame: Frame, attributes: dict[str, Scalar]) -> None:
        self.frame = frame
        tell(frame.run, "running", attributes)
        self._entered = entered(frame.run)
        self._entered.__enter__()
        self._token = _frame.set(frame)

    def leave(self) -> None:
        """The run is the current one no longer."""
        _frame.reset(self._token)
        self._entered.__exit__(None, None, None)

    def told(self) -> dict[str, Scalar]:
        """What was gathered on the way, for the last change of phase; a new dict."""
        timed = self.frame.moments
        return {MOMENTS: moments(timed)} if timed else {}

    def end(self, error: BaseException | None, attributes: dict[str, Scalar], stack: bool = False) -> None:
        """Succeeded, or as the exception says; ``stack``: with where it was raised."""
        self.leave()
        attributes |= self.told()
        if error is None:
            tell(self.frame.run, "succeeded", attributes)
        else:
            outcome = next(outcome for of, outcome in ENDINGS if isinstance(error, of))
            tell(self.frame.run, outcome, attributes, error_of(error, stack))


def tell(run: Run, phase: str, attributes: dict[str, Scalar], error: Error | None = None) -> None:
    """A change of phase, now. The id is unique: a run goes into each of these phases once."""
    id_ = f"{run.id}:{run.attempt}:{phase}"
    emit(
        PhaseChange(
            id=id_, time=time.time_ns(), run=run, attributes=attributes, phase=phase, native=phase.upper(), error=error
        )
    )


def error_of(error: BaseException, stack: bool) -> Error:
    """Of an exception; flytekit's own system errors are of the platform, all others of the user's code."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    blame = "system" if kind.__module__.startswith("flytekit.exceptions.system") else "user"
    try:
        text = "".join(traceback.format_exception(error, limit=STACK_FRAMES)) if stack else ""
        return Error(name, str(error), "system" if blame == "system" else "user", text)
    except Exception:  # noqa: BLE001  # what a foreign exception says of itself may fail; nothing of ours may
        return Error(name, "(its message could not be read)", "user")


def moments(timed: list[tuple[str, int, float, float]]) -> str:
    """Phases that flytekit timed, as span events of the task."""
    told = [
        (MOMENT, end, {"flyte.timeit.name": name, "flyte.timeit.wall_time": wall, "flyte.timeit.process_time": process})
        for name, end, wall, process in timed
    ]
    return msgspec.json.encode(told).decode()
