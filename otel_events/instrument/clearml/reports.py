"""What a task reports: scalars, plots, images, console lines; decoded in batches, as the gateway does.

A series of a batch becomes one stat, so a fast loop makes a bounded number of events. A thread emits what waits every
PERIOD; a call that changes the task's status, the end of the process, and FULL reports do so at once. A forked process
(such as the SDK's own, which monitors the machine) begins with nothing. Nothing here raises, or waits for more than a
lock.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any

from otel_events.inprocess.faults import fault
from otel_events.inprocess.ids import new_id
from otel_events.inprocess.queue import emit
from otel_events.instrument.environment import OTEL_EVENTS_CLEARML_REPORTS
from otel_events.sources.clearml.events import Batch, Reported

PERIOD = 1.0
"""Seconds that a report waits for more."""
FULL = 1_000
"""Reports that are emitted at once."""

KINDS = {
    "ScalarEvent": "training_stats_scalar",
    "VectorEvent": "training_stats_vector",
    "PlotEvent": "plot",
    "ImageEventNoUpload": "training_debug_image",
    "ImageEvent": "training_debug_image",
    "MediaEvent": "training_debug_image",
    "ConsoleEvent": "log",
}
"""Class of the SDK's event -> type of the API's. The address of an upload does not exist yet."""


class Waiting:
    """Reports that were not emitted yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reported: list[Reported] = []
        self._thread: threading.Thread | None = None

    def add(self, reported: Reported) -> None:
        """Add a report. The thread starts with the first one."""
        with self._lock:
            self._reported.append(reported)
            full = len(self._reported) >= FULL
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="otel-events-clearml", daemon=True)
                with suppress(RuntimeError):  # the interpreter is ending, and calls ``flush``
                    thread.start()
                    self._thread = thread
        if full:
            self.flush()

    def _work(self) -> None:
        while True:
            time.sleep(PERIOD)
            self.flush()

    def flush(self) -> None:
        """Emit what waits."""
        with self._lock:
            reported, self._reported = self._reported, []
        if not reported:
            return
        try:
            whole = new_id().encode()  # each point is reported once
            for event in Batch(time.time_ns(), whole).decode(reported):
                emit(event)
        except Exception as error:  # noqa: BLE001  # the task goes on, without this report (law 5)
            fault("what a ClearML task reports", error)


_waiting = Waiting()


def flush() -> None:
    """Emit what waits."""
    _waiting.flush()


def _in_child() -> None:
    global _waiting
    _waiting = Waiting()


os.register_at_fork(after_in_child=_in_child)


def _wanted() -> bool:
    """Whether reports become events here: not where a gateway gets the same from the API's server."""
    return os.environ.get(OTEL_EVENTS_CLEARML_REPORTS, "").strip().lower() != "false"


def reported(original: Callable[..., Any]) -> Callable[..., Any]:
    """``Reporter._report``: everything but console lines."""

    @wraps(original)
    def report(self: Any, ev: Any) -> Any:
        try:
            kind = KINDS.get(type(ev).__name__)
            if kind is not None and _wanted():
                _waiting.add(_event(self, ev, kind))
        except Exception as error:  # noqa: BLE001  # the task goes on, without this report (law 5)
            fault("what a ClearML task reports", error)
        return original(self, ev)

    return report


def _event(reporter: Any, ev: Any, kind: str) -> Reported:
    metrics, step = reporter._metrics, ev.get_iteration()
    if step is not None:
        step += metrics.get_iteration_offset()
    value = getattr(ev, "_value", None)
    return Reported(
        type=kind,
        task=metrics._task_id,
        model_event=reporter._for_model,
        timestamp=ev._timestamp,
        iter=step,
        metric=ev.metric,
        variant=ev.variant,
        value=_number(value) if kind == "training_stats_scalar" else value,
        values=getattr(ev, "_values", None),
        msg=value if kind == "log" else None,
        level=getattr(ev, "_level", None),
        worker=getattr(ev, "_worker", None),
        url=getattr(ev, "_url", None),
        key=getattr(ev, "_key", None),
        plot_str=getattr(ev, "_plot_str", None),
    )


def _number(value: Any) -> Any:
    """NumPy's numbers as Python's, which JSON would make of them."""
    return value if type(value) in (int, float) else float(value)


def logged(original: Callable[..., Any]) -> Callable[..., Any]:
    """``TaskHandler.emit``: console lines, and records of standard loggers."""

    @wraps(original)
    def emit_(self: Any, record: Any) -> Any:
        try:
            if _wanted() and self.task_id and (text := record.getMessage().replace("\x08", "")):
                line = Reported(
                    type="log",
                    task=self.task_id,
                    timestamp=record.created * 1e3,
                    level=record.levelname.lower(),
                    worker=self.worker,
                    msg=text,
                )
                _waiting.add(line)
        except Exception as error:  # noqa: BLE001  # the task goes on, without this report (law 5)
            fault("a console line of a ClearML task", error)
        return original(self, record)

    return emit_
