"""What the events of one record share: name and parent of a task, from the definition among them.

The fold would join them anyway, since any event may come in any record. With the name at hand the fold has less to
join, and the log records of a task's transitions have the task's name.
"""

from __future__ import annotations

import msgspec

from otel_events.model.event import Run
from otel_events.sources.ray.fields import function, hexadecimal, task_run
from otel_events.sources.ray.shapes import Definition, RayEvent


class Batch:
    """The runs of one record: the same object for the same attempt, so that equal runs are compared by identity."""

    __slots__ = ("_defined", "_runs")

    def __init__(self) -> None:
        self._defined: dict[tuple[str, str], Run] = {}
        self._runs: dict[tuple[str, str, int], Run] = {}

    def define(self, raw: RayEvent, body: Definition) -> None:
        """Take name and parent of a task from its definition."""
        task, parent = hexadecimal(body.task_id), hexadecimal(body.parent_task_id)
        name = function(body.task_func or body.actor_func)[0]
        run = task_run(raw.session_name, task, body.task_attempt, name, parent)
        self._defined[raw.session_name, body.task_id] = run
        self._runs[raw.session_name, body.task_id, body.task_attempt] = run

    def run(self, raw: RayEvent, task: str, attempt: int) -> Run:
        """The run of an attempt.

        Args:
            raw: The event, which names the session.
            task: Id of the task, in base64 as sent.
            attempt: Ray's number of the attempt, from 0.
        """
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
