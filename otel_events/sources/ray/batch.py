"""What the events of one record share: who a task is, as a definition among them tells it.

Each event is one of its own, whatever record it comes in; that a record's other events tell the name of its task too
spares the fold to piece it together, and names the log records of a task's transitions.
"""

from __future__ import annotations

import msgspec

from otel_events.model.event import Run
from otel_events.sources.ray.fields import function, hexadecimal, task_run
from otel_events.sources.ray.shapes import Definition, RayEvent


class Batch:
    """Runs of one record; the same object for the same attempt."""

    __slots__ = ("_defined", "_runs")

    def __init__(self) -> None:
        self._defined: dict[tuple[str, str], Run] = {}
        self._runs: dict[tuple[str, str, int], Run] = {}

    def define(self, raw: RayEvent, body: Definition) -> None:
        """Learn who a definition's task is: its name and its parent."""
        task, parent = hexadecimal(body.task_id), hexadecimal(body.parent_task_id)
        name = function(body.task_func or body.actor_func)[0]
        run = task_run(raw.session_name, task, body.task_attempt, name, parent)
        self._defined[raw.session_name, body.task_id] = run
        self._runs[raw.session_name, body.task_id, body.task_attempt] = run

    def run(self, raw: RayEvent, task: str, attempt: int) -> Run:
        """The run of an attempt, by the task's id as sent and Ray's number."""
        run = self._runs.get((raw.session_name, task, attempt))
        if run is None:
            defined = self._defined.get((raw.session_name, task))
            if defined is None:
                run = task_run(raw.session_name, hexadecimal(task), attempt)
            elif defined.kind == "workflow":
                run = defined
            else:
                run = msgspec.structs.replace(defined, attempt=attempt + 1)
            self._runs[raw.session_name, task, attempt] = run
        return run
