"""The gateway: records in from any thread, one journal, one fold, telemetry out at least once.

    ingest:  decode -> redact -> journal (fsync) = acknowledged -> fold -> queue -> collector
    tick:    what is over -> closings into the journal -> spans -> queue

What the collector has acknowledged is one number, ``sent_seq``: it has all telemetry of the commits up to that one.
When the queue is full, or after a restart, telemetry is made again from the journal, commit by commit, with the same
bytes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from otel_events.core.exposition import exposition
from otel_events.core.metrics import Metrics
from otel_events.gateway.delivery import Delivery
from otel_events.gateway.intake import Intake
from otel_events.gateway.outbox import Outbox
from otel_events.gateway.refold import Refold
from otel_events.gateway.settings import Every as Every
from otel_events.gateway.settings import GatewayConfig as GatewayConfig
from otel_events.gateway.settings import Health as Health
from otel_events.gateway.settings import Unsent as Unsent
from otel_events.gateway.state import Timing
from otel_events.gateway.ticker import Ticker
from otel_events.gateway.upkeep import Upkeep
from otel_events.gateway.writer import Writer
from otel_events.intake.ingest import Accepted as Accepted
from otel_events.intake.records import ParsedRecord, Record, Refused
from otel_events.journal import Journal
from otel_events.model.errors import OtelEventsError
from otel_events.model.event import AnyEvent
from otel_events.model.telemetry import LogData


class Gateway:
    """One journal's writer, from its opening to its end. Every method may be called from any thread."""

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
        """Go on where the journal's last gateway stopped.

        Args:
            journal: It is the gateway's from now on, which closes it.
            metrics: New ones; the counts so far are taken from the journal.
            delivery: Where telemetry goes.
            timing: How long to wait before something is decided to be over.
            clock: ns since the epoch.
            every: How often the regular work is done.
            keep_records: Whether the sources' records are stored beside their events.
        """
        self._journal, self._metrics, self._delivery, self._clock = journal, metrics, delivery, clock
        self._lock = threading.RLock()
        refold = Refold(journal, metrics, timing, delivery.signals, clock)
        self._engine = refold.engine()
        self._outbox = Outbox(journal, delivery, refold.telemetry)
        self._writer = Writer(journal, self._engine, self._outbox, clock)
        self._intake = Intake(journal, self._writer, metrics, keep_records)
        self._upkeep = Upkeep(journal, metrics, delivery, self._engine, self._writer, self._outbox, every)
        self._ticker = Ticker(self.tick)
        metrics.active = self._engine.active
        now = clock()
        refold.count()
        self._writer.resume(now)
        self._outbox.resume()

    @classmethod
    def open(cls, config: GatewayConfig, clock: Callable[[], int] = time.time_ns) -> Gateway:
        """A gateway over the journal at the path of ``config``, which is created where there is none.

        Args:
            config: How the gateway runs.
            clock: ns since the epoch.

        Returns:
            The gateway; it ticks only after ``start``.

        Raises:
            ConfigError: A variable of the environment, or a tag of stats, is wrong.
            JournalError: The journal cannot be opened.
        """
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

    def start(self) -> None:
        """Tick in a thread of its own until the gateway is closed."""
        self._ticker.start()

    def start_threads(self) -> None:
        """Start the threads that send now: for a process that may end before it has anything to send."""
        self._delivery.start_threads()

    def tell(self, take: Callable[[LogData], object]) -> None:
        """Hand the log record of each new event to ``take`` as well, such as structlog on the console.

        Args:
            take: Must raise nothing: an error of its own would be an error of the gateway.
        """
        self._engine.tell = take

    def ingest(self, source: str, records: Sequence[Record | Refused]) -> Accepted:
        """Take records of a source. Returns when their events are on disk.

        Args:
            source: Its name.
            records: As the source sent them. Records that were refused before they came here become dead letters.

        Returns:
            How many events are new, how many the journal had already, and the records that cannot be decoded.

        Raises:
            ConfigError: There is no such source.
            JournalError: Nothing was taken: offer the batch again.
        """
        batch = self._intake.decode(source, records)
        with self._lock:
            return self._intake.take(source, batch)

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
        batch = self._intake.decode_parsed(source, records)
        with self._lock:
            return self._intake.take(source, batch)

    def offer(self, source: str, events: Sequence[AnyEvent]) -> Accepted:
        """Take events that were made in this process, and redacted there. Returns when they are on disk.

        Args:
            source: Whose events they are counted as.
            events: In their order.

        Returns:
            How many are new, and how many the journal had already.

        Raises:
            JournalError: Nothing was taken: offer them again.
        """
        with self._lock:
            return self._intake.take_events(source, events)

    def dropped(self, reason: str, events: int) -> None:
        """Count events that never came this far: whoever hands them over had no room for more."""
        with self._lock:
            self._metrics.internal.dropped(reason, events)

    def faulted(self, what: str, times: int) -> None:
        """Count what failed in the process that these events are of."""
        with self._lock:
            self._metrics.internal.faulted(what, times)

    def tick(self) -> None:
        """Close what is over, hand on telemetry, do the regular work. Called a few times a second; cheap when idle.

        Raises:
            JournalError: The journal cannot be written; ``health`` says so until it can.
        """
        with self._lock:
            if self._writer.draining:
                return
            try:
                self._upkeep.work(self._clock())
            except Exception as error:
                ours = isinstance(error, OtelEventsError)
                self._writer.trouble = f"{error}" if ours else f"{type(error).__name__}: {error}"
                raise
            self._writer.trouble = ""

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The metrics as a scrape gets them.

        Args:
            accept: The ``Accept`` header of the request.

        Returns:
            (body, content type).
        """
        with self._lock:
            if not self._writer.draining:
                self._upkeep.count_process()
        return exposition(self._metrics, accept, self._clock())

    def health(self) -> Health:
        """Whether the gateway takes records, and why not."""
        reasons = [reason for reason in (self._writer.trouble, "draining" if self._writer.draining else "") if reason]
        with self._lock:
            if self._writer.draining:
                return Health(False, reasons, 0, 0, 0)
            stats = self._journal.stats()
        return Health(not reasons, reasons, stats.last_seq, self._delivery.sent_seq, stats.open_roots)

    def settle(self) -> None:
        """Close what has its outcome without waiting for what may still come: of a process that ends for good."""
        with self._lock:
            if not self._writer.draining:
                self._writer.settle()

    def drain_and_close(self, timeout: float = 5.0) -> Unsent:
        """Stop taking records, send what can be sent in time, write the checkpoint, close the journal.

        Runs that are open stay so: the next start goes on with them. May be called any number of times.

        Args:
            timeout: Seconds to wait for the collector.

        Returns:
            How many commits the next start has to send, and why.

        Raises:
            JournalError: No checkpoint could be written. The journal is closed all the same, and the next start sends
                some telemetry once more.
        """
        self._ticker.stop()
        with self._lock:
            if self._writer.draining:
                return Unsent(0)
            self._writer.draining = True
            try:
                self._outbox.catch_up()
                # A process that is shorter than the period of the metrics would send none otherwise.
                self._upkeep.export_metrics(self._clock(), last=True)
            finally:
                reason = self._delivery.close(timeout)
                unsent = self._upkeep.close()
        return Unsent(unsent, reason if unsent else "")
