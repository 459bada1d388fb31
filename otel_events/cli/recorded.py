"""What a journal has, for the readers that ``serve`` runs: they ask a place only for what is missing."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from otel_events.core.fold import attempts
from otel_events.journal import Journal
from otel_events.model.errors import JournalError
from otel_events.model.event import AnyEvent
from otel_events.sources.source import LastAttempt

_logger = logging.getLogger("otel_events")


class JournalRecorded:
    """The journal at ``path``, through a reader of its own for each question."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def has_root(self, source: str, namespace: str, root: str) -> bool:
        """Whether anything is recorded of a root. Raises JournalError."""
        with closing(Journal.reader(self._path)) as reader:
            rows = reader.find_roots(root)
            return any((row.source, row.namespace, row.root) == (source, namespace, root) for row in rows)

    def last_attempts(self, source: str, namespace: str, root: str) -> Mapping[str, LastAttempt]:
        """Run id -> its last attempt; empty, with a warning, where the journal cannot be read."""
        runs: dict[str, list[AnyEvent]] = {}
        try:
            with closing(Journal.reader(self._path)) as reader:
                for row in reader.find_roots(root):
                    if (row.source, row.namespace, row.root) == (source, namespace, root):
                        for chunk in reader.root_chunks(row.key, records=False):
                            for event in chunk.events:
                                runs.setdefault(event.run.id, []).append(event)
        except JournalError as error:
            _logger.warning("attempts of %s are counted anew: %s", root, error)
        return {run_id: _last(events) for run_id, events in runs.items()}


def _last(events: Sequence[AnyEvent]) -> LastAttempt:
    last = attempts(events)[-1]
    return LastAttempt(last.run.attempt, last.first_running, bool(last.outcome))
