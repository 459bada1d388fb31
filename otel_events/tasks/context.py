"""``current_context()``: what a task reports of itself.

    from otel_events import current_context

    context = current_context()
    context.stats.incr("rows", 100)
    context.logging.info("read %s", path)
    context.logger.info("read", path=path)
    context.output_metadata_tracker.add(frame, OutputMetadata(dynamic_partitions={"region": "eu"}))

Outside of any run it is the same with nothing behind it: stats and metadata go nowhere, logs go where logging goes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from otel_events.inprocess.attempts import ProcessAttempt
from otel_events.inprocess.context import current_attempt
from otel_events.inprocess.reports import report
from otel_events.model.event import Run
from otel_events.tasks.output import OutputMetadataTracker
from otel_events.tasks.stats import Stats

if TYPE_CHECKING:
    from logging import Logger

    from structlog.typing import FilteringBoundLogger

LOCAL = "local"
"""What ids and names are outside of any run, as in flytekit."""


class TaskContext(ProcessAttempt):
    """One attempt of one run, as the code in it sees it. Each part is made when it is first used.

    It may be used from any thread: what is reported through it belongs to its run.
    """

    __slots__ = ("_logger", "_logging", "_stats", "_tracker")

    def __init__(self, run: Run | None, trace: bytes = b"", process: str | None = None) -> None:
        super().__init__(run, trace, process)
        self._stats: Stats | None = None
        self._logging: Logger | None = None
        self._logger: FilteringBoundLogger | None = None
        self._tracker: OutputMetadataTracker | None = None

    @property
    def execution_id(self) -> str:
        """Id of the outermost run; "local" outside of any."""
        return self.run.root if self.run else LOCAL

    @property
    def task_id(self) -> str:
        """Name of the definition that runs here; "local" outside of any."""
        return self.run.name if self.run else LOCAL

    @property
    def run_id(self) -> str:
        """Id of this run, the same for all of its attempts; "local" outside of any."""
        return self.run.id if self.run else LOCAL

    @property
    def attempt(self) -> int:
        """Number of the attempt, counted from 1."""
        return (self.run.attempt or 1) if self.run else 1

    @property
    def stats(self) -> Stats:
        """Numbers: ``incr decr gauge timing timer set``, with tags, scopes (``get_stats``) and ``pipeline``."""
        if self._stats is None:
            self._stats = Stats(self)
        return self._stats

    @property
    def logging(self) -> Logger:
        """A standard logger whose records carry the run."""
        if self._logging is None:
            from otel_events.tasks.logs import RunLogger  # structlog: 30 ms that only tasks with logs need to pay

            self._logging = RunLogger(self)
        return self._logging

    @property
    def logger(self) -> FilteringBoundLogger:
        """A structlog logger whose records carry the run."""
        if self._logger is None:
            from otel_events.tasks.logs import bound_logger  # structlog: 30 ms that only tasks with logs need to pay

            self._logger = bound_logger(self)
        return self._logger

    @property
    def output_metadata_tracker(self) -> OutputMetadataTracker:
        """What is said of the objects that the task returns."""
        if self._tracker is None:
            self._tracker = OutputMetadataTracker()
        return self._tracker

    @property
    def tracker(self) -> OutputMetadataTracker | None:
        """The output metadata; None where nothing was said."""
        return self._tracker

    @property
    def has_more(self) -> bool:
        """Whether there are decks or output metadata to look at when the attempt ends."""
        return self.has_decks or self._tracker is not None

    def get_deck(self) -> str:
        """The page of this attempt's decks as they stand.

        Returns:
            HTML; outside of any run, that of this process's last attempt that had a page.
        """
        from otel_events.deck import finish  # Jinja2, which only pages need

        return finish.page(self)

    def report(
        self, name: str, media_type: str = "", *, uri: str = "", content: str = "", step: int | None = None
    ) -> None:
        """Report something that this attempt made; nothing happens outside of any run.

        Args:
            name: What it is.
            media_type: For example ``text/html``.
            uri: Where it is.
            content: What it holds, if that is short.
            step: Of a series, such as the epochs of a training.
        """
        if self.run is not None:
            report(self.run, name, media_type, uri=uri, content=content, step=step)


class DynamicContext(TaskContext):
    """A context whose run is looked up on each access: of a process that carries out one task after the other, or
    several at once."""

    __slots__ = ("_look_up", "_run")

    def __init__(self, look_up: Callable[[], Run | None]) -> None:
        """``look_up``: gives the run of this moment, None outside of any; raises nothing."""
        self._run: Run | None = None
        self._look_up = look_up
        super().__init__(None)

    @property
    def run(self) -> Run | None:
        """The run of this moment; None outside of any."""
        run = self._look_up()
        if run != self._run:
            super().__init__(run)  # another task: its stats, loggers and decks are its own
        return run

    @run.setter
    def run(self, run: Run | None) -> None:
        self._run = run

    def snapshot(self) -> TaskContext:
        """The context of the run of this moment, which does not change any more."""
        return TaskContext(self.run)


def current_context() -> TaskContext:
    """The context of the run under way here: its stats, logs, output metadata and decks.

    Returns:
        The context of the innermost run; outside of any, one whose ``run`` is None and whose calls have no effect.

    >>> context = current_context()
    >>> context.run is None, context.execution_id
    (True, 'local')
    >>> context.stats.incr("rows", 100)  # goes nowhere, and does no harm
    """
    attempt = current_attempt()
    return attempt if isinstance(attempt, TaskContext) else TaskContext(None)
