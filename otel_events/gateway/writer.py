"""Commits: events and decisions into the journal, then into the fold, then into telemetry."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from otel_events.gateway.engine import Engine
from otel_events.gateway.outbox import Outbox
from otel_events.journal import Closing, Journal
from otel_events.model.errors import JournalError
from otel_events.model.event import AnyEvent


class Writer:
    """The only writer of a journal. Called under the gateway's lock.

    Attributes:
        trouble: Why the journal could not be written, or the last tick failed; "" while all is well.
        draining: Whether the gateway closes, and takes nothing more.
    """

    def __init__(self, journal: Journal, engine: Engine, outbox: Outbox, clock: Callable[[], int]) -> None:
        self._journal, self._engine, self._outbox, self._clock = journal, engine, outbox, clock
        self._decided: dict[bytes, list[Closing]] = {}
        self._maybe_done: list[bytes] = []
        self.trouble = ""
        self.draining = False

    def require_open(self) -> None:
        """Raise JournalError where the gateway takes nothing more."""
        if self.draining:
            raise JournalError("the gateway is closing and takes nothing more; send the records again to the next one")

    def resume(self, now: int) -> None:
        """Read back the roots that were open when an earlier process stopped."""
        touched = {row.key: row.written for row in self._journal.roots(open_only=True)}
        self._engine.preload(touched, self._journal.last_seq, now)
        self._maybe_done = self._engine.done(touched)

    def commit(self, events: Sequence[AnyEvent] = (), records: Sequence[bytes | None] | None = None) -> int:
        """Commit what is over by now, and events.

        Args:
            events: In the order in which they came.
            records: For each event the source's record, to be stored beside it, or None.

        Returns:
            How many of the events the journal had already.

        Raises:
            JournalError: Nothing was committed.
        """
        now = self._clock()
        if not self._decided:
            self._decided = self._engine.decider.decide(now)
        return self._append(events, records, now)

    def settle(self) -> None:
        """Close all that has its outcome, without waiting for what may still come."""
        self.commit()
        self._decided = self._engine.decider.drain()
        self._append((), None, self._clock())

    def close_silent(self, now: int) -> None:
        """Close the roots from which nothing has come for very long."""
        if not self._decided:
            self._decided = self._engine.decider.silent(now)
        if self._decided:
            self._append((), None, now)

    def _append(self, events: Sequence[AnyEvent], records: Sequence[bytes | None] | None, now: int) -> int:
        """Where the journal fails, the decisions stay for the next commit, because the engine makes each only once."""
        before = self._journal.last_seq
        try:
            commit = self._journal.append(events, records, self._decided, done=self._maybe_done)
        except JournalError as error:
            self.trouble = str(error)
            raise
        closings, self._decided, self._maybe_done = self._decided, {}, []
        if commit.seq != before:
            emit = not self._outbox.behind
            telemetry = self._engine.apply(commit.seq, commit.roots, closings, commit.fresh, now, emit=emit)
            self._maybe_done = self._engine.done({**closings, **commit.roots})
            self._outbox.send(commit.seq, telemetry)
        return commit.duplicates
