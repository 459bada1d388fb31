"""Where the code at hand runs: the run and attempt under way in this thread or asyncio task, its trace context, and
what a task tells of itself.

    from otel_events import current_context

    context = current_context()
    context.stats.incr("rows", 100)
    context.logging.info("read %s", path)
    context.logger.info("read", path=path)
    context.output_metadata_tracker.add(frame, OutputMetadata(dynamic_partitions={"region": "eu"}))

Outside of any run it is the same with nothing behind it: stats and metadata go nowhere, logs go where logging goes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec
from opentelemetry import trace
from opentelemetry.context import Context as OtelContext
from opentelemetry.context import attach, detach, get_current

from otel_events.inprocess.attempts import SOURCE, OwnAttempt
from otel_events.inprocess.queue import emit, fault, new_id
from otel_events.model.event import Report, Run
from otel_events.model.identity import is_sampled, parse_traceparent, traceparent

if TYPE_CHECKING:
    from logging import Logger

    from structlog.typing import FilteringBoundLogger

    from otel_events.tasks.output import OutputMetadataTracker
    from otel_events.tasks.stats import Stats

LOCAL = "local"
"""What ids are outside of any run, as flytekit has it."""
TRACEPARENT = "TRACEPARENT"
"""Variable of a child process: the W3C trace context that it is started in (OpenTelemetry, "Environment Variables as
Context Propagation Carriers")."""
PARENT = "OTEL_EVENTS_PARENT"
"""Variable of a child process: the run that it is a part of, as JSON of event.Run."""


Lap = tuple[str, str, int, int]
"""What a timeline shows: (name, outcome of a run or "section", start and end in ns)."""
LAPS = 500
"""Of one attempt that are kept."""


class TaskContext(OwnAttempt):
    """One attempt of one run, as the code in it sees it. Each part is made when it is first asked for.

    ``run``: None outside of any. ``began``: ns, 0 where it is not known. ``laps``: None where its task has no timeline.
    From any thread: whoever holds the context tells of its run.
    """

    __slots__ = ("_decks", "_logger", "_logging", "_stats", "_tracker", "began", "laps")

    def __init__(self, run: Run | None, trace: bytes = b"", process: str | None = None) -> None:
        super().__init__(run, trace, process)
        self._stats: Stats | None = None
        self._logging: Logger | None = None
        self._logger: FilteringBoundLogger | None = None
        self._tracker: OutputMetadataTracker | None = None
        self._decks: list[Any] | None = None
        self.began = 0
        self.laps: list[Lap] | None = None

    @property
    def execution_id(self) -> str:
        """Id of the outermost run."""
        return self.run.root if self.run else LOCAL

    @property
    def task_id(self) -> str:
        """Name of the definition that runs here."""
        return self.run.name if self.run else LOCAL

    @property
    def run_id(self) -> str:
        """Id of this run, the same for all of its attempts."""
        return self.run.id if self.run else LOCAL

    @property
    def attempt(self) -> int:
        """Counted from 1."""
        return (self.run.attempt or 1) if self.run else 1

    @property
    def stats(self) -> Stats:
        """Numbers: ``incr decr gauge timing timer set``, with tags, scopes (``get_stats``) and ``pipeline``."""
        if self._stats is None:
            from otel_events.tasks.stats import Stats  # each part is loaded by who uses it

            self._stats = Stats(self)
        return self._stats

    @property
    def logging(self) -> Logger:
        """A standard logger whose records carry the run."""
        if self._logging is None:
            from otel_events.tasks.logs import RunLogger  # as above

            self._logging = RunLogger(self)
        return self._logging

    @property
    def logger(self) -> FilteringBoundLogger:
        """A structlog logger whose records carry the run."""
        if self._logger is None:
            from otel_events.tasks.logs import bound_logger  # as above

            self._logger = bound_logger(self)
        return self._logger

    @property
    def output_metadata_tracker(self) -> OutputMetadataTracker:
        """What is said of the objects that the task returns."""
        if self._tracker is None:
            from otel_events.tasks.output import OutputMetadataTracker  # as above

            self._tracker = OutputMetadataTracker()
        return self._tracker

    @property
    def decks(self) -> list[Any]:
        """The decks of this attempt, in order; whoever makes one appends it. At the end of the attempt, before its
        outcome is told, ``otel_events.deck`` makes a page of them."""
        if self._decks is None:
            self._decks = []
        return self._decks

    def lap(self, name: str, what: str, start: int, end: int) -> None:
        """Put something that is over on the attempt's timeline, if it has one; past LAPS it is left out."""
        if self.laps is not None and len(self.laps) < LAPS:
            self.laps.append((name, what, start, end))

    @property
    def has_decks(self) -> bool:
        return bool(self._decks)

    @property
    def has_more(self) -> bool:
        """Whether there are decks or output metadata to look at when the attempt ends."""
        return bool(self._decks) or self._tracker is not None

    @property
    def tracker(self) -> OutputMetadataTracker | None:
        """The output metadata, if anything was said."""
        return self._tracker

    def get_deck(self) -> str:
        """The page of this attempt's decks as they stand, as HTML; outside of any run, that of this process's last
        attempt that had one."""
        return str(import_module("otel_events.deck").page(self))  # as above

    def report(
        self, name: str, media_type: str = "", *, uri: str = "", content: str = "", step: int | None = None
    ) -> None:
        """Tell of something that this attempt made: where it is, or what it holds."""
        if self.run is not None:
            emit(
                Report(
                    id=new_id(),
                    time=time.time_ns(),
                    run=self.run,
                    name=name,
                    media_type=media_type,
                    uri=uri,
                    content=content,
                    step=step,
                )
            )


class Asked(TaskContext):
    """The attempt that ``ask`` names, each time that it is asked for: of a process that carries out one task after the
    other, or several at once. ``ask`` raises nothing."""

    __slots__ = ("_ask", "_run")

    def __init__(self, ask: Callable[[], Run | None]) -> None:
        self._run: Run | None = None
        self._ask = ask
        super().__init__(None)

    @property
    def run(self) -> Run | None:
        """None outside of any."""
        found = self._ask()
        if found != self._run:
            super().__init__(found)  # another task: its stats, loggers and decks are its own
        return found

    @run.setter
    def run(self, run: Run | None) -> None:
        self._run = run


_current: ContextVar[TaskContext | None] = ContextVar("otel_events_run", default=None)
_everywhere: tuple[Asked, ...] = ()
"""What is at hand in all threads and coroutines of this process where nothing else is; the last that has a run."""


def everywhere(*contexts: Asked) -> None:
    """Put these in place of those that are at hand where nothing else is."""
    global _everywhere
    _everywhere = contexts


def around() -> tuple[Asked, ...]:
    """Those that are at hand where nothing else is."""
    return _everywhere


def surrounding() -> TaskContext | None:
    """The attempt under way here, None outside of any: as ``current_context``, and makes nothing."""
    return _current.get() or (_asked() if _everywhere else None)


def _asked() -> Asked | None:
    return next((one for one in reversed(_everywhere) if one.run is not None), None)


def current_run() -> Run | None:
    """The run under way here, or None outside of any."""
    context = surrounding()
    return context.run if context is not None else None


def current_context() -> TaskContext:
    """What the run under way here tells of itself; outside of any, one whose ``run`` is None."""
    return surrounding() or TaskContext(None)


class OwnSpan(trace.NonRecordingSpan):
    """The span of an attempt, for OpenTelemetry: spans that are started under it become its children, although it is
    sent only at the end. Its ids are derived when somebody asks for them."""

    def __init__(self, own: OwnAttempt) -> None:
        self.of = own

    def get_span_context(self) -> trace.SpanContext:
        own = self.of
        return trace.SpanContext(
            trace_id=int.from_bytes(own.trace_id, "big"),
            span_id=int.from_bytes(own.span_id, "big"),
            is_remote=False,
            trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
        )

    def __repr__(self) -> str:
        return f"OwnSpan({self.get_span_context()!r})"


def handing_over() -> tuple[TaskContext | None, OtelContext]:
    """What is at hand here, to be entered by other code: of a run that is asked for, the one of this moment."""
    context, outer = surrounding(), get_current()
    if not isinstance(context, Asked):
        return context, outer
    own = trace.get_current_span(outer)
    fixed = TaskContext(context.run)
    if isinstance(own, OwnSpan) and own.of is context:
        outer = trace.set_span_in_context(OwnSpan(fixed), outer)
    return fixed, outer


def otel_context(run: Run) -> OtelContext:
    """An OpenTelemetry context whose current span is the one that will be sent for this attempt."""
    return trace.set_span_in_context(OwnSpan(OwnAttempt(run)))


Tokens = tuple[Token[TaskContext | None], Token[OtelContext] | None]


def enter(context: TaskContext) -> Tokens:
    """Make the attempt the current one, for us and for OpenTelemetry, in this thread or asyncio task."""
    outer = attach(trace.set_span_in_context(OwnSpan(context))) if context.run is not None else None
    return _current.set(context), outer


def leave(tokens: Tokens) -> None:
    """Undo ``enter``, in the same thread or task."""
    inner, outer = tokens
    _current.reset(inner)
    if outer is not None:
        detach(outer)


@contextmanager
def entered(run: Run, trace: bytes = b"") -> Iterator[TaskContext]:
    """Make ``run`` the current one, for us and for OpenTelemetry, in this thread or asyncio task. ``trace``: id of its
    trace, where that does not follow from its root."""
    context = TaskContext(run, trace)
    tokens = enter(context)
    try:
        yield context
    finally:
        leave(tokens)


# --- other processes -------------------------------------------------------------------------------------------------


def env_context(context: TaskContext | None = None) -> dict[str, str]:
    """Variables for a child process or a remote job, so that what runs there is part of this run (the one at hand,
    unless another is given); {} outside of any. ``otel-events context`` prints the same for a shell.

        subprocess.run(command, env=os.environ | env_context())
    """
    context = context or current_context()
    if context.run is None:
        where = trace.get_current_span().get_span_context()
        return {TRACEPARENT: _told(where)} if where.is_valid else {}
    return {
        TRACEPARENT: traceparent(context.trace_id, context.span_id),
        PARENT: msgspec.json.encode(context.run).decode(),
    }


def _told(where: trace.SpanContext) -> str:
    ids = where.trace_id.to_bytes(16, "big"), where.span_id.to_bytes(8, "big")
    return traceparent(*ids, sampled=where.trace_flags.sampled)


Caller = tuple[Run | None, str, bytes, bool]
"""(the run that a new one is part of; the W3C context of the span that it is under, "" where that follows from the
run's id; id of the trace, b"" where it follows from the root's; whether that is all of another process, or nothing)."""


def caller() -> Caller:
    """What a run that begins here is a part of: the run at hand, else the user's own span, else what the process was
    started with."""
    context = surrounding()
    if context is None or context.run is None:
        where = trace.get_current_span().get_span_context()
        if where.is_valid and where.trace_flags.sampled:
            return None, _told(where), where.trace_id.to_bytes(16, "big"), True
        return inherited()
    run = context.run
    handed = context.handed
    if run.source == SOURCE and not run.namespace and not (handed and run.attempt > 1):
        return run, "", context.trace, handed
    return run, traceparent(context.trace_id, context.span_id), context.trace_id, handed


@cache
def inherited() -> Caller:
    """What the environment says that this process is a part of; asked once."""
    told, run = os.environ.get(TRACEPARENT, ""), None
    try:
        if text := os.environ.get(PARENT, ""):
            run = msgspec.json.decode(text, type=Run)
    except (msgspec.MsgspecError, RecursionError) as error:
        fault(f"the variable {PARENT}", error)
    ids = parse_traceparent(told)
    if ids is None or not is_sampled(told):
        ids = None
    if run is None:
        return (None, told, ids[0], True) if ids else (None, "", b"", True)
    own = OwnAttempt(run)
    derived = own.trace_id, own.span_id
    if run.source == SOURCE and not run.namespace and ids in (None, derived) and run.attempt < 2:
        return run, "", b"", True
    found = ids or derived
    return run, traceparent(*found), b"" if found[0] == derived[0] and run.source == SOURCE else found[0], True
