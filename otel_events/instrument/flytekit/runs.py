"""Which run is what flytekit carries out here: ids have the shapes that the decoder of Flyte's events gives
(sources/flyte/), for executions that only this process sees.

    workflow   local/local/<32 hex digits>         the outermost; project and domain as flytekit has them for local runs
    node       <workflow>/n0, <workflow>/n0-0-n1   counted in the order of calls, joined as propeller joins them
    task       <workflow>/n0/<task name>
    element    <task>/<index>                      of a map task

A task that is called outside of any workflow is the outermost run itself. Under a run that is not flytekit's (``@task``
of otel_events) the outermost is in the trace of that run, as a root of its own source.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from otel_events.inprocess.ids import new_id
from otel_events.model.event import Kind, Run

SOURCE = "flyte"
LOCAL = "local/local"


class Frame:
    """A run under way in this context, and what its parts need of it."""

    __slots__ = ("called", "moments", "numbers", "run")

    def __init__(self, run: Run, moments: bool = False) -> None:
        self.run = run
        self.numbers = itertools.count()
        self.moments: list[Mapping[str, Any]] | None = [] if moments else None
        """Name, Start, Finish, WallTime and ProcessTime of each phase that flytekit timed; None: of a node."""
        self.called = False
        """Whether the task of the node was called: it is not when its result is in the cache."""


def short(name: str) -> str:
    """Name of a node: the last part of what it runs, as flytekit's compiler names nodes."""
    return name.rpartition(".")[2]


def outermost(kind: Kind, name: str) -> Run:
    """A run that no other run started."""
    id_ = f"{LOCAL}/{new_id()}"
    return Run(SOURCE, kind, id_, name, id_, None, 1, LOCAL, name if kind == "workflow" else "")


def node(above: Run, frame: Frame | None, name: str) -> Run:
    """A node in ``above``, whose frame is ``frame``; without one, the node has a unique id in place of a number."""
    number = str(next(frame.numbers)) if frame is not None else new_id()
    return _under(above, "node", f"{above.root}/{_node_id(above, number)}", short(name))


def _node_id(above: Run, number: str) -> str:
    """As propeller joins them: the parent's id, its attempt from 0, and the number; ``dn`` within a task, as dynamic
    nodes are named."""
    if above.kind == "workflow":
        return f"n{number}"
    if above.kind == "node":
        return f"{above.id[len(above.root) + 1 :]}-0-n{number}"
    tail = above.id[len(above.root) + 1 :].split("/")  # node, task, index; none of the outermost
    head = "-".join((tail[0], *tail[2:]))
    return f"{head}-{above.attempt - 1}-dn{number}" if head else f"dn{number}"


def task(of: Run, name: str) -> Run:
    """The task of a node."""
    return _under(of, "task", f"{of.id}/{name}", name)


def element(of: Run, index: int) -> Run:
    """One element of a map task, by its place in the list."""
    return _under(of, "task", f"{of.id}/{index}", of.name)


def _under(above: Run, kind: Kind, id_: str, name: str) -> Run:
    return Run(above.source, kind, id_, name, above.root, above.id, 1, above.namespace, above.workflow, above.kind)
