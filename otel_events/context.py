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

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context as OtelContext
from opentelemetry.context import attach, detach

from otel_events.event import Report, Run
from otel_events.identity import span_id, trace_id
from otel_events.pipeline.live import emit, new_id

if TYPE_CHECKING:
    from logging import Logger

    from structlog.typing import FilteringBoundLogger

    from otel_events.tasks.output import OutputMetadataTracker
    from otel_events.tasks.stats import Stats

LOCAL = "local"
"""What ids are outside of any run, as flytekit has it."""


class TaskContext:
    """One attempt of one run, as the code in it sees it. Each part is made when it is first asked for.

    ``run``: None outside of any. From any thread: whoever holds the context tells of its run.
    """

    __slots__ = ("_decks", "_logger", "_logging", "_stats", "_tracker", "run")

    def __init__(self, run: Run | None) -> None:
        self.run = run
        self._stats: Stats | None = None
        self._logging: Logger | None = None
        self._logger: FilteringBoundLogger | None = None
        self._tracker: OutputMetadataTracker | None = None
        self._decks: list[Any] | None = None

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
        return self.run.attempt if self.run else 1

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

    def get_deck(self) -> str:
        """The page of this attempt's decks as they stand, as HTML."""
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


_current: ContextVar[TaskContext | None] = ContextVar("otel_events_run", default=None)


def current_run() -> Run | None:
    """The run under way here, or None outside of any."""
    context = _current.get()
    return context.run if context is not None else None


def current_context() -> TaskContext:
    """What the run under way here tells of itself; outside of any, one whose ``run`` is None."""
    return _current.get() or TaskContext(None)


def otel_context(run: Run) -> OtelContext:
    """An OpenTelemetry context whose current span is the one that will be sent for this attempt: spans that are
    started in it become its children, although it is sent only at the end."""
    where = trace.SpanContext(
        trace_id=int.from_bytes(trace_id(run.source, run.namespace, run.root), "big"),
        span_id=int.from_bytes(span_id(run.source, run.namespace, run.id, run.attempt, run.kind), "big"),
        is_remote=False,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(where))


@contextmanager
def entered(run: Run) -> Iterator[TaskContext]:
    """Make ``run`` the current one, for us and for OpenTelemetry, in this thread or asyncio task."""
    context = TaskContext(run)
    token, outer = _current.set(context), attach(otel_context(run))
    try:
        yield context
    finally:
        detach(outer)
        _current.reset(token)
