"""Execution spans: where the time of a run went, in the two formats that flytekit's ``FlyteExecutionSpan`` prints.

    ExecutionSpan.from_flyte(core_span).explain()       # of GetExecutionMetrics: a protobuf, its bytes or its JSON
    ExecutionSpan.of("flytesnacks/development/a7xk2p9qv5").dump()  # of any run in a journal, whatever its source

``explain`` prints a row for each operation, ``dump`` YAML with the seconds of each operation summed over everything
below (flytekit 1.16, ``flytekit/remote/metrics.py``): the same bytes, but that a time which is missing shows as ``-``
and counts nothing, where flytekit counts from 1970; that control characters are escaped; and that a change of the
clock to or from summer time in between adds or takes no hour.
"""

from __future__ import annotations

import sys
from contextlib import closing
from datetime import tzinfo
from pathlib import Path
from typing import Any, TextIO

from otel_events.journal import Journal
from otel_events.journal.place import journal_path
from otel_events.views.execution_span.flyte import core_span
from otel_events.views.execution_span.recorded import spans_of
from otel_events.views.execution_span.span import Span, breakdown, rows
from otel_events.views.execution_span.yaml import dumped
from otel_events.views.explain import recorded

__all__ = ["ExecutionSpan", "Span"]


class ExecutionSpan:
    """A tree of spans (``span``) and the two verbs of flytekit's ``FlyteExecutionSpan``."""

    def __init__(self, span: Span) -> None:
        self.span = span

    @classmethod
    def from_flyte(cls, span: Any) -> ExecutionSpan:
        """The tree of a span of Flyte.

        Args:
            span: A ``flyteidl.core.Span``, or the answer of GetExecutionMetrics that holds one: the message, its bytes,
                or its JSON as dict, text or bytes.

        Raises:
            ConfigError: The extra ``flyte`` is not installed.
            DecodeError: It is no span, too large, or too deep.
        """
        return cls(core_span(span))

    @classmethod
    def of(cls, run: str, journal: str | Path | None = None) -> ExecutionSpan:
        """The tree of a recorded run.

        Args:
            run: Id of a run, or the beginning of the id of a root.
            journal: The journal; None for $OTEL_EVENTS_JOURNAL, else the one in the user's state folder.

        Raises:
            RunNotFound: The journal has no such run.
            ConfigError: Several roots begin so.
            JournalError: The journal cannot be read.
        """
        with closing(Journal.reader(journal_path(str(journal or "")))) as reader:
            trees = recorded(reader, run)
        return cls(spans_of([step for steps in trees for step in steps]))

    def explain(self, tz: tzinfo | None = None, file: TextIO | None = None) -> None:
        """Print a row for each operation, to standard output or ``file``; times in ``tz``, None for the local zone."""
        (file or sys.stdout).writelines(rows(self.span, tz))

    def dump(self, file: TextIO | None = None) -> None:
        """Print the breakdown as YAML, to standard output or ``file``."""
        (file or sys.stdout).write(dumped(self.data()) + "\n")

    def data(self) -> dict[str | int, Any]:
        """The breakdown that ``dump`` prints.

        Returns:
            {id: {breakdown: {operation: seconds}, nodes: {}, task_attempts: {}, workflows: {}}}; the last three only
            where the run has such parts, each part by its id.
        """
        return {self.span.id: breakdown(self.span.spans)}
