"""A call of flytekit as a run: its events, and the run being the current one within. Nothing here raises (law 5)."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import msgspec

from otel_events.inprocess.context import TaskContext, current_run, enter, leave
from otel_events.inprocess.queue import emit
from otel_events.instrument.flytekit.runs import Frame
from otel_events.model.event import MOMENTS, Error, PhaseChange, Run, Scalar
from otel_events.tasks.runs import outcome

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

    def __init__(self, frame: Frame, attributes: dict[str, Scalar], trace: bytes = b"") -> None:
        self.frame = frame
        tell(frame.run, "running", attributes)
        self._entered = enter(TaskContext(frame.run, trace))
        self._token = _frame.set(frame)

    def leave(self) -> None:
        """The run is the current one no longer."""
        _frame.reset(self._token)
        leave(self._entered)

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
            tell(self.frame.run, outcome(error), attributes, error_of(error, stack))


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


def moments(timed: Sequence[Mapping[str, Any]]) -> str:
    """Phases that flytekit timed, as span events of the task at their ends."""
    return msgspec.json.encode([_moment(one) for one in timed]).decode()


def _moment(info: Mapping[str, Any]) -> tuple[str, int, dict[str, Scalar]]:
    fields: dict[str, Scalar] = {
        "flyte.timeit.name": str(info["Name"]),
        "flyte.timeit.wall_time": float(info["WallTime"]),
        "flyte.timeit.process_time": float(info["ProcessTime"]),
    }
    return MOMENT, int(info["Finish"].timestamp() * 1_000_000) * 1_000, fields
