"""A call of flytekit as a run: its events, and the run being the current one within. Nothing here raises (law 5)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import msgspec

from otel_events.inprocess import exceptions
from otel_events.inprocess.context import current_run, enter, leave
from otel_events.inprocess.queue import emit
from otel_events.instrument.flytekit.runs import Frame
from otel_events.model.event import MOMENTS, Error, PhaseChange, Run, Scalar
from otel_events.tasks.context import TaskContext
from otel_events.tasks.runs import outcome

MOMENT = "flyte.timeit"

_frame: ContextVar[Frame | None] = ContextVar("otel_events_flytekit", default=None)


def current_frame() -> Frame | None:
    """The frame of the current run; None where that is not flytekit's."""
    frame = _frame.get()
    return frame if frame is not None and frame.run is current_run() else None


class Call:
    """A run, from its making to ``end``, which is called once."""

    __slots__ = ("_entered", "_token", "frame")

    def __init__(self, frame: Frame, attributes: dict[str, Scalar], trace: bytes = b"") -> None:
        self.frame = frame
        emit_phase(frame.run, "running", attributes)
        self._entered = enter(TaskContext(frame.run, trace))
        self._token = _frame.set(frame)

    def leave(self) -> None:
        """The run is the current one no longer."""
        _frame.reset(self._token)
        leave(self._entered)

    def gathered(self) -> dict[str, Scalar]:
        """The attributes that were gathered on the way, for the last change of phase; a new dict."""
        timed = self.frame.moments
        return {MOMENTS: moments(timed)} if timed else {}

    def end(self, error: BaseException | None, attributes: dict[str, Scalar], stack: bool = False) -> None:
        """Succeeded, or as the exception says; ``stack``: with where it was raised."""
        self.leave()
        attributes |= self.gathered()
        if error is None:
            emit_phase(self.frame.run, "succeeded", attributes)
        else:
            emit_phase(self.frame.run, outcome(error), attributes, error_of(error, stack))


def emit_phase(run: Run, phase: str, attributes: dict[str, Scalar], error: Error | None = None) -> None:
    """A change of phase, now. The id is unique: a run goes into each of these phases once."""
    id_ = f"{run.id}:{run.attempt}:{phase}"
    emit(
        PhaseChange(
            id=id_, time=time.time_ns(), run=run, attributes=attributes, phase=phase, native=phase.upper(), error=error
        )
    )


def error_of(error: BaseException, stack: bool) -> Error:
    """The error of an exception: flytekit's system errors are the platform's, all others the user's."""
    is_system = type(error).__module__.startswith("flytekit.exceptions.system")
    return exceptions.error_of(error, "system" if is_system else "user", with_stack=stack)


def moments(timed: Sequence[Mapping[str, Any]]) -> str:
    """Phases that flytekit timed, as span events of the task at their ends."""
    return msgspec.json.encode([_moment(phase) for phase in timed]).decode()


def _moment(info: Mapping[str, Any]) -> tuple[str, int, dict[str, Scalar]]:
    fields: dict[str, Scalar] = {
        "flyte.timeit.name": str(info["Name"]),
        "flyte.timeit.wall_time": float(info["WallTime"]),
        "flyte.timeit.process_time": float(info["ProcessTime"]),
    }
    return MOMENT, int(info["Finish"].timestamp() * 1_000_000) * 1_000, fields
