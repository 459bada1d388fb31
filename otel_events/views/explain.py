"""The time of a run: its tree with time queued, running and idle, and the critical path, as text or data.

The text has the columns of flytekit's ``FlyteExecutionSpan.explain()``: operation, start, end, duration, entity, one
row an operation, two spaces a level. Times are UTC. A ``*`` marks the critical path:
the attempts that have to become faster for the run to end sooner.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

import msgspec

from otel_events.core.spans import NANO
from otel_events.core.traces import Closed, close_all
from otel_events.journal import Reader, RootRow
from otel_events.model.errors import ConfigError, RunNotFound
from otel_events.model.event import PhaseChange, Report, Run

HEADER = "{:25s}{:25s}{:25s} {:>8s}    {:s}"
ROW = "{:25s}{:25s}{:25s} {:7.2f}s    {:s}"
WIDTH = 140
LEVELS = 100
"""Deepest level of a tree, as of a protobuf message. Deeper attempts are put at the last level, so that foreign runs
cannot exhaust the stack or break the page."""


class Step(msgspec.Struct):
    """One attempt in the tree. Times in ns since the epoch; ``idle`` is the running time that no child covers."""

    run: Run
    outcome: str
    start: int
    running: int
    end: int
    children: list[Step] = []
    critical: bool = False
    phases: list[PhaseChange] = []
    reports: list[Report] = []

    @property
    def idle(self) -> list[tuple[int, int]]:
        """Gaps (start, end) of the running time in which no child was under way; none for a leaf."""
        return list(_gaps(self)) if self.children and self.running else []


def tree(closed: Sequence[Closed]) -> list[Step]:
    """The roots of the tree, by time of start. Each attempt is below the attempt that its parent span id names; one
    that would be below itself is a root, so that every attempt is in the tree."""
    steps = [_step(attempt) for attempt in closed]
    by_span: dict[bytes, int] = {}
    for number, attempt in enumerate(closed):
        by_span.setdefault(attempt.where.span_id, number)
    parents = _placed([by_span.get(attempt.where.parent_span_id, -1) for attempt in closed])
    roots: list[Step] = []
    for step, parent in zip(steps, parents, strict=True):
        (steps[parent].children if parent >= 0 else roots).append(step)
    for step in steps:
        step.children.sort(key=lambda child: (child.start, child.run.id, child.run.attempt))
    for root in roots:
        _mark(root)
    return roots


def _placed(parents: list[int]) -> list[int]:
    """The parents (index, -1 for none) without circles, whose first member becomes a root, and at most LEVELS deep."""
    levels = [-1] * len(parents)
    for number in range(len(parents)):
        path: dict[int, None] = {}
        at = number
        while at >= 0 and levels[at] < 0 and at not in path:
            path[at] = None
            at = parents[at]
        if at in path:
            way = list(path)
            parents[min(way[way.index(at) :])] = -1
        _level(parents, levels, number)
    return parents


def _level(parents: list[int], levels: list[int], number: int) -> None:
    """Set the levels of a step and of all above it; a step below the last level becomes a sibling of its parent."""
    path = []
    while number >= 0 and levels[number] < 0:
        path.append(number)
        number = parents[number]
    for step in reversed(path):
        above = parents[step]
        if above >= 0 and levels[above] == LEVELS - 1:
            parents[step] = above = parents[above]
        levels[step] = levels[above] + 1 if above >= 0 else 0


def _step(closed: Closed) -> Step:
    attempt = closed.attempt
    end = max(attempt.start, attempt.end)
    return Step(
        attempt.run,
        closed.outcome,
        attempt.start,
        attempt.first_running,
        end,
        [],
        False,
        attempt.phases,
        attempt.reports,
    )


def recorded(reader: Reader, run: str) -> list[list[Step]]:
    """The trees of a run in a journal.

    Args:
        reader: The journal.
        run: Id of a run, or the beginning of the id of a root.

    Returns:
        A tree for each root that holds the run: the whole tree for a root, else the part below the run.

    Raises:
        RunNotFound: The journal has no such run.
        ConfigError: Several roots begin so.
    """
    trees = []
    for row, closed in _closed_runs(reader, run):
        steps = tree(closed)
        trees.append(steps if row.root.startswith(run) else only(steps, run))
    return [steps for steps in trees if steps] or _missing(reader, run)


def recorded_attempts(reader: Reader, run: str) -> list[Closed]:
    """The attempts of a run itself, each with its trace context; otherwise as ``recorded``."""
    attempts: list[Closed] = []
    for row, closed in _closed_runs(reader, run):
        id_ = row.root if row.root.startswith(run) else run
        attempts.extend(attempt for attempt in closed if attempt.attempt.run.id == id_)
    return attempts or _missing(reader, run)


def _missing(reader: Reader, run: str) -> NoReturn:
    raise RunNotFound(f"no run {run!r} in {reader.path}: `otel-events runs` lists those there are")


def _closed_runs(reader: Reader, run: str) -> Iterator[tuple[RootRow, list[Closed]]]:
    rows = reader.find_run(run) or reader.find_roots(run)
    if len(rows) > 1 and any(row.root != run for row in rows):
        ids = "\n".join(f"  {row.root}  ({row.source} {row.namespace})" for row in rows[:20])
        raise ConfigError(f"{len(rows)} runs fit {run!r}; give one of these in full:\n{ids}")
    for row in rows:
        events = [event for chunk in reader.root_chunks(row.key, records=False) for event in chunk.events]
        yield row, close_all(events)[0]


def only(roots: Iterable[Step], run_id: str) -> list[Step]:
    """The steps of one run, which are all its attempts, from anywhere in the tree."""
    steps: list[Step] = []
    for step in roots:
        steps.extend([step] if step.run.id == run_id else only(step.children, run_id))
    return steps


def _mark(root: Step) -> None:
    """Mark the critical path, from the end backwards: always the child that ended last before the part after it began.
    A child that outlives its parent counts as delaying it until the parent's end."""
    root.critical = True
    until = root.end
    for child in sorted(root.children, key=lambda step: (step.end, step.start), reverse=True):
        if child.start <= until and min(child.end, root.end) <= until:
            _mark(child)
            until = min(until, child.start)


