"""The tree of an execution span, its rows and its breakdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal

import msgspec

from otel_events.core.spans import NANO
from otel_events.views.explain import HEADER, WIDTH, printable

Kind = Literal["operation", "workflow", "node", "task", ""]

_ROW = "{:25s}{:25s}{:25s} {:>8s}    {:s}{:s}\n"
_GROUPS: dict[str, str] = {"task": "task_attempts", "node": "nodes", "workflow": "workflows"}


class Span(msgspec.Struct):
    """An operation (``TASK_RUNTIME``), or the workflow, node or task attempt that its ``spans`` are of."""

    kind: Kind
    id: str | int
    """The operation; name of the execution; id of the node; number of the attempt, from 0 as Flyte counts. "" of kind
    "": what several outermost spans are under."""
    start: int | None
    """ns since the epoch; None where it is missing."""
    end: int | None
    spans: list[Span] = []

    @property
    def seconds(self) -> float | None:
        """From start to end, each rounded to a microsecond; None where one of them is missing."""
        if self.start is None or self.end is None:
            return None
        return (_moment(self.end, UTC) - _moment(self.start, UTC)).total_seconds()


def rows(top: Span, tz: tzinfo | None) -> Iterator[str]:
    """The lines that ``explain`` prints: header, 140 dashes, a row for each operation, two spaces a level."""
    yield HEADER.format("operation", "start_timestamp", "end_timestamp", "duration", "entity") + "\n"
    yield "-" * WIDTH + "\n"
    todo: list[tuple[Span, int, str]] = [(top, -1, "")]
    while todo:
        span, level, entity = todo.pop()
        below = f"{span.kind}/{span.id}" if span.kind else ""
        if span.kind == "operation":
            yield _row(span, level, entity, tz)
            below = f"{entity}/{span.id}"
        todo.extend((under, level + 1, below) for under in reversed(span.spans))


def _row(span: Span, level: int, entity: str, tz: tzinfo | None) -> str:
    seconds = span.seconds
    duration = "-" if seconds is None else f"{seconds:7.2f}s"
    times = (_clock(span.start, tz), _clock(span.end, tz))
    return _ROW.format(printable(str(span.id)), *times, duration, "  " * level, printable(entity))


def _clock(time: int | None, tz: tzinfo | None) -> str:
    return "-" if time is None else _moment(time, tz).strftime("%m-%d %H:%M:%S.%f")


def _moment(time: int, tz: tzinfo | None) -> datetime:
    """As flytekit reads a Timestamp: through a float, whose rounding is thus ours."""
    return datetime.fromtimestamp(time // NANO + time % NANO / 1e9, tz)


def breakdown(spans: Iterable[Span]) -> dict[str, Any]:
    """Seconds by operation, summed over all spans below, and the same of each part. When two parts have one id, the
    later one is shown and both are counted, as in flytekit."""
    seconds: dict[str, float] = {}
    groups: dict[str, dict[str | int, Any]] = {kind: {} for kind in _GROUPS}
    for span in spans:
        if span.kind == "operation":
            own = {str(span.id): span.seconds or 0.0}
        else:
            part = breakdown(span.spans)
            groups.get(span.kind, {})[span.id] = part
            own = part["breakdown"]
        for operation, value in own.items():
            seconds[operation] = seconds[operation] + value if operation in seconds else value
    return {"breakdown": seconds} | {name: groups[kind] for kind, name in _GROUPS.items() if groups[kind]}
