"""The gateway: records in from any thread, one journal, one fold, telemetry out at least once.

    ingest:  decode -> redact -> journal (fsync) = acknowledged -> fold -> queue -> collector
    tick:    what is over -> closings into the journal -> spans -> queue

What the collector has acknowledged is known as one number, ``sent_seq``: all telemetry of the commits up to it. When
the queue is full, or after a restart, telemetry is made again from the journal, commit by commit, with the same bytes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from otel_events.core.exposition import exposition
from otel_events.core.metrics import Metrics
from otel_events.gateway.delivery import Delivery
from otel_events.gateway.engine import Engine
from otel_events.gateway.settings import Every as Every
from otel_events.gateway.settings import GatewayConfig as GatewayConfig
from otel_events.gateway.settings import Health as Health
from otel_events.gateway.settings import Unsent as Unsent
from otel_events.gateway.state import Telemetry, Timing
from otel_events.intake.ingest import Accepted as Accepted
from otel_events.intake.ingest import Batch, DeadLetter, decode_parsed, decode_records
from otel_events.intake.records import ParsedRecord, Record, Refused
from otel_events.journal import Closing, Journal
from otel_events.model.errors import JournalError, OtelEventsError
from otel_events.model.event import AnyEvent
from otel_events.model.telemetry import LogData
from otel_events.sources import Decode, decoder

LETTERS = 10_000
"""Dead letters of batches that could not be journalled, known again when they come again."""
PERIOD = 0.2
"""Seconds between two ticks of a started gateway."""

_logger = logging.getLogger("otel_events")


class Gateway:
    """One journal's writer. ``ingest`` may be called from any thread; it returns when the events are on disk."""

    def __init__(
        self,
        journal: Journal,
        metrics: Metrics,
        delivery: Delivery,
        *,
        timing: Timing,
        clock: Callable[[], int],
        every: Every,
        keep_records: bool = False,
    ) -> None:
        self._journal, self._metrics, self._delivery = journal, metrics, delivery
        self._timing, self._every, self._clock, self._keep = timing, every, clock, keep_records
        self._lock = threading.RLock()
        self._engine = Engine(metrics, self._load, timing, delivery.signals)
        self._decoders: dict[str, Decode] = {}
        self._maybe_done: list[bytes] = []
        self._decided: dict[bytes, list[Closing]] = {}
        self._letters: set[DeadLetter] = set()
        self._behind: Iterator[tuple[int, Telemetry]] | None = None
        self._chores: dict[str, Callable[[int], None]] = {
            "checkpoint": self._checkpoint,
            "housekeeping": self._housekeeping,
            "metrics": self._export_metrics,
        }
        self._next = dict.fromkeys(self._chores, 0)
        self._noted = -1, -1
        self._draining = False
        self._trouble = ""
        self._stopped = threading.Event()
        self._ticker: threading.Thread | None = None
        metrics.active = self._engine.active
        self._resume()

    @classmethod
    def open(cls, config: GatewayConfig, clock: Callable[[], int] = time.time_ns) -> Gateway:
        """A gateway over the journal at that path, made where there is none. JournalError, ConfigError."""
        delivery, metrics = Delivery.open(config.otlp), Metrics(start=clock(), tags=config.stat_tags)
        journal = Journal.open(config.journal, max_bytes=config.max_bytes, max_age_ns=config.max_age, clock=clock)
        try:
            return cls(
                journal,
                metrics,
                delivery,
                timing=config.timing,
                every=config.every,
                clock=clock,
                keep_records=config.keep_records,
            )
        except BaseException:
            journal.close()
            raise

    def tell(self, take: Callable[[LogData], object]) -> None:
        """Hand the log record of each new event to ``take`` as well, such as structlog on the console; an error of its
        own is not the gateway's: it must raise nothing."""
        self._engine.tell = take

    def start(self) -> None:
        """Tick in a thread of its own until the gateway is closed."""
        self._ticker = threading.Thread(target=self._run, name="otel-events-gateway", daemon=True)
        self._ticker.start()

    def start_threads(self) -> None:
        """Start the threads that send now: for a process that may end before it has anything to send."""
        self._delivery.start_threads()

    def _run(self) -> None:
        while not self._stopped.wait(PERIOD):
            try:
                self.tick()
            except OtelEventsError:
                pass  # readiness tells it, the next tick tries again: nothing acknowledged is at stake
            except Exception:
                _logger.exception("the gateway's tick failed; it goes on with the next")

    # --- restart ---------------------------------------------------------------------------------------------------

    def _load(self, key: bytes, upto: int) -> Iterable[tuple[Sequence[AnyEvent], Sequence[Closing]]]:
        for chunk in self._journal.root_chunks(key, upto, records=False):
            yield chunk.events, chunk.closings

    def _resume(self) -> None:
        """Continue where the last process stopped: counters from their snapshot, all else from the journal."""
        journal, now = self._journal, self._clock()
        for _ in self._walk(self._restore(), count=True, emit=False):
            pass
        keys = {row.key: row.written for row in journal.roots(open_only=True)}
        self._engine.preload(keys, journal.last_seq, now)
        self._maybe_done = self._engine.done(keys)
        self._delivery.start(journal.sent_seq)
        if journal.sent_seq < journal.last_seq:
            self._behind = self._walk(journal.sent_seq, count=False, emit=True)

    def _restore(self) -> int:
        """Go on counting where the last snapshot stopped; the commit up to which that is, 0 where there is none."""
        try:
            counted, state = self._journal.snapshot or (0, b"")
            if state:
                self._metrics.restore(state)
            return counted
        except JournalError as error:
            _logger.warning("counting anew from what the journal holds: %s", error)
            return 0

    def _walk(self, after: int, count: bool, emit: bool) -> Iterator[tuple[int, Telemetry]]:
        """The commits after ``after``, once more, through an engine of their own: same journal, same bytes."""
        engine = Engine(self._metrics, self._load, self._timing, self._delivery.signals)
        while (upto := self._journal.last_seq) > after:
            for seq, chunks in self._journal.commits(after, records=False):
                if seq > upto:  # came while we were under way: whole with the next round
                    break
                events = {key: chunk.events for key, chunk in chunks.items() if chunk.events}
                closings = {key: chunk.closings for key, chunk in chunks.items() if chunk.closings}
                yield seq, engine.apply(seq, events, closings, (), self._clock(), count, emit)
                engine.forget(self._clock() + self._timing.forget)
            after = upto

    # --- in --------------------------------------------------------------------------------------------------------

    def ingest(self, source: str, records: Sequence[Record | Refused]) -> Accepted:
        """Take records of a source. Returns after fsync. Raises ConfigError (unknown source), JournalError (nothing
        was taken: offer the batch again)."""
        decode = self._decoders.get(source) or self._decoders.setdefault(source, decoder(source))
        return self._take(source, decode_records(source, decode, records, self._keep))

    def ingest_parsed(self, source: str, records: Sequence[ParsedRecord]) -> Accepted:
        """Take records that were parsed already, as ``ingest`` takes those that were not.

        Args:
            source: The name of their source.
            records: The records.

        Returns:
            What became of them; all of it is on disk.

        Raises:
            JournalError: Nothing was taken: offer the batch again.
        """
        return self._take(source, decode_parsed(source, records, self._keep))

    def _take(self, source: str, batch: Batch) -> Accepted:
        with self._lock:
            self._open_for_more()
            for letter in batch.dead:
                self._bury(letter)
            try:
                duplicates = self._commit(batch.events, batch.kept or None)
            except JournalError:
                self._letters = {*batch.dead, *self._letters} if len(self._letters) < LETTERS else set(batch.dead)
                raise
            self._metrics.internal.received(source, batch.records)
            for _ in batch.dead:
                self._metrics.internal.dead_letter(source)
            self._metrics.internal.appended(source, len(batch.events) - duplicates, duplicates)
        return Accepted(len(batch.events) - duplicates, duplicates, batch.dead)

    def offer(self, source: str, events: Sequence[AnyEvent]) -> Accepted:
        """Take events that were made in this process (already redacted by whoever made them)."""
        with self._lock:
            self._open_for_more()
            duplicates = self._commit(events, None)
            self._metrics.internal.appended(source, len(events) - duplicates, duplicates)
        return Accepted(len(events) - duplicates, duplicates, [])

    def dropped(self, reason: str, events: int) -> None:
        """Count events that never came this far: whoever hands them over had no room for more."""
        with self._lock:
            self._metrics.internal.dropped(reason, events)

    def faulted(self, what: str, times: int) -> None:
        """Count what failed in the process that these events are of."""
        with self._lock:
            self._metrics.internal.faulted(what, times)

    def _bury(self, letter: DeadLetter) -> None:
        """Keep a dead letter with the next commit; once, also where its batch failed and is offered again."""
        if letter in self._letters:
            self._letters.remove(letter)
        else:
            self._journal.dead(letter.source, letter.where, letter.reason, letter.record, letter.length)

    def _open_for_more(self) -> None:
        if self._draining:
            raise JournalError("the gateway is closing and takes nothing more; send the records again to the next one")

    def _commit(self, events: Sequence[AnyEvent], kept: Sequence[bytes | None] | None) -> int:
        """One commit: what is over by now, then the events. Returns how many of them were there already."""
        now = self._clock()
        if not self._decided:
            self._decided = self._engine.decide(now)
        return self._append(events, kept, now)

    def _append(self, events: Sequence[AnyEvent], kept: Sequence[bytes | None] | None, now: int) -> int:
        """Events, and what has been decided, into the journal and then into telemetry. Where the journal fails, the
        decisions stay for the next commit: the engine makes each of them once."""
        before = self._journal.last_seq
        try:
            commit = self._journal.append(events, kept, self._decided, done=self._maybe_done)
        except JournalError as error:
            self._trouble = str(error)
            raise
        closings, self._decided, self._maybe_done = self._decided, {}, []
        if commit.seq != before:
            made = self._engine.apply(commit.seq, commit.roots, closings, commit.fresh, now, emit=self._behind is None)
            self._maybe_done = self._engine.done({**closings, **commit.roots})
            self._send(commit.seq, made)
        return commit.duplicates

    def _send(self, seq: int, made: Telemetry) -> None:
        """Hand telemetry on; where the queue is full, it is made again from the journal once there is room."""
        if self._behind is not None:
            return
        if self._delivery.has_room():
            self._delivery.offer(seq, made)
        else:
            self._behind = self._walk(self._delivery.offered_seq, count=False, emit=True)

    # --- time passes -----------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Close what is over, move telemetry on, keep house. Called a few times a second; cheap when idle.

        Raises JournalError where the journal cannot be written; readiness tells it until it can.
        """
        with self._lock:
            if self._draining:
                return
            try:
                self._work(self._clock())
            except Exception as error:
                self._trouble = f"{error}" if isinstance(error, OtelEventsError) else f"{type(error).__name__}: {error}"
                raise
            self._trouble = ""

    def _work(self, now: int) -> None:
        if self._trouble:  # make room first: a full disk takes no commit until a trim has freed some
            self._housekeeping(now)
            self._count_ourselves()
            self._journal.checkpoint()
        self._commit((), None)
        self._catch_up()
        self._delivery.flush()
        for what, chore in self._chores.items():
            if now >= self._next[what]:
                self._next[what] = now + getattr(self._every, what)
                chore(now)

    def _catch_up(self) -> None:
        """Offer telemetry made again from the journal, as long as the queue takes it."""
        while self._behind is not None and self._delivery.has_room():
            # After the last step all is offered: also commits of which nothing is left, because it was trimmed.
            step = next(self._behind, (self._journal.last_seq, None))
            if step[1] is None:
                self._behind = None
            self._delivery.offer(step[0], step[1] or Telemetry([], []))

    def _checkpoint(self, now: int) -> None:
        self._note()
        self._journal.checkpoint()

    def _note(self) -> None:
        """What a restart goes on from; on disk with the journal's next transaction."""
        sent, last = self._delivery.sent_seq, self._journal.last_seq
        if (sent, last) != self._noted:
            self._count_ourselves()
            self._journal.set_snapshot(last, self._metrics.snapshot())
            self._noted = sent, last

    def _housekeeping(self, now: int) -> None:
        self._engine.forget(now)
        trimmed = self._journal.trim(now)
        self._engine.drop(trimmed.roots)
        for reason, dropped in trimmed.by_reason.items():
            self._metrics.internal.dropped(reason, dropped)
        if trimmed.more:
            self._next["housekeeping"] = now
        if not self._decided:
            self._decided = self._engine.silent(now)
        if self._decided:
            self._append((), None, now)

    def _export_metrics(self, now: int, last: bool = False) -> None:
        self._count_ourselves()
        self._delivery.metrics(self._metrics.collect(now), last)

    def _count_ourselves(self) -> None:
        self._journal.sent_seq = self._delivery.sent_seq
        stats = self._journal.stats()
        self._metrics.internal.journal(stats.events, stats.bytes, stats.oldest_unsent_seconds)
        for signal, counts in self._delivery.counts().items():
            self._metrics.internal.exported(signal, counts.sent, counts.failed + counts.rejected, counts.retried)

    # --- what others read ------------------------------------------------------------------------------------------

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """(body, content type) of /metrics for an Accept header."""
        with self._lock:
            if not self._draining:
                self._count_ourselves()
        return exposition(self._metrics, accept, self._clock())

    def health(self) -> Health:
        """Whether the gateway takes records, and why not."""
        reasons = [reason for reason in (self._trouble, "draining" if self._draining else "") if reason]
        with self._lock:
            if self._draining:
                return Health(False, reasons, 0, 0, 0)
            stats = self._journal.stats()
        return Health(not reasons, reasons, stats.last_seq, self._delivery.sent_seq, stats.open_roots)

    # --- the end ---------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Close what has its outcome without waiting for what may still come: of a process that ends for good."""
        with self._lock:
            if not self._draining:
                self._commit((), None)
                self._decided = self._engine.drain()
                self._append((), None, self._clock())

    def drain_and_close(self, timeout: float = 5.0) -> Unsent:
        """Stop taking records, send what can be sent in ``timeout`` seconds, write the checkpoint, close the journal.

        Runs that are open stay so: the next start goes on with them. Any number of times. JournalError: no checkpoint
        could be written; the journal is closed all the same, and the next start sends some once more.
        """
        self._stopped.set()
        if self._ticker is not None:
            self._ticker.join()
        with self._lock:
            if self._draining:
                return Unsent(0)
            self._draining = True
            try:
                self._catch_up()
                self._export_metrics(self._clock(), last=True)  # else a process shorter than the period would tell none
            finally:
                reason = self._delivery.close(timeout)
                unsent = self._finish()
        return Unsent(unsent, reason if unsent else "")

    def _finish(self) -> int:
        """Close the journal; how many commits are left unsent."""
        self._noted = -1, -1
        try:
            self._note()
            return self._journal.last_seq - self._delivery.sent_seq
        finally:
            self._journal.close()