def _gaps(step: Step) -> Iterator[tuple[int, int]]:
    at = step.running
    for child in step.children:
        until = min(child.start, step.end)
        if until > at:
            yield at, until
        at = max(at, child.end)
    if at < step.end:
        yield at, step.end


def text(roots: Sequence[Step]) -> str:
    """The tree as lines: header, 140 dashes, a row for each operation."""
    lines = [HEADER.format("operation", "start_timestamp", "end_timestamp", "duration", "entity"), "-" * WIDTH]
    for root in roots:
        lines.extend(_rows(root, 0))
    return "\n".join(lines) + "\n"


def _rows(step: Step, level: int) -> Iterator[str]:
    entity = "  " * level + _entity(step)
    kind = step.run.kind.upper()
    queued_until = step.running or step.end
    if queued_until > step.start or not step.running:
        yield _row(f"{kind}_QUEUED", step.start, queued_until, entity)
    if step.running:
        yield _row(f"{kind}_RUNNING", step.running, step.end, entity)
    for start, end in step.idle:
        yield _row(f"{kind}_IDLE", start, end, "  " * level + "idle")
    for child in step.children:
        yield from _rows(child, level + 1)


def _entity(step: Step) -> str:
    run = step.run
    name = printable(run.name or (run.workflow if run.kind == "workflow" else "") or run.id.rsplit("/", 1)[-1])
    attempt = f" attempt {run.attempt}" if run.kind != "workflow" or run.attempt > 1 else ""
    return f"{run.kind}/{name}{attempt} {step.outcome or 'incomplete'}{' *' if step.critical else ''}"


def printable(text: str) -> str:
    """A foreign name with control characters, such as a terminal's escapes, replaced by their code points.

    >>> printable("a\\x1b[2J")
    'a\\\\u001b[2J'
    """
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def _row(operation: str, start: int, end: int, entity: str) -> str:
    return ROW.format(operation, _clock(start), _clock(end), (end - start) / NANO, entity).rstrip()


def _clock(time: int) -> str:
    return datetime.fromtimestamp(time // NANO, UTC).strftime("%m-%d %H:%M:%S") + f".{time % NANO // 1000:06d}"


def data(roots: Sequence[Step]) -> list[dict[str, Any]]:
    """The same as plain data: durations in seconds, times in RFC 3339; for YAML and JSON."""
    return [_data(root) for root in roots]


def _data(step: Step) -> dict[str, Any]:
    run = step.run
    queued_until = step.running or step.end
    row: dict[str, Any] = {
        "id": run.id,
        "kind": run.kind,
        "name": run.name,
        "attempt": run.attempt,
        "outcome": step.outcome or "incomplete",
        "start": _rfc3339(step.start),
        "end": _rfc3339(step.end),
        "critical": step.critical,
        "seconds": {
            "queued": (queued_until - step.start) / NANO,
            "running": (step.end - step.running) / NANO if step.running else 0.0,
            "idle": sum(end - start for start, end in step.idle) / NANO,
        },
    }
    if step.children:
        row["children"] = [_data(child) for child in step.children]
    return row


def _rfc3339(time: int) -> str:
    return datetime.fromtimestamp(time // NANO, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{time % NANO:09d}Z"
