"""What a gateway does as time passes: close what is over, send, write checkpoints, make room, export metrics."""

from __future__ import annotations

from collections.abc import Callable

from otel_events.core.metrics import Metrics
from otel_events.gateway.delivery import Delivery
from otel_events.gateway.engine import Engine
from otel_events.gateway.outbox import Outbox
from otel_events.gateway.settings import Every
from otel_events.gateway.writer import Writer
from otel_events.journal import Journal


class Upkeep:
    """The regular work of a gateway. Called under its lock."""

    def __init__(
        self,
        journal: Journal,
        metrics: Metrics,
        delivery: Delivery,
        engine: Engine,
        writer: Writer,
        outbox: Outbox,
        every: Every,
    ) -> None:
        self._journal, self._metrics, self._delivery = journal, metrics, delivery
        self._engine, self._writer, self._outbox = engine, writer, outbox
        self._chores: dict[str, tuple[int, Callable[[int], None]]] = {
            "checkpoint": (every.checkpoint, self._checkpoint),
            "housekeeping": (every.housekeeping, self._housekeeping),
            "metrics": (every.metrics, self.export_metrics),
        }
        self._next = dict.fromkeys(self._chores, 0)
        self._noted = -1, -1

    def work(self, now: int) -> None:
        """Do what is due. Raises JournalError where the journal cannot be written."""
        if self._writer.trouble:
            # Make room first: a full disk takes no commit until a trim has freed some.
            self._housekeeping(now)
            self.count_process()
            self._journal.checkpoint()
        self._writer.commit()
        self._outbox.catch_up()
        self._delivery.flush()
        for name, (period, chore) in self._chores.items():
            if now >= self._next[name]:
                self._next[name] = now + period
                chore(now)

    def _checkpoint(self, now: int) -> None:
        self._note()
        self._journal.checkpoint()

    def _note(self) -> None:
        """Note from where a restart has to go on; it is on disk with the journal's next transaction."""
        sent, last = self._delivery.sent_seq, self._journal.last_seq
        if (sent, last) != self._noted:
            self.count_process()
            self._journal.set_snapshot(last, self._metrics.snapshot())
            self._noted = sent, last

    def _housekeeping(self, now: int) -> None:
        self._engine.forget(now)
        trimmed = self._journal.trim(now)
        self._engine.drop(trimmed.roots)
        for reason, events in trimmed.by_reason.items():
            self._metrics.internal.dropped(reason, events)
        if trimmed.more:
            self._next["housekeeping"] = now
        self._writer.close_silent(now)

    def export_metrics(self, now: int, last: bool = False) -> None:
        """Send all metric families. ``last``: also where an earlier request still waits."""
        self.count_process()
        self._delivery.metrics(self._metrics.collect(now), last)

    def count_process(self) -> None:
        """Bring the metrics of journal and exports up to date."""
        self._journal.sent_seq = self._delivery.sent_seq
        stats = self._journal.stats()
        self._metrics.internal.journal(stats.events, stats.bytes, stats.oldest_unsent_seconds)
        for signal, counts in self._delivery.counts().items():
            self._metrics.internal.exported(signal, counts.sent, counts.failed + counts.rejected, counts.retried)

    def close(self) -> int:
        """Write the last checkpoint and close the journal; returns how many commits are left unsent."""
        self._noted = -1, -1  # What was noted before may be the same pair with other counts: note it in any case.
        try:
            self._note()
            return self._journal.last_seq - self._delivery.sent_seq
        finally:
            self._journal.close()
