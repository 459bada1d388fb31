"""Which run an action is: the ids that the decoder of Flyte 2's events gives (sources/flyte/v2.py).

run      org/project/domain/run name              a workflow, the root; locally all but the name are ""
action   org/project/domain/run name/action name  a task
"""

from __future__ import annotations

from typing import Any

import msgspec

from otel_events.model.event import Run, Scalar

SOURCE = "flyte"


class Action:
    """An action under way: the attempt that it is in, and what was raised in it."""

    __slots__ = ("attempt", "attributes", "cached", "ended", "error", "hit", "run", "trace")

    def __init__(self, run: Run, trace: bytes, cached: bool = False, hit: bool = False) -> None:
        """``trace``: id of its trace where that does not follow from its root's id; ``cached``: its task has a cache;
        ``hit``: its result was in there."""
        self.run, self.trace, self.cached, self.hit = run, trace, cached, hit
        self.attributes: dict[str, Scalar] = {}
        self.error: BaseException | None = None
        self.ended = False

    def begin(self, attempt: int) -> None:
        """A further attempt of the action."""
        self.run = msgspec.structs.replace(self.run, attempt=attempt)
        self.error, self.ended = None, False


def root(action: Any, name: str) -> Run:
    """The run that an action is of; ``name``: of the task that it was started with."""
    id_ = "/".join((action.org or "", action.project or "", action.domain or "", action.run_name or action.name))
    return Run(SOURCE, "workflow", id_, name, id_, None, 1, _namespace(action), name)


def task(of: Run, above: Run, action: str, name: str) -> Run:
    """An action of the run ``of``, started by ``above``."""
    id_ = f"{of.id}/{action}"
    return Run(SOURCE, "task", id_, name, of.id, above.id, 1, of.namespace, of.workflow, above.kind)


def _namespace(action: Any) -> str:
    return f"{action.project or ''}/{action.domain or ''}"
