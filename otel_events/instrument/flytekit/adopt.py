"""``flytekit.current_context()``: its stats go to us (tasks/stats.py) and to where they went before; its log records
carry the run and are events of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from otel_events.inprocess.faults import fault
from otel_events.inprocess.ids import new_id
from otel_events.inprocess.queue import emit
from otel_events.model.event import Log, Run, Scalar
from otel_events.tasks.context import TaskContext, current_context
from otel_events.tasks.logs import carried, severity_of
from otel_events.tasks.stats import Stats, Timer

LONGEST = 32_768
"""Characters of a message; what is longer is cut."""
FAULT = "a stat of flytekit's current_context()"


def stats(original: property) -> property:
    """``ExecutionParameters.stats``, of the run under way."""

    def get(self: Any) -> Any:
        theirs, context = original.__get__(self), current_context()
        if type(theirs) is Both:  # flytekit copies what it reads here into the parameters of the next call
            theirs = theirs._theirs
        return theirs if context.run is None else Both(theirs, context)

    return property(get, doc=original.__doc__)


def _both(name: str) -> Callable[..., Any]:
    def call(self: Both, *args: Any, **kwargs: Any) -> Any:
        try:
            getattr(self._ours, name)(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  # arguments that are not those of a stat
            fault(FAULT, error)
        return self._hand_on(name, *args, **kwargs)

    call.__name__ = name
    return call


class Both:
    """Stats of the run, and flytekit's: statsd in a pod, a mock elsewhere. What flytekit's cannot do (the mock has no
    ``set``, ``pipeline`` or ``get_stats``, and its ``timing`` takes no value) is done for us alone."""

    __slots__ = ("_context", "_own", "_theirs")

    def __init__(self, theirs: Any, context: TaskContext, own: Stats | None = None) -> None:
        self._theirs, self._context, self._own = theirs, context, own

    @property
    def _ours(self) -> Stats:
        return self._own or self._context.stats

    incr, decr, gauge, timing, set = (_both(name) for name in ("incr", "decr", "gauge", "timing", "set"))
    extend_tags, clear_tags, send = (_both(name) for name in ("extend_tags", "clear_tags", "send"))

    def timer(self, *args: Any, **kwargs: Any) -> Timers:
        """A timer of both."""
        return Timers(self._ours.timer(*args, **kwargs), self._hand_on("timer", *args, **kwargs))

    def pipeline(self) -> Both:
        """A pipeline of both."""
        return Both(self._hand_on("pipeline"), self._context, self._ours.pipeline())

    def get_stats(self, name: str, copy_tags: bool = True) -> Both:
        """A scope of both."""
        return Both(
            self._hand_on("get_stats", name, copy_tags=copy_tags),
            self._context,
            self._ours.get_stats(name, copy_tags),
        )

    def __enter__(self) -> Both:
        return Both(self._hand_on("__enter__"), self._context, self._ours.pipeline())

    def __exit__(self, *args: Any) -> None:
        self._hand_on("__exit__", *args)
        _both("send")(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._theirs, name)

    def _hand_on(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """The caller's tags as a copy: statsd's client writes into them."""
        if kwargs.get("tags") is not None:
            kwargs["tags"] = dict(kwargs["tags"])
        try:
            return getattr(self._theirs, method)(*args, **kwargs)
        except (AttributeError, TypeError):
            return None


class Timers:
    """Two timers as one; an attribute is that of ours."""

    def __init__(self, ours: Timer, theirs: Any) -> None:
        self._ours, self._theirs = ours, theirs

    def __enter__(self) -> Any:
        self._ours.__enter__()
        entered = self._theirs.__enter__() if hasattr(self._theirs, "__enter__") else None
        return self._ours if entered is None else entered

    def __exit__(self, *args: Any) -> None:
        self._ours.__exit__(*args)
        if hasattr(self._theirs, "__exit__"):
            self._theirs.__exit__(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ours, name)


class Correlated(logging.Filter):
    """On flytekit's user logger: each record of a run carries ``run_id``, ``attempt``, ``trace_id`` and ``span_id``,
    for whatever format its handlers have, and becomes an event of the run."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields and emit the event; every record passes."""
        run = current_context().run
        if run is not None:
            try:
                vars(record).update(carried(run))
                emit(_log(run, record))
            except Exception as error:  # noqa: BLE001  # what a record holds may raise when it is read
                fault("a log record of flytekit's current_context()", error)
        return True


def _log(run: Run, record: logging.LogRecord) -> Log:
    attributes: dict[str, Scalar] = {"code.file.path": record.pathname, "code.line.number": record.lineno}
    return Log(
        id=new_id(),
        time=int(record.created * 1e9),
        run=run,
        attributes=attributes,
        message=record.getMessage()[:LONGEST],
        severity=severity_of(record.levelno),
        logger=record.name,
    )
