"""Runs in a journal -> Span: which operation the time of each attempt went to, in Flyte's words.

| operation | time in which the attempt was |
|---|---|
| ``_QUEUE`` | pending |
| ``_SETUP`` | pending with its place made ready (SETUP_WORDS); of what has parts: running before the first began |
| ``_RUNTIME`` | running: of a task what no part of it covers, of others only what has no parts |
| ``_RESET`` | running between two attempts of one part |
| ``_IDLE`` | running between two parts, or paused |
| ``_TEARDOWN`` | finalizing; of what has parts: running after the last ended |

A task that is under no node gets one, named as the task: so its attempts are told apart from those of the next task, as
in Flyte, and time is summed up by node. Attempts are counted from 0, as Flyte counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from otel_events.views.execution_span.span import Kind, Span
from otel_events.views.explain import Step

SETUP_WORDS = frozenset({"INITIALIZING", "PENDING_ARGS_FETCH", "SUBMITTED_TO_WORKER"})
"""Native words of pending in which the place of the run is made ready: Flyte's, and two of Ray's."""


class _Part(NamedTuple):
    """A span below, and the run that it is of."""

    span: Span
    run: str


def spans_of(roots: Sequence[Step]) -> Span:
    """One span for all steps: that of a single step, else a span without a kind above them."""
    parts = [part.span for part in _parts(roots, "")]
    if len(parts) == 1:
        return parts[0]
    return Span("", "", min(_start(part) for part in parts), max(_end(part) for part in parts), parts)


def _start(span: Span) -> int:
    return span.start or 0


def _end(span: Span) -> int:
    return span.end or 0


def _parts(steps: Sequence[Step], under: str) -> list[_Part]:
    """The spans of the children of a run of kind ``under``, by time of start; repeated ids are numbered."""
    parts: list[_Part] = []
    tasks: dict[str, list[Step]] = {}
    for step in steps:
        if step.run.kind == "task":
            tasks.setdefault(step.run.id, []).append(step)
        else:
            parts.append(_Part(_span(step, under), step.run.id))
    for run, attempts in tasks.items():
        if under == "node" and len(tasks) == 1:
            parts.extend(_Part(_span(step, under), run) for step in attempts)
        else:
            parts.append(_Part(_node(attempts), run))
    parts.sort(key=lambda part: (_start(part.span), _end(part.span)))
    _number(parts)
    return parts


def _number(parts: Sequence[_Part]) -> None:
    seen: dict[tuple[str, str | int], int] = {}
    for span, _ in parts:
        key = span.kind, span.id
        seen[key] = seen.get(key, 0) + 1
        if seen[key] > 1 and span.kind != "task":
            span.id = f"{span.id}#{seen[key]}"


def _node(attempts: Sequence[Step]) -> Span:
    """The node that a task is given: its attempts, and the time between them."""
    parts = [_Part(_span(step, "node"), step.run.id) for step in sorted(attempts, key=lambda step: step.run.attempt)]
    spans = [part.span for part in parts]
    gaps = [_operation("NODE_RESET", _end(a), _start(b)) for a, b in pairwise(spans) if _end(a) < _start(b)]
    return Span("node", _name(attempts[0]), min(map(_start, spans)), max(map(_end, spans)), _in_order(gaps + spans))


def _span(step: Step, under: str) -> Span:
    kind: Kind = step.run.kind
    parts = _parts(step.children, kind)
    own = [_operation(f"{kind.upper()}_{what}", start, end) for what, start, end in _pieces(step, parts)]
    if not own and not parts:  # a run without length, such as a cache hit, is there all the same
        own = [_operation(f"{kind.upper()}_RUNTIME", step.start, step.end)]
    named = step.run.attempt - 1 if kind == "task" else _tail(step) if not under else _name(step)
    return Span(kind, named, step.start, step.end, _in_order(own + [part.span for part in parts]))


def _operation(name: str, start: int, end: int) -> Span:
    return Span("operation", name, start, end, [])


def _in_order(spans: list[Span]) -> list[Span]:
    return sorted(spans, key=lambda span: (_start(span), span.kind != "operation", _end(span)))


def _tail(step: Step) -> str:
    return step.run.id.rsplit("/", 1)[-1]


def _name(step: Step) -> str:
    """Of a part: Flyte names its nodes in their ids; elsewhere ids say nothing to a reader."""
    run = step.run
    return _tail(step) if run.source == "flyte" else run.name or run.workflow or _tail(step)


def _pieces(step: Step, parts: Sequence[_Part]) -> list[tuple[str, int, int]]:
    """(operation, start, end) of the time that no part covers, in order; neighbours of one operation are one."""
    pieces: list[tuple[str, int, int]] = []
    ends = [*(change.time for change in step.phases[1:]), step.end]
    for change, until in zip(step.phases, ends, strict=True):
        for start, end, between in _uncovered(change.time, until, parts):
            what = _what(step, change.phase, change.native, between)
            if pieces and pieces[-1][0] == what and pieces[-1][2] == start:
                start = pieces.pop()[1]
            pieces.append((what, start, end))
    return pieces


def _uncovered(start: int, end: int, parts: Sequence[_Part]) -> Iterator[tuple[int, int, tuple[str, str] | None]]:
    """The parts of a time range that no part covers: (start, end, runs before and after it; None without parts)."""
    before, latest = "", 0
    for span, run in parts:
        if start < min(_start(span), end):
            yield start, min(_start(span), end), (before, run)
        if _end(span) >= latest:
            before, latest = run, _end(span)
        start = max(start, latest)
        if start >= end:
            return
    if start < end:
        yield start, end, (before, "") if parts else None


def _what(step: Step, phase: str, native: str, between: tuple[str, str] | None) -> str:
    """The operation of a piece of time; see the table above."""
    if phase != "running":
        return {"pending": "SETUP" if native in SETUP_WORDS else "QUEUE", "paused": "IDLE"}.get(phase, "TEARDOWN")
    if between is None or step.run.kind == "task":
        return "RUNTIME"
    before, after = between
    if not before or not after:
        return "TEARDOWN" if before else "SETUP"
    return "RESET" if before == after else "IDLE"
