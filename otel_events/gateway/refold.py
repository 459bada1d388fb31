"""Commits of the journal, folded once more: what a restart has to count, and what has to be sent again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from otel_events.core.metrics import Metrics
from otel_events.gateway.engine import Engine
from otel_events.gateway.state import Telemetry, Timing
from otel_events.journal import Closing, Journal
from otel_events.model.errors import JournalError
from otel_events.model.event import AnyEvent

_logger = logging.getLogger("otel_events")


class Refold:
    """Folds commits once more, each time through an engine of its own: the same journal gives the same bytes."""

    def __init__(
        self, journal: Journal, metrics: Metrics, timing: Timing, signals: frozenset[str], clock: Callable[[], int]
    ) -> None:
        self._journal, self._metrics, self._timing = journal, metrics, timing
        self._signals, self._clock = signals, clock

    def engine(self) -> Engine:
        """An engine that holds nothing yet and reads back what it needs from the journal."""
        return Engine(self._metrics, self._load, self._timing, self._signals)

    def _load(self, key: bytes, upto: int) -> Iterable[tuple[Sequence[AnyEvent], Sequence[Closing]]]:
        for chunk in self._journal.root_chunks(key, upto, records=False):
            yield chunk.events, chunk.closings

    def count(self) -> None:
        """Bring the metrics to where the journal is: from their last snapshot, and the commits after it."""
        for _ in self._walk(self._restore(), count=True, emit=False):
            pass

    def _restore(self) -> int:
        """Take the last snapshot of the metrics; returns the commit up to which it counts, 0 where there is none."""
        try:
            seq, state = self._journal.snapshot or (0, b"")
            if state:
                self._metrics.restore(state)
            return seq
        except JournalError as error:
            _logger.warning("counting anew from what the journal holds: %s", error)
            return 0

    def telemetry(self, after: int) -> Iterator[tuple[int, Telemetry]]:
        """(commit, its telemetry) of all commits after ``after``, also of those that come meanwhile; counts nothing."""
        return self._walk(after, count=False, emit=True)

    def _walk(self, after: int, count: bool, emit: bool) -> Iterator[tuple[int, Telemetry]]:
        engine = self.engine()
        while (upto := self._journal.last_seq) > after:
            for seq, chunks in self._journal.commits(after, records=False):
                if seq > upto:  # It came while this round went on: the next round reads it, and then all of it.
                    break
                events = {key: chunk.events for key, chunk in chunks.items() if chunk.events}
                closings = {key: chunk.closings for key, chunk in chunks.items() if chunk.closings}
                yield seq, engine.apply(seq, events, closings, (), self._clock(), count, emit)
                engine.forget(self._clock() + self._timing.forget)
            after = upto
